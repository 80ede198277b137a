"""Every way a call is refused by a status: bodies, headers, keys, limits, models, partial answers."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from server.embedded.openrouter.account import FreeLimits, KeySettings
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.errors import ERRORS
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import (
    KEY,
    MODEL,
    Heard,
    a_body,
    ask,
    exchange,
    hear,
    with_simulator,
)

FREE = "meta-llama/llama-3.2-3b-instruct:free"
CLAUDE = "anthropic/claude-haiku-4.5"

# status, a part of the message, error type, availability code
KNOWN: dict[str, tuple[int, str, str | None, str | None]] = {
    "bad_request": (400, "Invalid request parameters", "invalid_request", None),
    "invalid_model": (400, f"{MODEL} is not a valid model ID", "invalid_request", "model_not_found"),
    "wrong_endpoint": (400, "is no chat model", "invalid_request", "wrong_endpoint"),
    "context_length": (400, "maximum context length is 8192 tokens", "context_length_exceeded", None),
    "prefill_rejected": (400, "Provider returned error", "invalid_request", None),
    "trailing_whitespace": (400, "Provider returned error", "invalid_request", None),
    "missing_auth": (401, "Missing Authentication header", "authentication", None),
    "no_credentials": (401, "No auth credentials found", None, None),
    "user_not_found": (401, "User not found.", "authentication", None),
    "insufficient_credits": (402, "Insufficient credits", "payment_required", None),
    "cannot_afford": (402, "You requested up to 1000 tokens, but can only afford 0.", None, None),
    "moderation": (403, "Your input was flagged", "content_policy_violation", None),
    "refusal": (400, "Provider returned error", "refusal", None),
    "guardrail": (403, "guardrail", None, None),
    "key_forbidden": (403, "Key limit exceeded", "permission_denied", None),
    "region": (403, "not available in your region", "permission_denied", "region_restricted"),
    "no_endpoints": (404, f"No endpoints found for {MODEL}.", "not_found", "no_endpoints"),
    "data_policy": (404, "No endpoints found matching your data policy", None, "privacy_restricted"),
    "guardrail_policy": (404, "matching your guardrail restrictions and data policy", None, None),
    "model_deprecated": (404, "deprecated", "not_found", "model_deprecated"),
    "free_variant_ended": (404, "has ended", "not_found", "free_variant_ended"),
    "unavailable_upstream": (404, "any provider", "not_found", "model_unavailable_upstream"),
    "constraint_filtered": (404, "requested parameters", "not_found", "constraint_filtered"),
    "timeout": (408, "Operation timed out", "timeout", None),
    "too_large": (413, "too large", "payload_too_large", None),
    "unprocessable": (422, "Invalid argument", "unprocessable", None),
    "free_per_minute": (429, "Rate limit exceeded: free-models-per-min. ", None, None),
    "free_per_day": (429, "Rate limit exceeded: free-models-per-day. Add 10 credits", None, None),
    "free_per_day_high_balance": (429, "free-models-per-day-high-balance", None, None),
    "upstream_rate_limited": (429, "Provider returned error", "rate_limit_exceeded", None),
    "upstream_limit_explained": (429, "Provider returned error", None, None),
    "capacity_exhausted": (429, "at capacity", None, "capacity_exhausted"),
    "internal": (500, "Internal Server Error", "server", None),
    "provider_error": (502, "Provider returned error", "provider_unavailable", None),
    "unavailable": (503, "Provider is unavailable", "provider_unavailable", None),
    "temporarily_unavailable": (503, "temporarily unavailable", "provider_unavailable", "temporarily_unavailable"),
    "gateway_timeout": (504, "timed out", "timeout", None),
    "edge_timeout": (524, "Edge network timeout", None, None),
    "overloaded": (529, "Provider returned error", "provider_overloaded", None),
}  # fmt: skip
NO_JSON = {"html", "empty", "broken_json"}


def test_this_file_knows_every_error():
    assert set(KNOWN) | NO_JSON == set(ERRORS)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", KNOWN)
def test_every_error_has_its_status_and_body(name: str, stream: bool):
    status, message, error_type, code = KNOWN[name]
    heard, call = hear(Behaviour(error=name), stream=stream)

    error = heard.json["error"]
    assert heard.status == call.status == status
    assert heard.headers["content-type"] == "application/json"
    assert message in error["message"]
    assert "{" not in error["message"]
    if "http_status" in error:
        assert (error["http_status"], error["error_type"]) == (status, error_type)
        assert "code" not in error
    else:
        assert error["code"] == status
        assert error.get("metadata", {}).get("error_type") == error_type
    assert error.get("availability", {}).get("code") == code
    assert (call.state, call.generation_id, call.sent) == ("failed", None, "")


@pytest.mark.parametrize(
    ("name", "body", "content_type"),
    [
        ("html", b"<!DOCTYPE html>", "text/html; charset=UTF-8"),
        ("empty", b"", "text/plain"),
        ("broken_json", b'{"error":{"code":502,"mess', "application/json"),
    ],
)
def test_a_body_may_be_no_json(name: str, body: bytes, content_type: str):
    heard, _ = hear(Behaviour(error=name))

    assert (heard.status, heard.headers["content-type"]) == (502, content_type)
    assert heard.body.startswith(body)
    with pytest.raises(json.JSONDecodeError):
        _ = heard.json


@pytest.mark.parametrize("name", ["free_per_minute", "free_per_day", "free_per_day_high_balance"])
def test_the_platforms_limits_are_told_by_headers_and_again_in_the_body(name: str):
    heard, call = hear(Behaviour(error=name))

    copied = heard.json["error"]["metadata"]["headers"]
    for header in ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"):
        assert heard.headers[header.lower()] == copied[header]
    assert copied["X-RateLimit-Remaining"] == "0"
    # epoch milliseconds
    assert 0 < int(copied["X-RateLimit-Reset"]) / 1000 - call.received_at < 61


def test_a_providers_limit_names_the_provider_and_has_no_limit_headers():
    heard, _ = hear(Behaviour(error="upstream_rate_limited"))

    metadata = heard.json["error"]["metadata"]
    assert metadata["provider_name"] == "OpenAI"
    assert f"{MODEL} is temporarily rate-limited upstream" in metadata["raw"]
    assert not [name for name in heard.headers if name.startswith(("x-ratelimit", "retry-after"))]


def test_the_metadata_of_september_2026_has_other_fields():
    heard, _ = hear(Behaviour(error="upstream_limit_explained"))

    assert set(heard.json["error"]["metadata"]) == {"raw", "provider_name", "limit_source", "remedy_hint"}


@pytest.mark.parametrize(("name", "seconds"), [("capacity_exhausted", 7), ("temporarily_unavailable", 3)])
def test_what_is_worth_a_retry_says_when(name: str, seconds: int):
    heard, _ = hear(Behaviour(error=name))

    availability = heard.json["error"]["availability"]
    assert (availability["retryable"], availability["retry_after"]) == (True, seconds)
    assert heard.headers["retry-after"] == str(seconds)
    assert availability["requested_models"] == [MODEL]


def test_moderation_says_why():
    heard, _ = hear(Behaviour(error="moderation"))

    metadata = heard.json["error"]["metadata"]
    assert metadata["reasons"] == ["violence"]
    assert len(metadata["flagged_input"]) <= 100
    assert (metadata["provider_name"], metadata["model_slug"]) == ("OpenAI", MODEL)


def test_any_error_may_have_another_message_more_metadata_and_headers():
    heard, _ = hear(
        Behaviour(
            error="overloaded",
            message="{model} is busy",
            metadata={"error_type": "server", "extra": 1},
            headers={"Retry-After": "9"},
        )
    )

    error = heard.json["error"]
    assert error["message"] == f"{MODEL} is busy"
    assert error["metadata"] == {"error_type": "server", "extra": 1, "provider_name": "OpenAI"}
    assert heard.headers["retry-after"] == "9"


@pytest.mark.parametrize("status", [400, 418, 599])
def test_any_status_may_be_answered(status: int):
    heard, _ = hear(Behaviour(status=status, message="No.", metadata={"error_type": "unmapped"}))

    assert heard.status == status
    assert heard.json == {"error": {"code": status, "message": "No.", "metadata": {"error_type": "unmapped"}}}


# --- keys and money ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (None, "Missing Authentication header"),
        ("Basic abc", "Missing Authentication header"),
        ("Bearer nobody", "User not found."),
    ],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/key", "/generation?id=x"])
def test_without_a_key_that_works_nothing_is_answered(path: str, authorization: str | None, message: str):
    async def act(simulator: Simulator) -> Heard:
        return await exchange(
            simulator.base_url + path,
            method="POST" if "chat" in path else "GET",
            body=json.dumps(a_body()).encode() if "chat" in path else b"",
            headers={} if authorization is None else {"Authorization": authorization},
        )

    heard = with_simulator(act)
    assert (heard.status, heard.json["error"]["message"]) == (401, message)


@pytest.mark.parametrize(
    ("state", "status"), [("unknown", 401), ("exhausted", 402), ("forbidden", 403), ("ok", 200)]
)
@pytest.mark.parametrize("model", [MODEL, FREE])
def test_the_state_of_a_key_decides_for_free_models_too(state: Any, status: int, model: str):
    async def act(simulator: Simulator) -> Heard:
        simulator.account.keys["k"] = KeySettings(state=state)
        return await ask(simulator, key="k", model=model)

    assert with_simulator(act).status == status


@pytest.mark.parametrize(
    ("dollars", "limit", "status"), [(0.0006, 1000, 200), (0.0006, 1001, 402), (0.0, 1, 402)]
)
def test_a_call_whose_most_tokens_cannot_be_paid_is_refused(dollars: float, limit: int, status: int):
    async def act(simulator: Simulator) -> Heard:
        simulator.account.keys[KEY] = KeySettings(credits=dollars)
        return await ask(simulator, max_tokens=limit)

    heard = with_simulator(act)
    assert heard.status == status
    if status == 402:
        error = heard.json["error"]
        assert f"up to {limit} tokens, but can only afford {int(dollars / 0.0000006)}." in error["message"]
        assert error["metadata"] == {"provider_name": None}


def test_without_a_limit_a_thousand_tokens_must_be_affordable():
    async def act(simulator: Simulator) -> list[int | None]:
        statuses = []
        for dollars in (0.0006, 0.0005):
            simulator.account.keys[KEY] = KeySettings(credits=dollars)
            statuses.append((await ask(simulator)).status)
        return statuses

    assert with_simulator(act) == [200, 402]


# --- free models -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "message", "limit", "longest"),
    [
        (FreeLimits(per_minute=2), "free-models-per-min. ", "20", 60),
        (FreeLimits(per_day=2), "free-models-per-day. Add", "50", 86_400),
        (FreeLimits(per_day=2, high_balance=True), "free-models-per-day-high-balance", "50", 86_400),
    ],
)
def test_free_calls_are_counted_for_the_whole_account(
    limits: FreeLimits, message: str, limit: str, longest: int
):
    """Failed calls and other keys count too; paid models do not."""

    async def act(simulator: Simulator) -> None:
        simulator.account.limits = limits
        simulator.account.keys["k-2"] = KeySettings()
        simulator.script(Behaviour(error="internal"))
        assert (await ask(simulator, model=FREE)).status == 500
        assert (await ask(simulator, model="openrouter/free", key="k-2")).status == 200
        assert (await ask(simulator)).status == 200
        heard = await ask(simulator, model=FREE)
        assert heard.status == 429
        assert message in heard.json["error"]["message"]
        assert heard.headers["x-ratelimit-limit"] == limit
        assert 0 < int(heard.headers["x-ratelimit-reset"]) / 1000 - time.time() <= longest

    with_simulator(act)


def test_a_window_that_is_over_counts_anew():
    from server.embedded.openrouter.account import Account

    account = Account({}, FreeLimits(per_minute=1, per_day=3))
    assert account.count_free(1000.0) is None
    assert account.count_free(1019.9) == ("free_per_minute", 1020.0)
    assert account.count_free(1020.0) is None
    assert account.count_free(1080.0) is None
    assert account.count_free(1140.0) == ("free_per_day", 86_400.0)
    assert account.count_free(86_400.0) is None


# --- models ------------------------------------------------------------------------------------


def test_an_unknown_model_is_a_bad_request():
    async def act(simulator: Simulator) -> Heard:
        return await ask(simulator, model="no/such")

    heard = with_simulator(act)
    assert heard.status == 400
    assert heard.json["error"]["message"] == "no/such is not a valid model ID"
    assert heard.json["error"]["availability"]["code"] == "model_not_found"


def test_the_next_model_answers_for_one_that_refused():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(error="overloaded"), model=MODEL)
        simulator.script(Behaviour(error="moderation"), model=FREE)
        simulator.script(Behaviour(text="I can."), model=CLAUDE)
        heard = await ask(simulator, models=[MODEL, "no/such", FREE, CLAUDE])
        (call,) = simulator.calls()
        assert (heard.text, heard.chunks[0]["model"]) == ("I can.", CLAUDE)
        assert (call.model, call.served_as, call.provider) == (MODEL, CLAUDE, "Anthropic")

    with_simulator(act)


def test_when_every_model_refuses_the_last_refusal_is_told():
    async def act(simulator: Simulator) -> Heard:
        simulator.script(Behaviour(error="overloaded"), model=MODEL)
        simulator.script(Behaviour(error="data_policy"), model=FREE)
        return await ask(simulator, models=[FREE])

    assert with_simulator(act).status == 404


def test_after_the_first_token_no_other_model_takes_over():
    from server.embedded.openrouter.behaviour import Failure

    async def act(simulator: Simulator) -> Heard:
        simulator.script(Behaviour(text="One two.", fail=Failure(how="error", at=1)), model=MODEL)
        simulator.script(Behaviour(text="Never."), model=CLAUDE)
        return await ask(simulator, models=[CLAUDE])

    heard = with_simulator(act)
    assert (heard.status, heard.text) == (200, "One")
    assert heard.chunks[-1]["error"]["code"] == 502


# --- what is no request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"messages":[]}', b'{"messages":"x"}', b"[" * 100_000]
)
def test_a_body_that_is_no_chat_request_is_a_bad_request(body: bytes):
    async def act(simulator: Simulator) -> Heard:
        heard = await exchange(
            f"{simulator.base_url}/chat/completions", body=body, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert (await ask(simulator)).status == 200
        return heard

    heard = with_simulator(act)
    assert heard.status == 400
    assert heard.json["error"]["metadata"]["error_type"] == "invalid_request"


def test_what_is_no_http_is_refused_and_the_connection_closed():
    async def act(simulator: Simulator) -> Heard:
        return await exchange(simulator.base_url, method="GE\0T")

    heard = with_simulator(act)
    assert (heard.status, heard.headers["content-type"]) == (400, "text/plain")


def test_no_other_place_exists():
    async def act(simulator: Simulator) -> Heard:
        return await exchange(f"{simulator.base_url}/credits", method="GET")

    assert with_simulator(act).status == 404


# --- partial answers -----------------------------------------------------------------------------


def a_partial(partial: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Count."}, {"role": "assistant", "content": partial}]


@pytest.mark.parametrize(
    ("model", "partial", "raw"),
    [
        ("anthropic/claude-sonnet-4.6", "One", "does not support assistant message prefill"),
        (CLAUDE, "One ", "cannot end with trailing whitespace"),
        (CLAUDE, "One\n", "cannot end with trailing whitespace"),
    ],
)
def test_a_provider_refuses_a_partial_answer_it_cannot_take(model: str, partial: str, raw: str):
    async def act(simulator: Simulator) -> Heard:
        return await ask(simulator, model=model, messages=a_partial(partial))

    heard = with_simulator(act)
    error = heard.json["error"]
    assert (heard.status, error["message"]) == (400, "Provider returned error")
    assert raw in json.loads(error["metadata"]["raw"])["error"]["message"]
    assert error["metadata"]["provider_name"] == "Anthropic"


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4.6", CLAUDE])
def test_a_request_that_ends_with_the_user_is_taken_by_every_model(model: str):
    messages = [*a_partial("One "), {"role": "user", "content": "Continue exactly where you stopped."}]

    async def act(simulator: Simulator) -> Heard:
        simulator.script(Behaviour(text="One two."))
        return await ask(simulator, model=model, messages=messages)

    assert with_simulator(act).text == "two."
