"""Frames to bytes and bytes to frames.

Sans-I/O. `decode_command` is the server's door: whatever comes in, it gives a command or raises
`FrameError`, nothing else. `encode`, `delta_bytes` and `with_position` make what a server sends;
`decode_server_frame` reads it again, for clients and tests. Rules: README, "Commands" and "Errors".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, get_args

import msgspec
import orjson

from protocol.codes import ErrorCode
from protocol.frames import AnyCommand, AnyEvent, AnyServerFrame, Frame, type_of

MAX_NESTING = 16
"""Objects and arrays inside one another, the frame itself included."""

MAX_ID_LENGTH = 64
"""Code points of a command's `id`."""

_ECHO = 64  # an error repeats at most so much of what came in

COMMAND_TYPES: dict[str, type[AnyCommand]] = {type_of(frame): frame for frame in get_args(AnyCommand)}
"""Every client frame by its `type`."""

EVENT_TYPES: dict[str, type[AnyEvent]] = {type_of(frame): frame for frame in get_args(AnyEvent)}
"""Every event of the log by its `type`."""

SERVER_TYPES: dict[str, type[AnyServerFrame]] = {type_of(frame): frame for frame in get_args(AnyServerFrame)}
"""Every server frame by its `type`, events included."""

# A UUID is written in lower case from here on, so that comparing strings is comparing ids.
_UUID_FIELDS: dict[str, tuple[str, ...]] = {
    "message.send": ("conversation", "client_message_id", "parent_message_id"),
    "message.regenerate": ("message", "client_message_id"),
    "generation.stop": ("generation",),
}

_T = TypeVar("_T")


