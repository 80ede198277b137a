"""The JSON Schema of every frame: `python -m protocol.schema`.

Made from the structs that decode, so it cannot say anything else than they do. OpenAPI and
AsyncAPI documents take `components` with their own place for references.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from protocol.codec import COMMAND_TYPES, EVENT_TYPES, SERVER_TYPES
from protocol.frames import AnyCommand, AnyServerFrame

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def components(
    types: tuple[Any, ...] = (AnyCommand, AnyServerFrame), *, ref_template: str = "#/$defs/{name}"
) -> tuple[tuple[dict[str, Any], ...], dict[str, dict[str, Any]]]:
    """A schema for each of `types`, and every named schema they refer to.

    Objects stay open: fields that are not known are ignored, on both sides.
    """
    schemas, named = msgspec.json.schema_components(types, ref_template=ref_template)
    for event in EVENT_TYPES.values():
        if event.__name__ in named:
            # The struct's default is for the server, which puts the position in last.
            schema = named[event.__name__]
            schema["properties"]["position"] = {"type": "string", "description": "`<epoch>:<offset>`"}
            schema["required"] = [*schema["required"], "position"]
    return schemas, named


def document() -> dict[str, Any]:
    """One JSON Schema: `$defs` by frame name, `ClientFrame` and `ServerFrame` for either direction.

    A document validates against it if it is a frame of one direction.
    """
    (client, server), named = components()
    return {
        "$schema": DIALECT,
        "title": "ATMA chat protocol, version 1",
        "oneOf": [{"$ref": "#/$defs/ClientFrame"}, {"$ref": "#/$defs/ServerFrame"}],
        "$defs": dict(sorted((named | {"ClientFrame": client, "ServerFrame": server}).items())),
    }


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of the frames of one `type`.

    Raises:
        KeyError: no frame has this type.
    """
    frame = (COMMAND_TYPES | SERVER_TYPES)[kind]
    whole = document()
    return {"$schema": DIALECT, "$ref": f"#/$defs/{frame.__name__}", "$defs": whole["$defs"]}


def main() -> None:
    """Print the document."""
    json.dump(document(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
