"""Sans-I/O. What kind of failure an error is: one ordered table, first match wins.

The same table reads HTTP refusals (status, headers, body) and errors inside a stream, since OpenRouter
commits to a 200 before the provider answered and then reports the provider's 429 or 502 in band. Bodies
may be JSON in several shapes, HTML of an edge proxy, or nothing.

The order matters: what is wrong with the account, the content or the prompt is asked before what the
status alone says, because providers wrap all of it in "400 Provider returned error".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.adapters.openrouter.chunks import parse_json
from server.adapters.openrouter.hints import mapping, retry_after_seconds, seconds_to_midnight
from server.generations.upstream import Failed, FailureKind

_DETAIL_CHARS = 300

_OVERLOADED_STATUSES = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 529})
_GONE_CODES = frozenset(
    {
        "model_not_found",
        "wrong_endpoint",
        "no_endpoints",
        "model_deprecated",
        "model_unavailable_upstream",
        "region_restricted",
        "privacy_restricted",
        "constraint_filtered",
        "free_variant_ended",
    }
)
_TOO_LONG_TYPES = frozenset(
    {
        "context_length_exceeded",
        "max_tokens_exceeded",
        "token_limit_exceeded",
        "string_too_long",
        "payload_too_large",
    }
)
_TOO_LONG_WORDS = (
    "maximum context length",
    "context length",
    "context window",
    "context_length_exceeded",
    "prompt is too long",
    "too many tokens",
)
_FILTERED_TYPES = frozenset({"content_policy_violation", "refusal"})
_FILTERED_WORDS = ("moderation", "flagged", "content policy", "content_filter", "guardrail")
_OVERLOADED_TYPES = frozenset({"provider_overloaded", "provider_unavailable", "timeout", "server"})
_BAD_REQUEST_TYPES = frozenset(
    {"invalid_request", "invalid_prompt", "precondition_failed", "unprocessable", "invalid_request_error"}
)
_PREFILL_WORDS = ("prefill", "must end with a user message", "cannot end with trailing whitespace")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an error shows, gathered from all the places it may stand in."""

    status: int | None  # of the response, or for an error in band its own numeric code
    code: str  # availability code, or a code that is a word
    error_type: str
    words: str  # every message, in lower case
    retryable: bool | None
    by_provider: bool  # a provider behind OpenRouter said it
    by_platform: bool  # OpenRouter's own rate limits said it
    moderated: bool

    def says(self, phrases: tuple[str, ...]) -> bool:
        """Whether any message holds one of the phrases."""
        return any(phrase in self.words for phrase in phrases)


def _client_error(e: Evidence) -> bool:
    return e.status is None or e.status in {400, 403, 413, 422}


def _rate_limited(e: Evidence) -> bool:
    return e.status == 429 or e.error_type == "rate_limit_exceeded" or e.code == "capacity_exhausted"  # noqa: PLR2004


_RULES: tuple[tuple[FailureKind, Callable[[Evidence], bool]], ...] = (
    (
        FailureKind.BUDGET_EXHAUSTED,
        lambda e: not e.by_provider and (e.status == 402 or e.error_type == "payment_required"),  # noqa: PLR2004
    ),
    (FailureKind.PREFILL_REJECTED, lambda e: _client_error(e) and e.says(_PREFILL_WORDS)),
    (
        FailureKind.CONTEXT_TOO_LONG,
        lambda e: (
            e.error_type in _TOO_LONG_TYPES
            or e.status == 413  # noqa: PLR2004
            or (_client_error(e) and e.says(_TOO_LONG_WORDS))
        ),
    ),
    (
        FailureKind.CONTENT_FILTERED,
        lambda e: (
            e.moderated
            or e.error_type in _FILTERED_TYPES
            or (_client_error(e) and e.says(_FILTERED_WORDS) and e.code not in _GONE_CODES)
        ),
    ),
    (FailureKind.MODEL_UNAVAILABLE, lambda e: e.code in _GONE_CODES and e.retryable is not True),
    # OpenRouter's own 401, 402 and 403 name no provider; a provider's are between it and OpenRouter
    (FailureKind.MODEL_UNAVAILABLE, lambda e: e.by_provider and e.status in {401, 402, 403}),
    (
        FailureKind.RATE_LIMITED_POOL,
        lambda e: _rate_limited(e) and e.by_platform and not e.by_provider,
    ),
    (FailureKind.RATE_LIMITED_MODEL, _rate_limited),
    (
        FailureKind.KEY_REJECTED,
        lambda e: e.status in {401, 403} or e.error_type in {"authentication", "permission_denied"},
    ),
    (FailureKind.OVERLOADED, lambda e: e.retryable is True),
    (
        FailureKind.MODEL_UNAVAILABLE,
        lambda e: (
            e.status == 404  # noqa: PLR2004
            or e.error_type == "not_found"
            or "is not a valid model" in e.words
            or (e.retryable is False and e.status in _OVERLOADED_STATUSES)
        ),
    ),
    (
        FailureKind.OVERLOADED,
        lambda e: e.status in _OVERLOADED_STATUSES or e.error_type in _OVERLOADED_TYPES,
    ),
    (
        FailureKind.BAD_REQUEST,
        lambda e: e.error_type in _BAD_REQUEST_TYPES or (e.status is not None and 400 <= e.status < 500),  # noqa: PLR2004
    ),
)


