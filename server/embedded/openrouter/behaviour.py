"""Sans-I/O. What one scripted call does: the fields of a behaviour, checked when it is built.

A `Behaviour` with nothing but a text is a model that works. Everything else is a departure, and each
field says which. Times are milliseconds. Token indexes count the deltas of the answer from 0; reasoning
comes before them and is not counted.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import msgspec
import orjson

from server.embedded.openrouter.errors import ERRORS

FailureHow = Literal[
    "error",  # the documented shape: top-level error, one choice with finish_reason "error"
    "error_empty_choices",  # top-level error and `choices: []`
    "error_string_code",  # as `error`, its code a string
    "error_choice_only",  # no error object: finish_reason "error" on the choice
    "error_native_only",  # finish_reason "stop", native_finish_reason "network_error", nothing else
    "error_availability",  # top-level error without a code, with an availability object
    "reset",  # RST
    "close",  # FIN in the middle of the HTTP body
    "eof",  # the HTTP body ends as it should, without finish and without [DONE]
    "stall",  # silence until the reader leaves
    "stall_comments",  # comments until the reader leaves
    "malformed",  # a data line that is not JSON, then the end
    "not_sse",  # text that is no event stream, then the end
    "endless_line",  # a line of `size` bytes that never ends, then silence
]
InsertionWhat = Literal[
    "comment",  # `count` comment lines
    "empty",  # a chunk with empty content
    "null",  # a chunk with null content
    "no_choices",  # a chunk with `choices: []`
    "huge",  # a legal chunk of `size` bytes of padding, no content
    "malformed",  # a data line that is not JSON; the stream goes on
    "unknown_fields",  # event, id, retry and unknown fields around an empty chunk
    "bom",  # a byte order mark
    "raw",  # the bytes of `raw`, verbatim
]
_IN_BAND = frozenset(
    {"error", "error_empty_choices", "error_string_code", "error_choice_only", "error_native_only",
     "error_availability"}
)  # fmt: skip
_CONTINUATION = re.compile(r"clean|stripped|overlap:\d+|restart|preamble|preamble\+restart|garbage|verbatim")


def _from_0(**fields: float) -> None:
    for name, value in fields.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"`{name}` is a number from 0 on")


def _as_json(**fields: Any) -> None:
    """Only texts may hold lone surrogates: what is written by a strict encoder may not."""
    for name, value in fields.items():
        try:
            orjson.dumps(value)
        except TypeError as error:
            raise ValueError(f"`{name}` holds what JSON cannot: {error}") from error


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How and where the answer breaks off.

    `at`: before this token; beyond the last one, between the last token and the finish. `at_byte`: after
    so many bytes of the event stream instead (`reset`, `close`, `eof` and `stall` only).
    """

    how: FailureHow
    at: int = 0
    at_byte: int | None = None
    code: int = 502
    message: str = "Provider returned error"
    error_type: str = "provider_unavailable"
    metadata: dict[str, Any] | None = None
    """The whole of the error's metadata, instead of `error_type` and the provider's name."""
    done: bool = False
    """Whether an in-band error is followed by [DONE]."""
    size: int = 1_048_576

    def __post_init__(self) -> None:
        _from_0(at=self.at, at_byte=self.at_byte or 0, size=self.size)
        _as_json(message=self.message, error_type=self.error_type, metadata=self.metadata)
        if self.at_byte is not None and self.how not in {"reset", "close", "eof", "stall"}:
            raise ValueError(f"`fail.at_byte` cannot break with {self.how!r}: only reset, close, eof, stall")

    @property
    def in_band(self) -> bool:
        """Whether the stream itself says that it failed."""
        return self.how in _IN_BAND


class Pause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence before token `at`, or comments where the behaviour's `comments` is `always`."""

    at: int
    ms: float

    def __post_init__(self) -> None:
        _from_0(at=self.at, ms=self.ms)


