"""What a request brings: who is asking, its body, its parameters. Bad ones become problems."""

from __future__ import annotations

import hmac
import uuid
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from protocol.codec import FrameError, decode_object
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.gateway.auth import canonical_uuid
from server.gateway.front import Front
from server.gateway.problems import Problem, invalid, unauthenticated

T = TypeVar("T", bound=msgspec.Struct)

_KEY_CHARS = 255
_KEY_NAMESPACE = uuid.UUID("6f1a63a5-3f0e-4d5c-9c35-0c2c1b0f8f5e")


def authenticate(front: Front, request: Request) -> Principal:
    """The principal of a request: a bearer token, or a gateway's `X-User-ID` with the service key.

    Raises:
        Problem: 401, or 403 for a wrong service key.
    """
    bearer = _bearer(front, request)
    claimed = request.headers.get("x-user-id")
    if claimed is None or not is_internal(front, request):
        if bearer is None:
            raise unauthenticated()
        return bearer
    user = canonical_uuid(claimed.lower())
    if user is None or (bearer is not None and bearer.user != user):
        raise unauthenticated()
    return bearer or Principal(user)


def is_internal(front: Front, request: Request) -> bool:
    """Whether the request is another service's.

    Raises:
        Problem: 403 when it claims to be and has not the key.
    """
    if request.headers.get("x-internal-service", "").lower() != "true":
        return False
    key = request.headers.get("x-service-key", "")
    if not front.internal_key or not hmac.compare_digest(key.encode(), front.internal_key.encode()):
        raise Problem(403, "FORBIDDEN", "The service key is missing or wrong.")
    return True


def _bearer(front: Front, request: Request) -> Principal | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise unauthenticated()
    try:
        return front.desk.verify(token.strip())
    except ExpiredToken as error:
        raise unauthenticated(expired=True) from error
    except BadToken as error:
        raise unauthenticated() from error


async def read_body(front: Front, request: Request, struct: type[T], *, optional: bool = False) -> T:
    """The request's JSON body as `struct`; unknown fields are ignored.

    Raises:
        Problem: 400, 413 or 415.
    """
    raw = await _raw_body(front, request)
    if not raw.strip() and optional:
        raw = b"{}"
    elif not _is_json(request.headers.get("content-type", "application/json")):
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json.")
    try:
        given = decode_object(raw)
    except FrameError as fault:
        raise Problem(400, "VALIDATION_ERROR", f"The body is not acceptable: {fault.message}.") from fault
    try:
        return msgspec.convert(given, struct)
    except msgspec.ValidationError as error:
        raise _validation(str(error)) from error


async def _raw_body(front: Front, request: Request) -> bytes:
    limit = front.limits.max_body_bytes
    too_large = Problem(413, "PAYLOAD_TOO_LARGE", f"The body is over {limit} bytes.")
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


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in {"application/json", "text/json"}


def _validation(reason: str) -> Problem:
    message, _, place = reason.partition(" - at `$")
    field = place.rstrip("`").lstrip(".") or "body"
    if "missing required field" in message:
        field = message.rpartition("`")[0].rpartition("`")[2] or field
        message = "is required"
    elif message.startswith("Invalid"):
        message = "has a value that is not allowed"
    return invalid(field, message)


def path_uuid(request: Request, name: str, what: str) -> str:
    """A UUID from the path.

    Raises:
        Problem: 400 where it is none.
    """
    found = canonical_uuid(request.path_params[name].lower())
    if found is None:
        raise invalid(name, f"must be the UUID of a {what}")
    return found


def query_int(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query, within bounds.

    Raises:
        Problem: 400.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 9 and low <= int(given) <= high):  # noqa: PLR2004
        raise invalid(name, f"must be a whole number from {low} to {high}")
    return int(given)


def query_uuid(request: Request, name: str) -> str | None:
    """A UUID from the query, where given.

    Raises:
        Problem: 400.
    """
    given = request.query_params.get(name)
    if given is None:
        return None
    found = canonical_uuid(given.lower())
    if found is None:
        raise invalid(name, "must be a UUID")
    return found


def query_choice(request: Request, name: str, default: str, choices: tuple[str, ...]) -> str:
    """One of a few words from the query.

    Raises:
        Problem: 400.
    """
    given = request.query_params.get(name, default)
    if given not in choices:
        raise invalid(name, f"must be one of {', '.join(choices)}")
    return given


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
    key = canonical_uuid(header.lower()) or str(uuid.uuid5(_KEY_NAMESPACE, f"{principal.user}:{header}"))
    if in_body is not None and in_body != key:
        raise invalid("client_message_id", "differs from the Idempotency-Key header")
    return key


def optional_uuid(value: Any, field: str) -> str | None:
    """A UUID from a body, where given.

    Raises:
        Problem: 400.
    """
    if value is None:
        return None
    found = canonical_uuid(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise invalid(field, "must be a UUID")
    return found