class FrameError(ValueError):
    """A frame that is none.

    Attributes:
        code: `bad_request` or `unknown_type`.
        message: a sentence for the client; repeats at most 64 characters of the input.
        re: the frame's `id`, where one could be read.
        kind: the frame's `type`, where that is a command's.
    """

    def __init__(self, code: ErrorCode, message: str, re: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.re = re
        self.kind = kind


def decode_command(raw: str | bytes) -> AnyCommand:
    """Read a client frame.

    UUIDs come out in lower case. Of duplicate keys the last wins. Unknown fields are ignored.

    Raises:
        FrameError: the bytes are no command; see `FrameError` for what it tells.
    """
    value = decode_object(raw)
    re = _usable_id(value)
    kind = value.get("type")
    if not isinstance(kind, str):
        raise FrameError(ErrorCode.BAD_REQUEST, "`type` is missing or not a string", re)
    command = COMMAND_TYPES.get(kind)
    if command is None:
        raise FrameError(ErrorCode.UNKNOWN_TYPE, f"unknown type `{_shortened(kind)}`", re)
    _lower_uuids(kind, value)
    try:
        return msgspec.convert(value, command)
    except msgspec.ValidationError as error:
        raise FrameError(ErrorCode.BAD_REQUEST, _explained(str(error)), re, kind) from None


def decode_object(raw: str | bytes) -> dict[str, Any]:
    """Read any JSON object from a client under the rules of the wire: bounded nesting, sound strings.

    Raises:
        FrameError: `bad_request`.
    """
    data = _as_bytes(raw)
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        _refuse_unreadable(data)
    if not isinstance(value, dict):
        raise FrameError(ErrorCode.BAD_REQUEST, "must be a JSON object")
    fault = _fault_in_strings_or_nesting(data, value)
    if fault:
        raise FrameError(ErrorCode.BAD_REQUEST, fault, _usable_id(value))
    return value


def encode(frame: Frame) -> bytes:
    """Write a frame as compact JSON.

    Raises:
        UnicodeEncodeError: a string holds a lone surrogate, which no frame may.
    """
    return _encoder.encode(frame)


def delta_bytes(generation: str, attempt: int, at: int, text: str) -> bytes:
    """Write a `delta` of the answer: the same bytes as `encode(Delta(...))`, a quarter cheaper.

    Raises:
        TypeError: the text holds a lone surrogate, which no text may.
    """
    return orjson.dumps(
        {"type": "delta", "generation": generation, "attempt": attempt, "at": at, "text": text}
    )


def with_position(body: bytes, position: str) -> bytes:
    """Put `position` into an event that has none, without decoding it.

    `body` is a JSON object; `position` is one of `protocol.position`, so it needs no escaping. It goes
    behind `type` where that comes first, so that a reader of logs sees what it is at once.
    """
    field = b'"position":"%b"' % position.encode()
    if body.startswith(_TYPE_FIRST):
        # types hold no quotes and no escapes, so the next quote ends the type
        end = body.index(b'"', len(_TYPE_FIRST)) + 1
        return b"%b,%b%b" % (body[:end], field, body[end:])
    rest = body.lstrip()[1:].lstrip()
    return b"{%b%b%b" % (field, b"" if rest.startswith(b"}") else b",", rest)


def decode_server_frame(raw: str | bytes) -> AnyServerFrame | None:
    """Read a server frame; `None` for a type this version does not know, which a client ignores.

    Raises:
        FrameError: the bytes are no frame at all, or one of a known type with wrong fields.
    """
    data = _as_bytes(raw)
    try:
        return _server_decoder.decode(data)
    except (ValueError, RecursionError) as error:
        try:
            value = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            _refuse_unreadable(data)
        if not isinstance(value, dict):
            raise FrameError(ErrorCode.BAD_REQUEST, "a frame is a JSON object") from None
        kind = value.get("type")
        if isinstance(kind, str) and kind not in SERVER_TYPES:
            return None
        raise FrameError(ErrorCode.BAD_REQUEST, _explained(str(error))) from None


_encoder = msgspec.json.Encoder()
_server_decoder: msgspec.json.Decoder[AnyServerFrame] = msgspec.json.Decoder(AnyServerFrame)
_TYPE_FIRST = b'{"type":"'


def _as_bytes(raw: str | bytes) -> bytes:
    if isinstance(raw, bytes):
        return raw
    try:
        return raw.encode()
    except UnicodeEncodeError:
        raise FrameError(ErrorCode.BAD_REQUEST, "the frame holds a lone surrogate") from None


def _usable_id(value: dict[str, Any]) -> str | None:
    """The `id` to answer to, if it is one."""
    given = value.get("id")
    if not isinstance(given, str) or len(given) > MAX_ID_LENGTH or _unfit(given):
        return None
    return given


def _unfit(text: str) -> bool:
    """Whether a string holds NUL, or half a surrogate pair (which the fast decoder never lets by)."""
    return "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text)


def _fault_in_strings_or_nesting(data: bytes, value: dict[str, Any]) -> str | None:
    """What is wrong with the strings or the depth, if anything.

    NUL can only come in as an escape, and depth needs brackets, so most frames need no walk.
    """
    if b"\\u0000" not in data and data.count(b"{") + data.count(b"[") <= MAX_NESTING:
        return None
    return _walk(value)


def _walk(value: Any) -> str | None:
    """Look at every key and string, and how deep they are."""
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        below: list[Any] = []
        for item in level:
            children = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            for child in children:
                if isinstance(child, dict | list):
                    below.append(child)
                elif isinstance(child, str) and _unfit(child):
                    return "a string holds NUL or a lone surrogate"
        if not below:
            return None
        level = below
    return f"nested deeper than {MAX_NESTING}"


def _refuse_unreadable(data: bytes) -> NoReturn:
    """Say why bytes the fast decoder refused are no frame; find the `id` all the same where there is one."""
    try:
        value = json.loads(data.decode(), parse_constant=_no_constants)
    except RecursionError:
        raise FrameError(ErrorCode.BAD_REQUEST, f"nested deeper than {MAX_NESTING}") from None
    except ValueError:
        raise FrameError(ErrorCode.BAD_REQUEST, "not JSON") from None
    re = _usable_id(value) if isinstance(value, dict) else None
    fault = _walk(value) if isinstance(value, dict | list) else None
    raise FrameError(ErrorCode.BAD_REQUEST, fault or "a number out of range, or a lone surrogate", re)


def _no_constants(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _lower_uuids(kind: str, value: dict[str, Any]) -> None:
    """Bring ids to their canonical form; whether they are UUIDs is the struct's business."""
    for name in _UUID_FIELDS.get(kind, ()):
        _apply(value, name, str, str.lower)
    if kind == "sync":
        _apply(value, "texts", dict, _lower_keys)
    elif kind == "hello":
        resume = value.get("resume")
        if isinstance(resume, dict):
            _apply(resume, "session", str, str.lower)
            _apply(resume, "texts", dict, _lower_keys)


def _apply(holder: dict[str, Any], name: str, expected: type[_T], change: Callable[[_T], _T]) -> None:
    given = holder.get(name)
    if isinstance(given, expected):
        holder[name] = change(given)


def _lower_keys(texts: dict[str, Any]) -> dict[str, Any]:
    return {generation.lower(): cursor for generation, cursor in texts.items()}


def _explained(reason: str) -> str:
    """The sentence of msgspec about a schema violation, without what the client wrote.

    Only "Invalid ... value" repeats input; the others name the schema and the place.
    """
    if reason.startswith("Invalid"):
        place = reason.rpartition(" - at ")[2] if " - at " in reason else "the frame"
        return f"unknown value at {_shortened(place)}"
    return _shortened(reason, 200)


def _shortened(text: str, limit: int = _ECHO) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
