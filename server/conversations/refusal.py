"""Why an order was not carried out, for both doors alike.

Sans-I/O.
"""

from __future__ import annotations

from protocol.codes import ErrorCode
from server.conversations.store import (
    GenerationInProgress,
    NotFound,
    StoreRefused,
    StoreUnavailable,
    TooManyGenerations,
)


class Refusal(Exception):  # noqa: N818 - an answer, named as one
    """An order refused: a code, a sentence for the client, the field it is about, when to come again."""

    def __init__(
        self, code: ErrorCode, message: str, *, field: str | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms


UNAVAILABLE = "The service cannot do this right now; try again in a moment."


def unavailable() -> Refusal:
    """Something this needs is away."""
    return Refusal(ErrorCode.UNAVAILABLE, UNAVAILABLE, retry_after_ms=2000)


def refusal_for(error: StoreRefused | StoreUnavailable) -> Refusal:
    """What the client is told when the database refused, or could not be asked."""
    match error:
        case NotFound():
            return Refusal(ErrorCode.NOT_FOUND, f"There is no such {error.what}.")
        case GenerationInProgress():
            return Refusal(
                ErrorCode.GENERATION_IN_PROGRESS, "An answer is still being written in this conversation."
            )
        case TooManyGenerations():
            return Refusal(ErrorCode.TOO_MANY_GENERATIONS, "Too many answers are being written at once.")
        case _:
            return unavailable()
