"""The upstream port: one streamed call to a model, as facts.

Sans-I/O. The adapter turns whatever the provider sends, including every way it can fail, into these
facts. It never raises on what the upstream sends: a stream ends with exactly one `Done` or `Failed`.
It keeps no clock but the connect timeout; the machine owns the others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What to ask: OpenAI-style `messages`, the opaque end-user id, the conversation as `session`."""

    model: str
    messages: tuple[dict[str, Any], ...]
    max_tokens: int
    temperature: float
    user: str
    session: str
    request_id: str
    connect_seconds: float


class FailureKind(StrEnum):
    """What kind of failure it was. The policy table decides what follows from it."""

    CONNECT_TIMEOUT = "connect_timeout"  # no TCP or TLS connection in time
    CONNECT_REFUSED = "connect_refused"  # refused, DNS, TLS: nothing was sent
    CONNECTION_LOST = "connection_lost"  # closed or reset before headers; the model may have been asked
    RATE_LIMITED_MODEL = "rate_limited_model"  # 429 of this model's provider only
    RATE_LIMITED_POOL = "rate_limited_pool"  # 429 of the platform: all free models, until retry_after
    OVERLOADED = "overloaded"  # 408 500 502 503 504 524 529, provider down, in-band equivalents
    MODEL_UNAVAILABLE = "model_unavailable"  # 404, unknown or retired model, no endpoints
    BAD_REQUEST = "bad_request"  # 400 or 422 that another model might accept
    PREFILL_REJECTED = "prefill_rejected"  # 400: must not end with an assistant message
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTERED = "content_filtered"  # moderation, guardrail, refusal
    KEY_REJECTED = "key_rejected"  # 401, 403 of key rights: another key may work, another model will not
    BUDGET_EXHAUSTED = "budget_exhausted"  # 402
    UPSTREAM_ERROR = "upstream_error"  # in-band error object or error finish
    TRUNCATED = "truncated"  # EOF or reset after headers without a finish
    MALFORMED = "malformed"  # not SSE, not JSON, an endless line
    EMPTY = "empty"  # finished with no content at all


@dataclass(frozen=True, slots=True)
class Opened:
    """Headers arrived with 200. `generation_id` is the upstream's handle (`X-Generation-Id`), if given."""

    generation_id: str | None
    key: str  # fingerprint of the API key used, never the key


@dataclass(frozen=True, slots=True)
class Progress:
    """A comment line: the upstream is alive but has said nothing. Resets no clock."""


@dataclass(slots=True)
class Text:
    """Visible text, NUL and lone surrogates already replaced by U+FFFD."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """Reasoning text; shown live, no part of the message."""

    text: str


@dataclass(frozen=True, slots=True)
class Served:
    """Which model really answers, and the id in the chunk (the fallback for `Opened.generation_id`)."""

    model: str
    generation_id: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """The upstream's finish reason. May come twice; the stream goes on until `Done` or `Failed`."""

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    native: str | None


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The upstream's bill for this call. `cost` in US dollars, exact, as in the JSON text."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Done:
    """The stream ended as it should."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream ended otherwise. `detail` is for logs; nothing of it is shown to a client."""

    kind: FailureKind
    status: int | None = None
    retry_after_seconds: float | None = None
    detail: str = ""


UpstreamFact = Opened | Progress | Text | Reasoning | Served | Finish | UsageReported | Done | Failed


@dataclass(frozen=True, slots=True)
class Settlement:
    """What `/generation` says of a call afterwards: native token counts and the exact cost."""

    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    served_model: str | None
    cancelled: bool


class Upstream(Protocol):
    """Where models are asked."""

    def stream(self, request: UpstreamRequest) -> AsyncGenerator[list[UpstreamFact], None]:
        """Ask, and yield facts: one list per network read, never an empty one.

        Closing the generator, or cancelling the task inside it, closes the connection at once.
        """
        ...

    async def settle(self, generation_id: str, key: str) -> Settlement | None:
        """The bill of a call, or `None` while the upstream does not know it yet.

        Raises:
            SettlementUnavailable: the upstream cannot be asked now, or never will know (`final`).
        """
        ...


class SettlementUnavailable(Exception):  # noqa: N818
    """The upstream could not be asked for a bill."""

    def __init__(self, detail: str, *, final: bool) -> None:
        super().__init__(detail)
        self.final = final
