"""Refusals as problems: every code has its status, every problem all its members."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from starlette.requests import HTTPConnection

from protocol.codes import ErrorCode
from server.conversations.refusal import Refusal
from server.gateway.house_schemas import ProblemView
from server.gateway.problems import TITLES, Problem, invalid, not_found, problem_of, render, unauthenticated

BY_TABLE = {
    400: {"VALIDATION_ERROR", "UNKNOWN_TYPE", "MESSAGE_TOO_LONG"},
    401: {"UNAUTHENTICATED", "TOKEN_EXPIRED"},
    403: {"FORBIDDEN"},
    404: {"NOT_FOUND"},
    409: {"IDEMPOTENCY_CONFLICT", "GENERATION_IN_PROGRESS"},
    422: {"CONTENT_REJECTED"},
    429: {"RATE_LIMITED", "TOO_MANY_GENERATIONS"},
    500: {"INTERNAL"},
    503: {"UNAVAILABLE", "DRAINING", "ALL_MODELS_FAILED"},
}
CONNECTION = HTTPConnection({"type": "http", "headers": [], "request_id": "the-id"})


def body(problem: Problem) -> dict[str, Any]:
    response = render(problem, CONNECTION)
    assert response.media_type == "application/problem+json"
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


@pytest.mark.parametrize(
    ("status", "code"), [(status, code) for status, codes in BY_TABLE.items() for code in sorted(codes)]
)
def test_every_code_has_the_status_of_the_table(status: int, code: str):
    word = "bad_request" if code == "VALIDATION_ERROR" else code.lower()

    problem = problem_of(Refusal(ErrorCode(word), "A sentence."))

    assert (problem.status, problem.code) == (status, code)


def test_codes_that_only_ends_have_are_never_a_status_by_themselves():
    inside = (
        set(ErrorCode)
        - {ErrorCode.BAD_REQUEST}
        - {
            ErrorCode(code.lower())
            for codes in BY_TABLE.values()
            for code in codes
            if code != "VALIDATION_ERROR"
        }
    )

    assert {problem_of(Refusal(code, "x")).status for code in inside} == {500}


def test_a_problem_has_all_its_members_and_repeats_its_sentence_for_older_clients():
    assert body(not_found("conversation")) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "There is no such conversation.",
        "code": "NOT_FOUND",
        "error": "There is no such conversation.",
        "request_id": "the-id",
    }
    described = {field.encode_name for field in msgspec.structs.fields(ProblemView)}
    assert set(body(not_found("x"))) <= described


@pytest.mark.parametrize(("ms", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (41_000, 41)])
def test_a_time_to_come_again_is_told_twice_in_whole_seconds(ms: int, seconds: int):
    problem = Problem(429, "RATE_LIMITED", "x", retry_after_ms=ms)

    assert render(problem, CONNECTION).headers["retry-after"] == str(seconds)
    assert body(problem)["retryAfter"] == seconds


def test_fields_that_are_wrong_are_named():
    assert body(invalid("limit", "must be small"))["errors"] == [
        {"field": "limit", "message": "must be small"}
    ]
    refusal = Refusal(ErrorCode.BAD_REQUEST, "model must be one of: a, b.", field="model")
    assert body(problem_of(refusal))["errors"][0]["field"] == "model"


@pytest.mark.parametrize("expired", [True, False])
def test_a_401_has_its_challenge(expired: bool):
    response = render(unauthenticated(expired=expired), CONNECTION)

    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"


def test_every_status_has_a_title():
    assert set(TITLES) >= set(BY_TABLE) | {405, 413, 415}
