"""Error codes and close codes, with what a client should do about each.

Sans-I/O. The one place where a code, its HTTP status, whether a retry helps and the
reconnect advice of a close code are written down (protocol README, "Errors and close codes").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """What went wrong, as `error.code` on the wire and, in capitals, as `code` of a REST problem."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, not a secret
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    GENERATION_IN_PROGRESS = "generation_in_progress"
    TOO_MANY_GENERATIONS = "too_many_generations"
    MESSAGE_TOO_LONG = "message_too_long"
    CONTENT_REJECTED = "content_rejected"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    INTERNAL = "internal"
    # inside generation.finished.error only
    ALL_MODELS_FAILED = "all_models_failed"
    MODEL_UNAVAILABLE = "model_unavailable"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTERED = "content_filtered"
    BUDGET_EXHAUSTED = "budget_exhausted"
    GENERATION_TIMEOUT = "generation_timeout"
    NODE_LOST = "node_lost"


RETRYABLE: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.DRAINING,
        ErrorCode.INTERNAL,
        ErrorCode.GENERATION_IN_PROGRESS,
        ErrorCode.TOO_MANY_GENERATIONS,
        ErrorCode.ALL_MODELS_FAILED,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.UPSTREAM_RATE_LIMITED,
        ErrorCode.GENERATION_TIMEOUT,
        ErrorCode.NODE_LOST,
    }
)
"""Codes for which the same request may succeed later without being changed."""


class CloseCode(IntEnum):
    """Why a WebSocket was closed."""

    NORMAL = 1000
    GOING_AWAY = 1001
    FRAME_TOO_BIG = 1009
    PING_TIMEOUT = 1011
    NODE_RESTARTS = 1012
    INTERNAL = 4000
    NO_HELLO = 4001
    MALFORMED = 4002
    NOT_AUTHENTICATED = 4003
    TOKEN_EXPIRED = 4004
    REVOKED = 4005
    VERSION = 4006
    CANNOT_KEEP_UP = 4008
    TOO_MANY_SESSIONS = 4010
    TOO_MANY_FRAMES = 4011


class Advice(StrEnum):
    """What a client does after a close."""

    RESUME = "resume"
    BACK_OFF = "back_off"
    FETCH_TOKEN = "fetch_token"  # noqa: S105 - advice, not a secret
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class CloseRule:
    """The meaning of one close code and the advice to the client."""

    meaning: str
    advice: Advice


CLOSE_RULES: dict[CloseCode, CloseRule] = {
    CloseCode.NORMAL: CloseRule("normal", Advice.RESUME),
    CloseCode.GOING_AWAY: CloseRule("going away", Advice.RESUME),
    CloseCode.FRAME_TOO_BIG: CloseRule("a frame over 64 KiB", Advice.STOP),
    CloseCode.PING_TIMEOUT: CloseRule("the transport's ping went unanswered", Advice.RESUME),
    CloseCode.NODE_RESTARTS: CloseRule("the node restarts", Advice.RESUME),
    CloseCode.INTERNAL: CloseRule("internal", Advice.BACK_OFF),
    CloseCode.NO_HELLO: CloseRule("no hello in time", Advice.BACK_OFF),
    CloseCode.MALFORMED: CloseRule("malformed or binary frame, or too many bad ones", Advice.STOP),
    CloseCode.NOT_AUTHENTICATED: CloseRule("not authenticated", Advice.STOP),
    CloseCode.TOKEN_EXPIRED: CloseRule("token expired", Advice.FETCH_TOKEN),
    CloseCode.REVOKED: CloseRule("revoked", Advice.STOP),
    CloseCode.VERSION: CloseRule("unknown protocol version", Advice.STOP),
    CloseCode.CANNOT_KEEP_UP: CloseRule("cannot keep up", Advice.RESUME),
    CloseCode.TOO_MANY_SESSIONS: CloseRule("too many sessions", Advice.WAIT),
    CloseCode.TOO_MANY_FRAMES: CloseRule("too many frames", Advice.BACK_OFF),
}


def advice_for(code: int) -> Advice:
    """The advice for any close code, known or not.

    Unknown codes follow the range rule: 4500-4999 must not reconnect, everything else may
    with back-off.
    """
    try:
        return CLOSE_RULES[CloseCode(code)].advice
    except ValueError:
        return Advice.STOP if 4500 <= code <= 4999 else Advice.BACK_OFF  # noqa: PLR2004 - the range rule