class Insertion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something else on the wire before token `at`."""

    at: int
    what: InsertionWhat
    raw: str = ""
    count: int = 1
    size: int = 65_536

    def __post_init__(self) -> None:
        _from_0(at=self.at, count=self.count, size=self.size)
        if self.what == "raw" and not self.raw:
            raise ValueError("`insert.raw` holds at least one character")


class Framing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the bytes of the stream are written; the default is one write per event, with LF.

    `split` cuts further: `bytes` into writes of `size`; `utf8` inside every multi-byte character; `field`
    inside every `data:`; `newline` inside every line end and blank line. `events_per_write` joins instead.
    """

    newline: Literal["lf", "crlf", "cr"] = "lf"
    split: Literal["no", "bytes", "utf8", "field", "newline"] = "no"
    size: int = 1
    events_per_write: int = 1
    space: bool = True
    """Whether a space follows `data:`."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.events_per_write < 1:
            raise ValueError("`framing.size` and `framing.events_per_write` are at least 1")

    @property
    def plain(self) -> bool:
        """Whether nothing has to be done."""
        return self == Framing()


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one call does. See the module's beginning."""

    name: str = ""
    """A label; the ledger repeats it."""

    # what is said
    text: str | None = None
    """The whole answer; neither this nor `tokens`: the stand-in's answer to the messages."""
    tokens: tuple[str, ...] | None = None
    """The answer, delta by delta."""
    reasoning: str = ""
    continuation: str = "clean"
    """How a request to go on is met, when the partial answer begins this text: clean, stripped (without
    leading whitespace), overlap:N, restart, preamble, preamble+restart, garbage, verbatim (text as is)."""
    obey_max_tokens: bool = False
    split_surrogates: bool = False
    """Characters beyond the basic plane come as two escaped halves in two deltas."""
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"] = "stop"
    native_finish_reason: str | None = None

    # when
    first_token_ms: float = 0.0
    interval_ms: float = 0.0
    jitter: float = 0.0
    """Part of the interval, 0 to 1, by which each wait may differ; the same for the same call."""
    rhythm: Literal["even", "human"] = "even"
    """`human` breathes at the ends of sentences and paragraphs."""
    headers_ms: float = 0.0
    comments: Literal["waiting", "always", "none"] = "waiting"
    """When silence is filled with comments: before the first token, always, or never."""
    comment_every_ms: float = 400.0
    comments_first: int = 0
    """So many comments at once, before anything else."""
    pauses: tuple[Pause, ...] = ()
    gate_before_headers: str = ""
    gate: str = ""
    gate_at: int = 0
    """Before token `gate_at` the call waits until `gate` is released; beyond the last: before the finish."""

    # the wire
    layout: Literal["2025", "2026"] = "2026"
    empty_first_chunk: bool | None = None
    """Absent: as in the layout, so only in 2025."""
    usage: Literal["empty_choice", "no_choices", "with_finish", "with_content", "none"] = "empty_choice"
    usage_finish: Literal["repeat", "null"] | None = None
    """The usage chunk's finish_reason. Absent: as in the layout, so null in 2025."""
    duplicate_finish: bool = False
    done: bool = True
    dated_model: bool = False
    served_model: str = ""
    provider: str = ""
    """Another provider than the model's; decides what a cancelled call costs."""
    byok: bool = False
    generation_header: bool = True
    chunked: bool = True
    """Off: the body has no length and ends with the connection."""
    insert: tuple[Insertion, ...] = ()
    framing: Framing = Framing()

    # how it fails
    before_headers: Literal["hang", "reset", "close", "garbage"] | None = None
    error: str | None = None
    """A name of `errors.ERRORS`."""
    status: int | None = None
    """Any other status, with `message`."""
    message: str | None = None
    metadata: dict[str, Any] = {}
    """More of the HTTP error's metadata, such as an `error_type`."""
    headers: dict[str, str] = {}
    """Response headers to add or replace."""
    fail: Failure | None = None

    # the bill afterwards
    bill_errors: bool = False
    """Whether an in-band error is billed for what was sent; otherwise it is free."""
    generation_delay_ms: float = 0.0
    generation_statuses: tuple[int, ...] = ()
    """`GET /generation` answers these first, one a request."""
    generation_lost: bool = False
    """`GET /generation` never knows this call."""

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise ValueError("`text` and `tokens` exclude each other")
        if self.error is not None and self.error not in ERRORS:
            raise ValueError(f"unknown `error` {self.error!r}; one of {', '.join(ERRORS)}")
        if self.error is not None and self.status is not None:
            raise ValueError("`error` and `status` exclude each other")
        if self.status is not None and not 400 <= self.status <= 599:  # noqa: PLR2004 - the range of HTTP errors
            raise ValueError("`status` is an error's: 400 to 599")
        if not _CONTINUATION.fullmatch(self.continuation):
            raise ValueError(f"unknown `continuation` {self.continuation!r}")
        if not 0 <= self.jitter <= 1:
            raise ValueError("`jitter` lies between 0 and 1")
        _from_0(
            first_token_ms=self.first_token_ms,
            interval_ms=self.interval_ms,
            headers_ms=self.headers_ms,
            comments_first=self.comments_first,
            comment_every_ms=self.comment_every_ms,
            gate_at=self.gate_at,
            generation_delay_ms=self.generation_delay_ms,
        )
        if self.comment_every_ms < 1:
            raise ValueError("`comment_every_ms` is at least 1")
        _as_json(
            message=self.message,
            metadata=self.metadata,
            served_model=self.served_model,
            provider=self.provider,
            native_finish_reason=self.native_finish_reason,
        )
        for field, value in (*self.headers.items(), *((g, g) for g in (self.gate, self.gate_before_headers))):
            if re.search(r"[\r\n\0]", field + value):
                raise ValueError("headers and gates hold no line ends")

    @property
    def refuses(self) -> bool:
        """Whether it answers with an HTTP error, so that a fallback of `models` may be tried."""
        return self.error is not None or self.status is not None
