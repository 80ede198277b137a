"""What a request brings: its body, its query, the ids in its path. Bad ones become problems."""

from __future__ import annotations

import asyncio
import functools
import re
import types
import typing
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from protocol.codec import FrameError, decode_object
from protocol.frames import Uuid
from server.conversations.principal import Principal
from server.gateway.auth import canonical_uuid
from server.gateway.problems import Problem, invalid

T = TypeVar("T", bound=msgspec.Struct)

_WHITE_SPACE = b" \t\r\n"  # what JSON takes for it (RFC 8259), and nothing else
_AND_CLOSE = {"Connection": "close"}
_KEY_CHARS = 255
_KEY_NAMESPACE = uuid.UUID("6f1a63a5-3f0e-4d5c-9c35-0c2c1b0f8f5e")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}\Z", re.ASCII)
_BOUND = re.compile(r"Expected `(int|str|array|object)` (?:of length )?(>=|<=) (\d+)")
_NOT_ACCEPTABLE = re.compile(r";\s*q\s*=\s*0(\.0*)?\s*(;|$)")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_LEAST_NUMBER, _BEYOND_NUMBERS = -(2**63), 2**64
_TYPES = {"str": "a string", "int": "a whole number", "bool": "true or false", "object": "an object"}


# --- the body ---------------------------------------------------------------------------------


async def read_body(
    request: Request,
    struct: type[T],
    *,
    max_bytes: int,
    seconds: float = 30.0,
    optional: bool = False,
) -> T:
    """The request's JSON body as `struct`; unknown fields are ignored, UUIDs become lower case.

    Raises:
        Problem: 400, 413 or 415.
    """
    try:
        async with asyncio.timeout(seconds):
            raw = await _raw_body(request, max_bytes)
    except TimeoutError as error:
        raise Problem(
            400, "VALIDATION_ERROR", "The body did not come in time.", headers=_AND_CLOSE
        ) from error
    if optional and not raw.strip(_WHITE_SPACE):
        raw = b"{}"
    elif not _is_json(request):
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json, not compressed.")
    try:
        given = decode_object(raw)
    except FrameError as fault:
        raise Problem(400, "VALIDATION_ERROR", f"The body is not acceptable: {fault.message}.") from fault
    if _LONG_NUMBER.search(raw) and not _all_fit(given):
        raise Problem(400, "VALIDATION_ERROR", "The body is not acceptable: a number out of range.")
    return _convert(given, struct)


async def _raw_body(request: Request, limit: int) -> bytes:
    # the rest is not read: the connection ends with the answer
    too_large = Problem(413, "PAYLOAD_TOO_LARGE", f"The body is over {limit} bytes.", headers=_AND_CLOSE)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            parts.append(chunk)
    except ClientDisconnect as error:
        raise Problem(400, "VALIDATION_ERROR", "The body ended early.") from error
    return b"".join(parts)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    return kind in {"application/json", "text/json"} and coding == "identity"


def _all_fit(value: Any) -> bool:
    """Whether every whole number can be kept."""
    if isinstance(value, dict):
        return all(map(_all_fit, value.values()))
    if isinstance(value, list):
        return all(map(_all_fit, value))
    return not isinstance(value, int) or _LEAST_NUMBER <= value < _BEYOND_NUMBERS


# --- headers ----------------------------------------------------------------------------------


def prefers(request: Request, what: str) -> bool:
    """Whether a `Prefer` header (RFC 7240) names this preference."""
    return any(name == what for name, _ in _members(request, "prefer"))


def accepts(request: Request, kind: str) -> bool:
    """Whether `Accept` names this media type; what has quality 0 is not acceptable (RFC 9110 §12.4.2)."""
    return any(
        name == kind and not _NOT_ACCEPTABLE.search(parameters)
        for name, parameters in _members(request, "accept")
    )


def _members(request: Request, header: str) -> Iterator[tuple[str, str]]:
    """The members of a list header, over all its lines, and their parameters; in lower case."""
    for member in ",".join(request.headers.getlist(header)).lower().split(","):
        name, mark, parameters = member.partition(";")
        yield name.strip(), mark + parameters


