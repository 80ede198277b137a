"""Sans-I/O. Every word OpenRouter has for a failure, wherever it may stand, and every contradiction of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.adapters.openrouter.classify import classify_error, classify_response
from server.adapters.openrouter.reply import Reply
from server.generations.upstream import Done, Failed, FailureKind, UpstreamFact

NOW = 1_790_000_000.0

STATUSES = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.KEY_REJECTED,
    402: FailureKind.BUDGET_EXHAUSTED,
    403: FailureKind.KEY_REJECTED,
    404: FailureKind.MODEL_UNAVAILABLE,
    408: FailureKind.OVERLOADED,
    413: FailureKind.CONTEXT_TOO_LONG,
    422: FailureKind.BAD_REQUEST,
    429: FailureKind.RATE_LIMITED_MODEL,
    500: FailureKind.OVERLOADED,
    502: FailureKind.OVERLOADED,
    503: FailureKind.OVERLOADED,
    504: FailureKind.OVERLOADED,
    520: FailureKind.OVERLOADED,
    524: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}
ERROR_TYPES = {
    "context_length_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "max_tokens_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "token_limit_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "string_too_long": FailureKind.CONTEXT_TOO_LONG,
    "payload_too_large": FailureKind.CONTEXT_TOO_LONG,
    "authentication": FailureKind.KEY_REJECTED,
    "permission_denied": FailureKind.KEY_REJECTED,
    "payment_required": FailureKind.BUDGET_EXHAUSTED,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED_MODEL,
    "provider_overloaded": FailureKind.OVERLOADED,
    "provider_unavailable": FailureKind.OVERLOADED,
    "server": FailureKind.OVERLOADED,
    "timeout": FailureKind.OVERLOADED,
    "invalid_request": FailureKind.BAD_REQUEST,
    "invalid_prompt": FailureKind.BAD_REQUEST,
    "precondition_failed": FailureKind.BAD_REQUEST,
    "unprocessable": FailureKind.BAD_REQUEST,
    "not_found": FailureKind.MODEL_UNAVAILABLE,
    "content_policy_violation": FailureKind.CONTENT_FILTERED,
    "refusal": FailureKind.CONTENT_FILTERED,
    "unmapped": FailureKind.UPSTREAM_ERROR,
}
AVAILABILITY = {
    "model_not_found": (400, False, FailureKind.MODEL_UNAVAILABLE),
    "wrong_endpoint": (400, False, FailureKind.MODEL_UNAVAILABLE),
    "no_endpoints": (404, False, FailureKind.MODEL_UNAVAILABLE),
    "model_deprecated": (404, False, FailureKind.MODEL_UNAVAILABLE),
    "model_unavailable_upstream": (404, False, FailureKind.MODEL_UNAVAILABLE),
    "capacity_exhausted": (429, True, FailureKind.RATE_LIMITED_MODEL),
    "temporarily_unavailable": (503, True, FailureKind.OVERLOADED),
    "region_restricted": (403, False, FailureKind.MODEL_UNAVAILABLE),
    "privacy_restricted": (404, False, FailureKind.MODEL_UNAVAILABLE),
    "constraint_filtered": (404, False, FailureKind.MODEL_UNAVAILABLE),
    "free_variant_ended": (404, False, FailureKind.MODEL_UNAVAILABLE),
}
TEXTS = [
    (401, "Missing Authentication header", FailureKind.KEY_REJECTED),
    (401, "No auth credentials found", FailureKind.KEY_REJECTED),
    (401, "User not found.", FailureKind.KEY_REJECTED),
    (402, "This request requires more credits, or fewer max_tokens. You requested up to 9 tokens, but can only afford 2", FailureKind.BUDGET_EXHAUSTED),
    (403, 'x/y requires moderation on Z. Your input was flagged for "violence"', FailureKind.CONTENT_FILTERED),
    (403, "Request blocked by guardrail", FailureKind.CONTENT_FILTERED),
    (404, "No endpoints found for x/y.", FailureKind.MODEL_UNAVAILABLE),
    (404, "No endpoints found matching your data policy (Paid model training). Configure: https://…", FailureKind.MODEL_UNAVAILABLE),
    (404, "No endpoints available matching your guardrail restrictions and data policy", FailureKind.MODEL_UNAVAILABLE),
    (400, "x/y is not a valid model ID", FailureKind.MODEL_UNAVAILABLE),
    (400, "This endpoint's maximum context length is 8192 tokens", FailureKind.CONTEXT_TOO_LONG),
    (429, "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock", FailureKind.RATE_LIMITED_POOL),
    (429, "Rate limit exceeded: free-models-per-min. ", FailureKind.RATE_LIMITED_POOL),
    (429, "Rate limit exceeded: free-models-per-day-high-balance. ", FailureKind.RATE_LIMITED_POOL),
    (429, "Provider returned error", FailureKind.RATE_LIMITED_MODEL),
]  # fmt: skip


def refused(status: int, error: Any) -> FailureKind:
    return classify_response(status, {}, json.dumps({"error": error}).encode(), NOW).kind


def streamed(*documents: Any, done: bool = True) -> list[UpstreamFact]:
    reply = Reply()
    body = b"".join(b"data: %b\n\n" % json.dumps(document).encode() for document in documents)
    return [*reply.feed(body + (b"data: [DONE]\n\n" if done else b""), NOW), *reply.end(NOW)]


def in_band(error: Any, **more: Any) -> FailureKind:
    *_, end = streamed({"choices": [], "error": error, **more})
    assert isinstance(end, Failed)
    return end.kind


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_a_status_alone_has_its_meaning_in_front_and_in_band(status: int, kind: FailureKind):
    """In band its code may be an integer, a string of digits, or stand as `http_status`."""
    assert classify_response(status, {}, b"", NOW).kind == kind
    assert refused(status, {"code": status, "message": "?"}) == kind
    assert in_band({"code": status, "message": "?"}) == kind
    assert in_band({"code": str(status), "message": "?"}) == kind
    assert in_band({"http_status": status, "message": "?"}) == kind


@pytest.mark.parametrize(("error_type", "kind"), ERROR_TYPES.items())
def test_an_error_type_has_its_meaning_wherever_it_stands(error_type: str, kind: FailureKind):
    for error in (
        {"message": "?", "metadata": {"error_type": error_type}},
        {"message": "?", "error_type": error_type},
        {"message": "?", "type": error_type},
        {"code": "server_error", "message": "?", "metadata": {"error_type": error_type}},
    ):
        assert classify_error(error, NOW).kind == kind
        assert in_band(error) == kind


@pytest.mark.parametrize("error_type", ["image_too_large", "invalid_image_url", "something_new"])
def test_an_error_type_nobody_knows_is_read_by_its_status(error_type: str):
    error = {"message": "?", "metadata": {"error_type": error_type}}

    assert refused(400, error) == FailureKind.BAD_REQUEST
    assert refused(503, error) == FailureKind.OVERLOADED
    assert in_band(error) == FailureKind.UPSTREAM_ERROR


@pytest.mark.parametrize("code", AVAILABILITY)
@pytest.mark.parametrize("bare", [True, False])
def test_an_availability_code_has_its_meaning_in_front_and_in_band(code: str, bare: bool):
    status, retryable, kind = AVAILABILITY[code]
    error = {
        "message": "?",
        "availability": {"code": code, "retryable": retryable, "retry_after": 5},
        **({"http_status": status, "error_type": "x"} if bare else {"code": status}),
    }

    assert refused(status, error) == kind
    assert in_band(error) == kind
    assert classify_error(error, NOW).retry_after_seconds == 5


@pytest.mark.parametrize(("status", "message", "kind"), TEXTS)
def test_a_known_text_has_its_meaning(status: int, message: str, kind: FailureKind):
    assert refused(status, {"code": status, "message": message}) == kind
    assert in_band({"code": status, "message": message}) == kind


@pytest.mark.parametrize(
    "metadata",
    [
        {"error_type": "rate_limit_exceeded", "provider_code": "too_busy", "provider_name": "Acme"},
        {"raw": "x/y is temporarily rate-limited upstream", "provider_name": "Acme", "limit_source": "provider", "remedy_hint": "wait"},
        {"raw": {"detail": "busy"}, "provider_name": None, "limit_source": None},
        {},
        None,
        "?",
    ],
)  # fmt: skip
def test_both_sets_of_metadata_are_read_and_neither_is_needed(metadata: Any):
    error = {"code": 429, "message": "Provider returned error", "metadata": metadata}

    assert refused(429, error) == in_band(error) == FailureKind.RATE_LIMITED_MODEL


@pytest.mark.parametrize(
    "raw",
    [
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        "messages: final assistant content cannot end with trailing whitespace",
    ],
)
def test_a_provider_that_takes_no_partial_answer_is_heard_through_the_gateways_words(raw: str):
    metadata = {"raw": json.dumps({"error": {"message": raw}}), "provider_name": "Anthropic"}
    error = {"code": 400, "message": "Provider returned error", "metadata": metadata}

    assert refused(400, error) == in_band(error) == FailureKind.PREFILL_REJECTED


def a_chunk(*, content: str = "", finish: str | None = None, native: str | None = None, **more: Any) -> Any:
    choice = {
        "index": 0,
        "delta": {"content": content, "role": "assistant"},
        "finish_reason": finish,
        "native_finish_reason": native,
    }
    return {"id": "gen-1", "model": "a/b", "choices": [choice], **more}


FAILURES = {
    "one choice with finish error": a_chunk(finish="error", error={"code": 502, "message": "?"}),
    "no choices": {"id": "gen-1", "model": "a/b", "choices": [], "error": {"code": 502, "message": "?"}},
    "no `choices` at all": {"error": {"code": 502, "message": "?"}},
    "a string as the code": a_chunk(finish="error", error={"code": "server_error", "message": "?"}),
    "a string as the error": {"error": "server_error"},
    "in the choice": {"choices": [{"index": 0, "error": {"code": 502, "message": "?"}}]},
    "finish error alone": a_chunk(finish="error", native="MALFORMED_FUNCTION_CALL"),
    "a benign finish, natively network_error": a_chunk(finish="stop", native="network_error"),
    "a benign finish, natively error": a_chunk(finish="stop", native="error"),
    "an error object of another gateway": {"object": "error", "message": "?", "code": 500},
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("before", [[], [a_chunk(content="Some text")]])
@pytest.mark.parametrize("done", [True, False])
def test_a_failed_stream_is_never_a_success(name: str, before: list[Any], done: bool):
    """With text before it and without, followed by `[DONE]` and not."""
    *_, end = facts = streamed(*before, FAILURES[name], done=done)

    assert isinstance(end, Failed)
    assert end.kind in {FailureKind.OVERLOADED, FailureKind.UPSTREAM_ERROR}
    assert [fact for fact in facts if isinstance(fact, Done | Failed)] == [end]


@pytest.mark.parametrize(
    ("documents", "kind"),
    [
        ([], FailureKind.TRUNCATED),
        ([a_chunk(content="Some")], FailureKind.TRUNCATED),
        ([a_chunk(finish="stop")], FailureKind.EMPTY),
        ([a_chunk(finish="length")], FailureKind.EMPTY),
    ],
)
def test_an_end_without_finish_or_text_is_a_failure(documents: list[Any], kind: FailureKind):
    """A cold start, and a budget that the reasoning ate."""
    *_, end = streamed(*documents, done=False)

    assert isinstance(end, Failed)
    assert end.kind == kind
