"""The golden vectors and the JSON Schema (vectors/, schema.py): what client writers test against."""

import hashlib
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types of its own
import pytest
from hypothesis import given

from protocol import frames, schema
from protocol.client import ChannelView
from protocol.codec import (
    COMMAND_TYPES,
    EVENT_TYPES,
    SERVER_TYPES,
    FrameError,
    decode_command,
    decode_server_frame,
    encode,
)
from tests.protocol.strategies import commands, server_frames

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
INVALID: list[dict[str, Any]] = json.loads((VECTORS / "invalid.json").read_text())
STREAMS: list[dict[str, Any]] = json.loads((VECTORS / "streams.json").read_text())
TYPES = sorted(COMMAND_TYPES | SERVER_TYPES)


def vector(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / f"{kind}.json").read_text())
    return loaded


def fields_with_defaults(kind: str) -> set[str]:
    return set((COMMAND_TYPES | SERVER_TYPES)[kind].__struct_fields__)


def test_every_type_has_a_vector_and_every_vector_a_type():
    assert {path.stem for path in VECTORS.glob("*.json")} == {*TYPES, "invalid", "streams"}


@pytest.mark.parametrize("kind", TYPES)
def test_a_vector_shows_every_field(kind: str):
    assert set(vector(kind)) == {"type"} | fields_with_defaults(kind)


@pytest.mark.parametrize("kind", TYPES)
def test_a_vector_decodes_and_encodes_to_the_same_json(kind: str):
    raw = (VECTORS / f"{kind}.json").read_bytes()
    frame = decode_command(raw) if kind in COMMAND_TYPES else decode_server_frame(raw)
    assert frame is not None
    assert json.loads(encode(frame)) == json.loads(raw)


@pytest.mark.parametrize("kind", TYPES)
def test_a_vector_is_valid_by_the_schema_of_its_type_and_by_the_document(kind: str):
    jsonschema.Draft202012Validator(schema.schema_of(kind)).validate(vector(kind))
    jsonschema.Draft202012Validator(schema.document()).validate(vector(kind))


@pytest.mark.parametrize("kind", TYPES)
def test_the_schema_refuses_what_lacks_a_required_field(kind: str):
    validator = jsonschema.Draft202012Validator(schema.schema_of(kind))
    assert not validator.is_valid({})
    assert not validator.is_valid({**vector(kind), "type": "other"})
    if kind in EVENT_TYPES:
        without = vector(kind)
        del without["position"]
        assert not validator.is_valid(without)


@given(commands)
def test_every_command_is_valid_by_the_schema(command: frames.AnyCommand):
    CLIENT.validate(json.loads(encode(command)))


@given(server_frames)
def test_every_server_frame_is_valid_by_the_schema(frame: frames.AnyServerFrame):
    if not isinstance(frame, frames.Event) or frame.position:
        SERVER.validate(json.loads(encode(frame)))


def _direction(name: str) -> jsonschema.Draft202012Validator:
    whole = schema.document()
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


CLIENT = _direction("ClientFrame")
SERVER = _direction("ServerFrame")


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["name"])
def test_an_invalid_frame_is_refused_as_the_vector_says(case: dict[str, Any]):
    with pytest.raises(FrameError) as caught:
        decode_command(case["frame"])
    assert {"code": caught.value.code, "re": caught.value.re} == case["error"]


# what a schema cannot say, or JSON itself forbids
BEYOND_THE_SCHEMA = {
    "an empty frame",
    "not JSON",
    "cut off",
    "two frames in one",
    "NUL in a string",
    "NUL in a key that is not known",
    "half a surrogate pair",
    "nested 17 deep",
    "not a JSON number",
}


@pytest.mark.parametrize(
    "case",
    [case for case in INVALID if case["name"] not in BEYOND_THE_SCHEMA],
    ids=lambda case: case["name"],
)
def test_an_invalid_frame_is_refused_by_the_schema_too(case: dict[str, Any]):
    assert not CLIENT.is_valid(json.loads(case["frame"]))


def ends_in_vectors() -> list[dict[str, Any]]:
    """Every `generation.finished` that a vector shows."""
    shown = [frame for case in STREAMS for frame in case["frames"]]
    return [
        frame for frame in [vector("generation.finished"), *shown] if frame["type"] == "generation.finished"
    ]


@pytest.mark.parametrize("end", ends_in_vectors(), ids=lambda end: end["status"])
def test_an_end_in_a_vector_adds_up(end: dict[str, Any]):
    text = end["message"]["content"] if end["message"] else ""
    remaining = [(part["from"], part["to"]) for part in end["segments"] if part["from"] != part["to"]]
    assert end["length"] == len(text)
    assert end["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert [0, *(to for _, to in remaining)] == [*(start for start, _ in remaining), len(text)]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert end["usage"][name] == sum(part["usage"][name] for part in end["segments"])
    assert Decimal(end["usage"]["cost"]) == sum(Decimal(part["usage"]["cost"]) for part in end["segments"])
    assert (end["model"], end["served_model"]) == (
        end["segments"][-1]["model"],
        end["segments"][-1]["served_model"],
    )


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case["name"])
def test_a_stream_leaves_the_client_where_the_vector_says(case: dict[str, Any]):
    view = ChannelView()
    for frame in case["frames"]:
        view.apply(decode_server_frame(json.dumps(frame)))
    held = view.texts.get(case["generation"])
    running = case["expect"]["at"] is not None
    assert {
        "text": view.text(case["generation"]),
        "at": (held.length if held else 0) if running else None,
        "attempt": (held.attempt if held else 0) if running else None,
        "position": view.position,
        "needs_sync": view.needs_sync,
        "needs_resume": view.needs_resume,
    } == case["expect"]


def test_the_schema_can_be_printed():
    printed = subprocess.run(
        [sys.executable, "-m", "protocol.schema"],
        cwd=VECTORS.parents[1],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(printed.stdout) == schema.document()


def test_references_can_point_elsewhere():
    _, named = schema.components((frames.Delta,), ref_template="#/components/schemas/{name}")
    assert set(named) == {"Delta"}
