"""Sans-I/O. The ecosystem's envelope: `{success, data}`, or `{success: false, error}` in its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def parse_document(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, `None` where it is none."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def data_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `data` of a success, `None` where there is none."""
    data = document.get("data")
    return data if document.get("success") is not False and isinstance(data, dict) else None


def error_of(document: Mapping[str, Any] | None) -> str:
    """What an answer says of a failure, in few words: its code, else its text."""
    if document is None:
        return "without a word"
    error = document.get("error")
    if isinstance(error, Mapping):
        error = error.get("code") or error.get("message")
    said = error or document.get("code") or document.get("message")
    return said[:100] if isinstance(said, str) else "without a reason"


def text_of(value: Any) -> str | None:
    """A text that says something, else `None`."""
    return (value.strip() or None) if isinstance(value, str) else None


def object_of(value: Any) -> dict[str, Any]:
    """An object, an empty one where it is none."""
    return value if isinstance(value, dict) else {}