# --- the query and the path -------------------------------------------------------------------


def read_query(params: QueryParams, struct: type[T]) -> T:
    """The query as `struct`; unknown parameters are ignored, of repeated ones the last wins.

    Raises:
        Problem: 400.
    """
    given: dict[str, Any] = {}
    for name, kind in _kinds(struct).items():
        text = params.get(name)
        if text is not None:
            given[name] = _value(name, text, kind)
    return _convert(given, struct)


def _value(name: str, text: str, kind: type) -> int | bool | str:
    if kind is bool:
        if text.lower() not in {"true", "false"}:
            raise invalid(name, "must be true or false")
        return text.lower() == "true"
    if kind is int:
        if not _WHOLE_NUMBER.match(text):
            raise invalid(name, "must be a whole number")
        return int(text)
    return text


def read_ids(params: Mapping[str, str]) -> dict[str, str]:
    """The ids of the path.

    Raises:
        Problem: 400 where one is no UUID.
    """
    ids: dict[str, str] = {}
    for name, text in params.items():
        found = canonical_uuid(text)
        if found is None:
            raise invalid(name, "must be a UUID")
        ids[name] = found
    return ids


# --- structs ----------------------------------------------------------------------------------


def _convert(given: dict[str, Any], struct: type[T]) -> T:
    for name in _uuid_fields(struct):
        if isinstance(given.get(name), str):
            given[name] = given[name].lower()
    try:
        return msgspec.convert(given, struct)
    except msgspec.ValidationError as error:
        raise _validation(str(error)) from error


@functools.cache
def _kinds(struct: type[msgspec.Struct]) -> dict[str, type]:
    """What each field of a query is made of: `int`, `bool` or `str`."""
    kinds: dict[str, type] = {}
    for field in msgspec.structs.fields(struct):
        parts = _parts(field.type)
        kinds[field.encode_name] = next((kind for kind in (bool, int) if kind in parts), str)
    return kinds


@functools.cache
def _uuid_fields(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(struct) if Uuid in _parts(field.type))


def _parts(annotation: Any) -> list[Any]:
    """An annotation, and what it is made of."""
    parts = [annotation]
    if typing.get_origin(annotation) in {types.UnionType, typing.Union, Annotated}:
        parts += [part for each in typing.get_args(annotation) for part in _parts(each)]
    return parts


def _validation(reason: str) -> Problem:
    """A 400 from msgspec's sentence, without what the client wrote."""
    message, _, place = reason.partition(" - at `")
    field = place.rstrip("`").removeprefix("$").lstrip(".") or "body"
    if "missing required field" in message:
        field = message.rpartition("`")[0].rpartition("`")[2] or field
        return invalid(field, "is required")
    if message.startswith("Invalid"):
        return invalid(field, "has a value that is not allowed")
    if "matching regex" in message:
        return invalid(field, "must be a UUID")
    if bound := _BOUND.match(message):
        kind, sign, number = bound.groups()
        least = "at least" if sign == ">=" else "at most"
        return invalid(field, f"must be {least} {number}" + ("" if kind == "int" else " long"))
    wanted = message.removeprefix("Expected ").partition(",")[0].replace(" | null", "").strip("`")
    return invalid(field, f"must be {_TYPES.get(wanted, 'of another type')}")


# --- the idempotency key ----------------------------------------------------------------------


def client_message_id(request: Request, principal: Principal, in_body: str | None, fresh: str) -> str:
    """The idempotency key: the body's, or the `Idempotency-Key` header's, or a fresh one.

    A header that is no UUID is hashed with the user's id, so that two users never meet.

    Raises:
        Problem: 400 when both are given and differ, or the header is empty or too long.
    """
    header = request.headers.get("idempotency-key")
    if header is None:
        return in_body or fresh
    if not 0 < len(header) <= _KEY_CHARS:
        raise invalid("Idempotency-Key", f"must have 1 to {_KEY_CHARS} characters")
    key = canonical_uuid(header) or str(uuid.uuid5(_KEY_NAMESPACE, f"{principal.user}:{header}"))
    if in_body is not None and in_body != key:
        raise invalid("client_message_id", "differs from the Idempotency-Key header")
    return key
