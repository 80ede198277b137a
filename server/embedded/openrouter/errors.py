"""Sans-I/O. The errors OpenRouter answers with, as one table: status, message, metadata, headers.

Sources: its error and limit pages, its OpenAPI document, and bodies captured by others. Texts may hold
`{model}`, `{provider}`, `{reset}` (epoch, milliseconds), `{tokens}` and `{affordable}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

Json = Mapping[str, Any]
_NONE: Json = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """One error.

    `bare` is the error type where `code` is left out, as examples since 2026-08 do; `raw` is no JSON at all.
    """

    status: int
    message: str = ""
    metadata: Json = field(default_factory=lambda: _NONE)
    availability: Json = field(default_factory=lambda: _NONE)
    headers: Json = field(default_factory=lambda: _NONE)
    bare: str = ""
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error ready to be sent; `payload` is the `error` object, `None` where the body is not JSON."""

    status: int
    headers: dict[str, str]
    body: bytes
    payload: dict[str, Any] | None


_HTML = (
    "<!DOCTYPE html>\n<html><head><title>openrouter.ai | 502: Bad gateway</title></head>\n"
    '<body><h1>Bad gateway</h1><p>Error code 502</p><p>cloudflare</p><script>var x = "data: {}";</script>'
    "</body></html>\n"
)
_FREE_RATE = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{reset}"}
_FREE_DAY = {**_FREE_RATE, "X-RateLimit-Limit": "50"}
_REJECTED = "Provider returned error"
_PROVIDER = {"provider_name": "{provider}"}


def _raw(text: str, error_type: str = "provider_unavailable") -> Json:
    return {"raw": text, **_PROVIDER, "error_type": error_type}


