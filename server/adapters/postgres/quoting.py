"""Sans-I/O. Names put into statements that take no parameters."""

from __future__ import annotations

_MAX_BYTES = 63


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier.

    Raises:
        ValueError: empty, longer than PostgreSQL keeps, or with a NUL.
    """
    if not name or "\0" in name or len(name.encode()) > _MAX_BYTES:
        raise ValueError(f"not a name PostgreSQL can hold: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a quoted SQL literal, whatever `standard_conforming_strings` says.

    Raises:
        ValueError: it holds a NUL.
    """
    if "\0" in text:
        raise ValueError("a text for PostgreSQL cannot hold NUL")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
