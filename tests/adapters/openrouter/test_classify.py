"""Sans-I/O. The table of failures: every refusal known of OpenRouter, and what it means for the next try."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.classify import classify_error, classify_response
from server.embedded.openrouter.errors import ERRORS, build_error
from server.generations.upstream import FailureKind

NOW = 1_790_000_000.0
RESET = 1_790_000_041_000

MEANING = {
    "bad_request": FailureKind.BAD_REQUEST,
    "invalid_model": FailureKind.MODEL_UNAVAILABLE,
    "wrong_endpoint": FailureKind.MODEL_UNAVAILABLE,
    "context_length": FailureKind.CONTEXT_TOO_LONG,
    "prefill_rejected": FailureKind.PREFILL_REJECTED,
    "trailing_whitespace": FailureKind.PREFILL_REJECTED,
    "missing_auth": FailureKind.KEY_REJECTED,
    "no_credentials": FailureKind.KEY_REJECTED,
    "user_not_found": FailureKind.KEY_REJECTED,
    "insufficient_credits": FailureKind.BUDGET_EXHAUSTED,
    "cannot_afford": FailureKind.BUDGET_EXHAUSTED,
    "moderation": FailureKind.CONTENT_FILTERED,
    "refusal": FailureKind.CONTENT_FILTERED,
    "guardrail": FailureKind.CONTENT_FILTERED,
    "key_forbidden": FailureKind.KEY_REJECTED,
    "region": FailureKind.MODEL_UNAVAILABLE,
    "no_endpoints": FailureKind.MODEL_UNAVAILABLE,
    "unavailable_upstream": FailureKind.MODEL_UNAVAILABLE,
    "constraint_filtered": FailureKind.MODEL_UNAVAILABLE,
    "guardrail_policy": FailureKind.MODEL_UNAVAILABLE,
    "data_policy": FailureKind.MODEL_UNAVAILABLE,
    "model_deprecated": FailureKind.MODEL_UNAVAILABLE,
    "free_variant_ended": FailureKind.MODEL_UNAVAILABLE,
    "timeout": FailureKind.OVERLOADED,
    "too_large": FailureKind.CONTEXT_TOO_LONG,
    "unprocessable": FailureKind.BAD_REQUEST,
    "free_per_minute": FailureKind.RATE_LIMITED_POOL,
    "free_per_day": FailureKind.RATE_LIMITED_POOL,
    "free_per_day_high_balance": FailureKind.RATE_LIMITED_POOL,
    "upstream_rate_limited": FailureKind.RATE_LIMITED_MODEL,
    "upstream_limit_explained": FailureKind.RATE_LIMITED_MODEL,
    "capacity_exhausted": FailureKind.RATE_LIMITED_MODEL,
    "internal": FailureKind.OVERLOADED,
    "provider_error": FailureKind.OVERLOADED,
    "html": FailureKind.OVERLOADED,
    "empty": FailureKind.OVERLOADED,
    "broken_json": FailureKind.OVERLOADED,
    "unavailable": FailureKind.OVERLOADED,
    "temporarily_unavailable": FailureKind.OVERLOADED,
    "gateway_timeout": FailureKind.OVERLOADED,
    "edge_timeout": FailureKind.OVERLOADED,
    "overloaded": FailureKind.OVERLOADED,
}
WAITS = {
    "free_per_minute": 41.0,
    "free_per_day": 41.0,
    "free_per_day_high_balance": 41.0,
    "capacity_exhausted": 7.0,
    "temporarily_unavailable": 3.0,
}
VALUES = {"model": "a/b:free", "provider": "Acme", "reset": RESET, "tokens": 9000, "affordable": 12}


def refusal(error: Any, status: int = 400, headers: dict[str, str] | None = None) -> tuple[FailureKind, Any]:
    failed = classify_response(status, headers or {}, json.dumps({"error": error}).encode(), NOW)
    return failed.kind, failed.retry_after_seconds


@pytest.mark.parametrize("name", ERRORS)
def test_every_known_refusal_has_its_meaning(name: str):
    reply = build_error(name, VALUES)
    headers = {key.lower(): value for key, value in reply.headers.items()}

    failed = classify_response(reply.status, headers, reply.body, NOW)

    assert (failed.kind, failed.status) == (MEANING[name], reply.status)
    assert failed.retry_after_seconds == WAITS.get(name)


@pytest.mark.parametrize("name", [name for name in ERRORS if ERRORS[name].raw is None])
def test_the_same_error_inside_a_stream_means_the_same(name: str):
    """A 200 is committed before the provider answered, so every refusal may come in band."""
    payload = build_error(name, VALUES).payload
    assert payload is not None

    failed = classify_error(payload, NOW)

    assert (failed.kind, failed.status) == (MEANING[name], None)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"code": 403, "message": "Provider returned error", "metadata": {"provider_name": "X"}}, 403, FailureKind.MODEL_UNAVAILABLE),
        ({"code": 402, "message": "Provider returned error", "metadata": {"provider_name": "X"}}, 402, FailureKind.MODEL_UNAVAILABLE),
        ({"code": 429, "message": "Slow down"}, 429, FailureKind.RATE_LIMITED_MODEL),
        ({"code": 429, "message": "?", "metadata": {"limit_source": "openrouter"}}, 429, FailureKind.RATE_LIMITED_POOL),
        ({"message": "?", "metadata": {"error_type": "provider_overloaded"}}, 418, FailureKind.OVERLOADED),
        ({"message": "?", "metadata": {"error_type": "refusal"}}, 400, FailureKind.CONTENT_FILTERED),
        ({"message": "?", "availability": {"retryable": False}}, 503, FailureKind.MODEL_UNAVAILABLE),
        ({"message": "?", "availability": {"retryable": True}}, 404, FailureKind.OVERLOADED),
        ({"message": "?", "availability": {"code": "no_endpoints", "retryable": True}}, 404, FailureKind.OVERLOADED),
        ({"message": "No endpoints available matching your guardrail restrictions and data policy"}, 404, FailureKind.MODEL_UNAVAILABLE),
        ("This conversation must end with a user message", 400, FailureKind.PREFILL_REJECTED),
        ({"message": "?"}, 451, FailureKind.BAD_REQUEST),
        ({"message": "?"}, 302, FailureKind.UPSTREAM_ERROR),
    ],
)  # fmt: skip
def test_who_refused_and_whether_it_may_pass_decide(error: Any, status: int, kind: FailureKind):
    assert refusal(error, status)[0] == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("server_error", FailureKind.UPSTREAM_ERROR),
        ({}, FailureKind.UPSTREAM_ERROR),
        ({"code": "server_error", "message": "?"}, FailureKind.UPSTREAM_ERROR),
        ({"code": "429", "message": "?"}, FailureKind.RATE_LIMITED_MODEL),
        ({"code": 502, "message": "?"}, FailureKind.OVERLOADED),
        ({"code": True, "http_status": 404, "message": None}, FailureKind.MODEL_UNAVAILABLE),
        ({"code": [], "message": {}, "metadata": "?", "availability": 3}, FailureKind.UPSTREAM_ERROR),
    ],
)
def test_an_error_in_band_may_have_any_shape(error: Any, kind: FailureKind):
    assert classify_error(error, NOW).kind == kind


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "503"),
        (b"<html>\n <h1>Bad   gateway</h1>", "503 <html> <h1>Bad gateway</h1>"),
        (b'{"message":"down"}', "503 down"),
        (b'{"detail":"down"}', "503 down"),
        (b'{"error":"down"}', "503 down"),
        (b'{"error":null}', "503"),
        (b"[1]", "503"),
    ],
)
def test_a_refusal_without_the_usual_body_is_read_by_its_status(body: bytes, detail: str):
    failed = classify_response(503, {}, body, NOW)

    assert (failed.kind, failed.detail) == (FailureKind.OVERLOADED, detail)


@pytest.mark.parametrize(("period", "seconds"), [("min", 60.0), ("day", 35_200.0)])
def test_without_a_hint_the_free_pool_rests_a_minute_or_until_midnight(period: str, seconds: float):
    error = {"code": 429, "message": f"Rate limit exceeded: free-models-per-{period}"}

    assert refusal(error, 429) == (FailureKind.RATE_LIMITED_POOL, seconds)


def test_what_the_user_wrote_stays_out_of_the_detail():
    error = {"code": 403, "message": "flagged", "metadata": {"flagged_input": "my secret", "reasons": ["x"]}}

    assert classify_error(error, NOW).detail == "403 flagged"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "message", "metadata", "availability", "headers", "retryable", "error", "raw"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(_json, st.integers(300, 599))
def test_no_error_body_breaks_it(error: Any, status: int):
    body = json.dumps({"error": error}).encode()

    assert classify_response(status, {}, body, NOW).status == status
    if isinstance(error, dict | str):
        assert classify_error(error, NOW).status is None