def _available(code: str, *, retryable: bool = False, retry_after: int | None = None) -> Json:
    return {
        "code": code,
        "retryable": retryable,
        "retry_after": retry_after,
        "requested_models": ["{model}"],
        "affected_providers": ["{provider}"],
        "fallback_models": [],
        "docs_url": "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    }


_PREFILL = (
    "This model does not support assistant message prefill. The conversation must end with a user message."
)
_WHITESPACE = "messages: final assistant content cannot end with trailing whitespace"
_ANTHROPIC = '{"type":"error","error":{"type":"invalid_request_error","message":"%s"}}'
_POLICY = (
    "No endpoints found matching your data policy (Free model publication). "
    "Configure: https://openrouter.ai/settings/privacy"
)
_GUARDRAILS = (
    "No endpoints available matching your guardrail restrictions and data policy. "
    "Configure: https://openrouter.ai/settings/privacy"
)
_AFFORD = (
    "This request requires more credits, or fewer max_tokens. You requested up to {tokens} tokens, "
    "but can only afford {affordable}. To increase, visit https://openrouter.ai/settings/credits"
)
_LONG = (
    "This endpoint's maximum context length is 8192 tokens. However, you requested about {tokens} tokens. "
    "Please reduce the length of either one, or use the context-compression plugin."
)
_FREE_KINDS = "Rate limit exceeded: free-models-per-"

ERRORS: Mapping[str, ErrorShape] = MappingProxyType(
    {
        "bad_request": ErrorShape(400, "Invalid request parameters", {"error_type": "invalid_request"}),
        "invalid_model": ErrorShape(
            400,
            "{model} is not a valid model ID",
            {"error_type": "invalid_request"},
            _available("model_not_found"),
        ),
        "wrong_endpoint": ErrorShape(
            400,
            "{model} is no chat model",
            availability=_available("wrong_endpoint"),
            bare="invalid_request",
        ),
        "context_length": ErrorShape(400, _LONG, {"error_type": "context_length_exceeded"}),
        "prefill_rejected": ErrorShape(400, _REJECTED, _raw(_ANTHROPIC % _PREFILL, "invalid_request")),
        "trailing_whitespace": ErrorShape(400, _REJECTED, _raw(_ANTHROPIC % _WHITESPACE, "invalid_request")),
        "missing_auth": ErrorShape(401, "Missing Authentication header", {"error_type": "authentication"}),
        "no_credentials": ErrorShape(401, "No auth credentials found"),
        "user_not_found": ErrorShape(401, "User not found.", {"error_type": "authentication"}),
        "insufficient_credits": ErrorShape(
            402,
            "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
            {"error_type": "payment_required"},
        ),
        "cannot_afford": ErrorShape(402, _AFFORD, {"provider_name": None}),
        "moderation": ErrorShape(
            403,
            '{model} requires moderation on {provider}. Your input was flagged for "violence"',
            {
                "reasons": ["violence"],
                "flagged_input": "the beginning of it...and the end",
                **_PROVIDER,
                "model_slug": "{model}",
                "error_type": "content_policy_violation",
            },
        ),
        "refusal": ErrorShape(400, _REJECTED, {"error_type": "refusal", **_PROVIDER}),
        "guardrail": ErrorShape(403, "Request blocked by guardrail", {"patterns": ["email"]}),
        "key_forbidden": ErrorShape(
            403,
            "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
            {"error_type": "permission_denied"},
        ),
        "region": ErrorShape(
            403,
            "{model} is not available in your region",
            availability=_available("region_restricted"),
            bare="permission_denied",
        ),
        "no_endpoints": ErrorShape(
            404, "No endpoints found for {model}.", {"error_type": "not_found"}, _available("no_endpoints")
        ),
        "data_policy": ErrorShape(404, _POLICY, availability=_available("privacy_restricted")),
        "guardrail_policy": ErrorShape(404, _GUARDRAILS),
        "model_deprecated": ErrorShape(
            404, "{model} has been deprecated", availability=_available("model_deprecated"), bare="not_found"
        ),
        "free_variant_ended": ErrorShape(
            404,
            "The free period of {model} has ended",
            availability=_available("free_variant_ended"),
            bare="not_found",
        ),
        "unavailable_upstream": ErrorShape(
            404,
            "{model} is not served by any provider at the moment",
            availability=_available("model_unavailable_upstream"),
            bare="not_found",
        ),
        "constraint_filtered": ErrorShape(
            404,
            "No endpoints found for {model} that can handle the requested parameters.",
            availability={**_available("constraint_filtered"), "constraint": "provider.only"},
            bare="not_found",
        ),
        "timeout": ErrorShape(408, "Operation timed out. Please try again later.", {"error_type": "timeout"}),
        "too_large": ErrorShape(413, "Request payload is too large", {"error_type": "payload_too_large"}),
        "unprocessable": ErrorShape(422, "Invalid argument", {"error_type": "unprocessable"}),
        "free_per_minute": ErrorShape(
            429, _FREE_KINDS + "min. ", {"headers": _FREE_RATE, "provider_name": None}, headers=_FREE_RATE
        ),
        "free_per_day": ErrorShape(
            429,
            _FREE_KINDS + "day. Add 10 credits to unlock 1000 free model requests per day",
            {"headers": _FREE_DAY, "provider_name": None},
            headers=_FREE_DAY,
        ),
        "free_per_day_high_balance": ErrorShape(
            429,
            _FREE_KINDS + "day-high-balance. ",
            {"headers": _FREE_DAY, "provider_name": None},
            headers=_FREE_DAY,
        ),
        "upstream_rate_limited": ErrorShape(
            429,
            _REJECTED,
            _raw(
                "{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key to "
                "accumulate your rate limits: https://openrouter.ai/settings/integrations",
                "rate_limit_exceeded",
            ),
        ),
        "upstream_limit_explained": ErrorShape(
            429,
            _REJECTED,
            {
                "raw": "{model} is temporarily rate-limited upstream",
                **_PROVIDER,
                "limit_source": "provider",
                "remedy_hint": "Retry later, or add a key of your own",
            },
        ),
        "capacity_exhausted": ErrorShape(
            429,
            "All providers of {model} are at capacity",
            availability=_available("capacity_exhausted", retryable=True, retry_after=7),
            headers={"Retry-After": "7"},
        ),
        "internal": ErrorShape(500, "Internal Server Error", {"error_type": "server"}),
        "provider_error": ErrorShape(502, _REJECTED, _raw("error code: 1015")),
        "html": ErrorShape(502, headers={"Content-Type": "text/html; charset=UTF-8"}, raw=_HTML),
        "empty": ErrorShape(502, headers={"Content-Type": "text/plain"}, raw=""),
        "broken_json": ErrorShape(502, raw='{"error":{"code":502,"mess'),
        "unavailable": ErrorShape(503, "Provider is unavailable", {"error_type": "provider_unavailable"}),
        "temporarily_unavailable": ErrorShape(
            503,
            "{model} is temporarily unavailable",
            availability=_available("temporarily_unavailable", retryable=True, retry_after=3),
            headers={"Retry-After": "3"},
            bare="provider_unavailable",
        ),
        "gateway_timeout": ErrorShape(504, "Provider timed out", {"error_type": "timeout"}),
        "edge_timeout": ErrorShape(524, "Edge network timeout"),
        "overloaded": ErrorShape(529, _REJECTED, {"error_type": "provider_overloaded", **_PROVIDER}),
    }
)


def build_error(
    name: str,
    values: Mapping[str, object],
    *,
    message: str | None = None,
    metadata: Json = _NONE,
) -> ErrorReply:
    """The error called `name`, its texts filled from `values`; `message` and `metadata` override.

    Raises:
        KeyError: there is no such error.
    """
    shape = ERRORS[name]
    headers = {"Content-Type": "application/json", **_filled(shape.headers, values)}
    if shape.raw is not None:
        return ErrorReply(shape.status, headers, shape.raw.encode(), None)
    payload: dict[str, Any] = {"message": _filled(message or shape.message, values)}
    if shape.bare:
        payload |= {"http_status": shape.status, "error_type": shape.bare}
    else:
        payload = {"code": shape.status, **payload}
    if shape.metadata or metadata:
        payload["metadata"] = {**_filled(shape.metadata, values), **metadata}
    if shape.availability:
        payload["availability"] = _filled(shape.availability, values)
    return ErrorReply(shape.status, headers, orjson.dumps({"error": payload, "user_id": "user_sim"}), payload)


def plain_error(status: int, message: str, metadata: Json = _NONE) -> ErrorReply:
    """An error of any status, for what the table does not hold."""
    payload: dict[str, Any] = {"code": status, "message": message}
    if metadata:
        payload["metadata"] = dict(metadata)
    return ErrorReply(status, {"Content-Type": "application/json"}, orjson.dumps({"error": payload}), payload)


def _filled(value: Any, values: Mapping[str, object]) -> Any:
    match value:
        case str():
            for name, replacement in values.items():
                value = value.replace("{" + name + "}", str(replacement))
            return value
        case Mapping():
            return {key: _filled(item, values) for key, item in value.items()}
        case list():
            return [_filled(item, values) for item in value]
        case _:
            return value