def classify_response(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Failed:
    """The failure in a response that is no success.

    Args:
        status: the HTTP status.
        headers: the response's headers, names in lower case.
        body: what came of the body; JSON, HTML, cut short or empty.
        now: Unix time in seconds, for hints that are dates.
    """
    document = parse_json(body)
    error = error_object(document)
    if error is None:
        words = body[:2000].decode("utf-8", "replace") if document is None else ""
        error = {"message": " ".join(words.split())}
    return _failed(error, status, headers, now, in_band=False)


def classify_error(error: Mapping[str, Any] | str, now: float) -> Failed:
    """The failure in an error that came inside a stream, or in the JSON body of a 200."""
    return _failed({"message": error} if isinstance(error, str) else error, None, {}, now, in_band=True)


def error_object(document: object) -> Mapping[str, Any] | None:
    """The error in a JSON document, whatever its shape; `None` when it holds none."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**document, "message": error}
    if "error" not in document and isinstance(document.get("message") or document.get("detail"), str):
        return {**document, "message": document.get("message") or document.get("detail")}
    return None


def _failed(
    error: Mapping[str, Any], status: int | None, headers: Mapping[str, str], now: float, *, in_band: bool
) -> Failed:
    evidence = _gather(error, status, headers)
    kind = next((kind for kind, holds in _RULES if holds(evidence)), FailureKind.UPSTREAM_ERROR)
    wait = retry_after_seconds(headers, error, now)
    if wait is None and kind is FailureKind.RATE_LIMITED_POOL:
        wait = seconds_to_midnight(now) if "per-day" in evidence.words else 60.0
    return Failed(
        kind,
        status=None if in_band else status,
        retry_after_seconds=wait,
        detail=_detail(error, evidence),
    )


def _gather(error: Mapping[str, Any], status: int | None, headers: Mapping[str, str]) -> Evidence:
    metadata = mapping(error.get("metadata"))
    availability = mapping(error.get("availability"))
    code = error.get("code")
    message = _word(error.get("message"))
    words = " ".join((message, _word(metadata.get("raw")), _word(metadata.get("message")))).lower()
    copied = {name.lower() for name in mapping(metadata.get("headers"))}
    retryable = availability.get("retryable")
    by_provider = (
        bool(metadata.get("provider_name"))
        or bool(availability.get("affected_providers"))
        or "provider returned error" in words
        or "rate-limited upstream" in words
    )
    return Evidence(
        status=status if status is not None else _status(code, error.get("http_status")),
        code=_word(availability.get("code")) or (code if isinstance(code, str) else ""),
        error_type=_word(metadata.get("error_type") or error.get("error_type") or error.get("type")),
        words=words,
        retryable=retryable if isinstance(retryable, bool) else None,
        by_provider=by_provider,
        by_platform=any(name.startswith("x-ratelimit-") for name in (*headers, *copied))
        or "rate limit exceeded" in words
        or metadata.get("limit_source") in {"platform", "openrouter"},
        moderated=any(metadata.get(key) for key in ("reasons", "flagged_input", "patterns")),
    )


def _status(*codes: object) -> int | None:
    for code in codes:
        if isinstance(code, int) and not isinstance(code, bool):
            return code
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:  # noqa: PLR2004
            return int(code)
    return None


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _detail(error: Mapping[str, Any], evidence: Evidence) -> str:
    # Only fixed fields: `flagged_input`, for one, quotes the user and has no place in a log.
    metadata = mapping(error.get("metadata"))
    parts = (
        str(evidence.status or ""),
        evidence.code,
        evidence.error_type,
        _word(metadata.get("provider_name")),
        _word(error.get("message")),
    )
    return " ".join(part for part in parts if part)[:_DETAIL_CHARS]
