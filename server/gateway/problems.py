"""Problems: every refusal as RFC 9457 `application/problem+json` (REST contract, "Limits and errors")."""

from __future__ import annotations

import math
from typing import Any

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response

from protocol.codes import ErrorCode
from server.conversations.refusal import Refusal
from server.gateway.last_word import LastWord

STATUS: dict[ErrorCode, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNKNOWN_TYPE: 400,
    ErrorCode.MESSAGE_TOO_LONG: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.GENERATION_IN_PROGRESS: 409,
    ErrorCode.CONTENT_REJECTED: 422,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.TOO_MANY_GENERATIONS: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DRAINING: 503,
    ErrorCode.ALL_MODELS_FAILED: 503,
}

TITLES: dict[int, str] = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Payload too large",
    415: "Unsupported media type",
    422: "Content rejected",
    429: "Too many requests",
    431: "Request header fields too large",
    500: "Internal error",
    503: "Service unavailable",
}


_TOO_MANY = 429
_COME_BACK_MS = 5000  # where nothing better is known: about as long as an answer takes


class Problem(Exception):  # noqa: N818 - the RFC's word
    """A refusal by a door. `extra` members are added to the body as they are."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        retry_after_ms: int | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.retry_after_ms = retry_after_ms
        self.headers = headers or {}
        self.extra = extra or {}


def invalid(field: str, message: str) -> Problem:
    """A 400 about one field."""
    return Problem(
        400, "VALIDATION_ERROR", f"{field}: {message}", errors=[{"field": field, "message": message}]
    )


def not_found(what: str) -> Problem:
    """A 404: there is none, or it is somebody else's, which is the same."""
    return Problem(404, "NOT_FOUND", f"There is no such {what}.")


def unauthenticated(*, expired: bool = False) -> Problem:
    """A 401, with the challenge the RFC wants."""
    code, detail = (
        ("TOKEN_EXPIRED", "The token has expired.")
        if expired
        else ("UNAUTHENTICATED", "A valid token is needed.")
    )
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


def problem_of(refusal: Refusal) -> Problem:
    """A room's refusal as a problem."""
    code = "VALIDATION_ERROR" if refusal.code is ErrorCode.BAD_REQUEST else refusal.code.value.upper()
    return Problem(
        STATUS.get(refusal.code, 500),
        code,
        refusal.message,
        errors=[{"field": refusal.field, "message": refusal.message}] if refusal.field else None,
        retry_after_ms=refusal.retry_after_ms,
    )


def render(problem: Problem, connection: HTTPConnection) -> Response:
    """The problem's response."""
    retry_ms = problem.retry_after_ms
    if retry_ms is None and problem.status == _TOO_MANY:
        retry_ms = _COME_BACK_MS
    retry_seconds = None if retry_ms is None else max(1, math.ceil(retry_ms / 1000))
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "error": problem.detail,
        "request_id": connection.scope.get("request_id", ""),
        **problem.extra,
    }
    headers = {"Cache-Control": "no-store", **problem.headers}
    if retry_seconds is not None:
        body["retryAfter"] = retry_seconds
        headers["Retry-After"] = str(retry_seconds)
    if problem.errors:
        body["errors"] = problem.errors
    kind = LastWord if headers.get("Connection") == "close" else Response
    return kind(orjson.dumps(body), problem.status, headers=headers, media_type="application/problem+json")
