"""What the broker says of an analysis (events.py): both dialects, and everything that is neither."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.assessments.events import (
    MAX_EVENT_BYTES,
    STAGE_OF,
    AnalysisEvent,
    Ignored,
    MalformedEvent,
    is_uuid,
    parse_event,
    read_time,
)
from server.embedded.neighbours import worker

USER = "11111111-1111-4111-8111-111111111111"
RESULT = "22222222-2222-4222-8222-222222222222"
JOB = "33333333-3333-4333-8333-333333333333"
OTHER = "44444444-4444-4444-8444-444444444444"
ISO, MS = "2026-03-01T08:30:00.000Z", 1_772_353_800_000
WHEN = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
NAME = "AI-Driven Talent Mapping"


def parsed(key: str, document: Any, correlation: str = "") -> AnalysisEvent | MalformedEvent | Ignored:
    return parse_event(key, json.dumps(document).encode(), correlation=correlation)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            worker.started(user=USER, job=JOB, result=RESULT, iso=ISO, ms=MS),
            AnalysisEvent("analysis_started", USER, RESULT, RESULT, JOB, NAME, WHEN),
        ),
        (
            worker.started(user=USER, job=JOB, result=None, iso=ISO, ms=MS),
            AnalysisEvent("analysis_started", USER, JOB, None, JOB, NAME, WHEN),
        ),
        (
            worker.completed(user=USER, job=JOB, result=RESULT, iso=ISO, ms=MS),
            AnalysisEvent("analysis_complete", USER, RESULT, RESULT, JOB, NAME, WHEN),
        ),
        (
            worker.failed(user=USER, job=JOB, error="Gemini: 503", iso=ISO, ms=MS),
            AnalysisEvent("analysis_failed", USER, JOB, None, JOB, NAME, WHEN, "Gemini: 503"),
        ),
    ],
)
def test_what_the_worker_really_publishes(message: worker.WorkerMessage, event: AnalysisEvent):
    assert parse_event(message.routing_key, message.body) == event


@pytest.mark.parametrize("key", ["analysis_complete", "assessment_complete"])
@pytest.mark.parametrize(
    "document",
    [
        {"user_id": USER, "assessment_id": RESULT},
        {"userId": USER, "assessmentId": RESULT},
        {"user_id": USER, "result_id": RESULT},
        {"user_id": USER.upper(), "assessment_id": RESULT.upper()},
        {"user_id": USER, "assessment_id": RESULT, "resultId": RESULT, "userId": USER},
        {"user_id": USER, "assessment_id": RESULT, "resultId": None, "timestamp": "yesterday"},
        {"user_id": USER, "assessment_id": RESULT, "eventType": "something of theirs", "metadata": []},
        {"user_id": USER, "assessment_id": RESULT, "eventType": "analysis.completed"},
    ],
)
def test_what_the_plan_names(key: str, document: dict[str, Any]):
    assert parsed(key, document) == AnalysisEvent("analysis_complete", USER, RESULT, RESULT, None)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "userId is missing"),
        ({"userId": None, "resultId": RESULT}, "userId is missing"),
        ({"userId": "", "resultId": RESULT}, "userId is missing"),
        ({"userId": 7, "resultId": RESULT}, "userId is not a UUID"),
        ({"user_id": "robert'); --", "resultId": RESULT}, "user_id is not a UUID"),
        ({"userId": USER + "\n", "resultId": RESULT}, "userId is not a UUID"),
        ({"userId": USER, "user_id": OTHER, "resultId": RESULT}, "userId and user_id do not agree"),
        ({"userId": USER}, "resultId and jobId are missing"),
        ({"userId": USER, "resultId": "7", "jobId": JOB}, "resultId is not a UUID"),
        ({"userId": USER, "resultId": RESULT, "jobId": ["x"]}, "jobId is not a UUID"),
        (
            {"userId": USER, "resultId": RESULT, "assessment_id": OTHER},
            "resultId and assessment_id do not agree",
        ),
        (
            {"userId": USER, "resultId": RESULT, "eventType": "analysis.failed"},
            "eventType analysis.failed does not agree with the routing key",
        ),
        ([], "not a JSON object"),
        ("analysis.completed", "not a JSON object"),
        (None, "not a JSON object"),
    ],
)
def test_what_cannot_be_used_is_malformed_with_its_reason(document: Any, reason: str):
    assert parsed("analysis.completed", document) == MalformedEvent(reason)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 60_000, b"NaN"])
def test_what_is_no_json_is_malformed(body: bytes):
    event = parse_event("analysis.started", body)
    assert isinstance(event, MalformedEvent)
    assert event.reason.startswith("not JSON")


def test_a_body_that_is_too_large_is_not_even_looked_at():
    event = parse_event("analysis.started", b" " * (MAX_EVENT_BYTES + 1))
    assert event == MalformedEvent(f"{MAX_EVENT_BYTES + 1} bytes are more than {MAX_EVENT_BYTES}")


def test_a_failure_that_names_no_user_is_malformed_as_there_is_nobody_to_tell():
    assert parsed("analysis.failed", {"errorMessage": "unparsable"}) == MalformedEvent("userId is missing")


@pytest.mark.parametrize("key", ["", "analysis.process", "analysis.completed ", "chatbot.ready", "#"])
def test_other_routing_keys_are_ignored_whatever_the_body(key: str):
    assert parse_event(key, b"\xff") == Ignored(key)


def test_names_and_errors_are_cut_and_cleaned():
    document = {
        "userId": USER,
        "jobId": JOB,
        "errorMessage": " \0" + "x" * 600,
        "metadata": {"assessmentName": " \0 "},
    }
    event = parsed("analysis.failed", document, "c-1")
    assert isinstance(event, AnalysisEvent)
    assert (event.name, event.error, event.correlation) == (None, "x" * 500, "c-1")


def test_an_error_counts_only_in_a_failure():
    event = parsed("analysis.started", {"userId": USER, "jobId": JOB, "errorMessage": "old"})
    assert isinstance(event, AnalysisEvent)
    assert event.error is None


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-03-01T08:30:00Z", WHEN),
        ("2026-03-01T15:30:00+07:00", WHEN),
        ("2026-03-01T08:30:00", WHEN),
        ("2026-03-01", WHEN.replace(hour=0, minute=0)),
        ("0001-01-01T00:00:00+12:00", None),
        ("soon", None),
        ("", None),
        (1_772_353_800, None),
        (None, None),
    ],
)
def test_times_are_aware_or_absent(text: Any, when: datetime | None):
    assert read_time(text) == when


ids = st.uuids().map(str)
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | ids
documents = st.dictionaries(
    st.sampled_from(
        ["userId", "user_id", "resultId", "assessment_id", "jobId", "eventType", "timestamp", "metadata"]
    )
    | st.text(max_size=4),
    st.recursive(
        values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_size=6,
)


@given(st.sampled_from(sorted(STAGE_OF)), documents | values)
def test_any_document_gives_an_event_with_sound_ids_or_a_reason(key: str, document: Any):
    event = parsed(key, document)
    if isinstance(event, AnalysisEvent):
        assert is_uuid(event.user)
        assert event.assessment in {event.result, event.job}
        assert event.assessment == event.assessment.lower()
        assert event.stage == STAGE_OF[key]
    else:
        assert isinstance(event, MalformedEvent)
        assert event.reason


@given(st.sampled_from(sorted(STAGE_OF)) | st.text(max_size=20), st.binary(max_size=200))
def test_any_bytes_give_an_answer(key: str, body: bytes):
    event = parse_event(key, body)
    assert isinstance(event, Ignored) == (key not in STAGE_OF)


@given(
    ids, ids, ids, st.datetimes(timezones=st.just(UTC)), st.sampled_from(["started", "completed", "failed"])
)
def test_whatever_the_worker_says_is_understood(user: str, job: str, result: str, when: datetime, kind: str):
    iso = when.isoformat()
    message = {
        "started": worker.started(user=user, job=job, result=result, iso=iso, ms=MS),
        "completed": worker.completed(user=user, job=job, result=result, iso=iso, ms=MS),
        "failed": worker.failed(user=user, job=job, error="e", iso=iso, ms=MS),
    }[kind]
    event = parse_event(message.routing_key, message.body, correlation=message.message_id)
    assert isinstance(event, AnalysisEvent)
    assert (event.user, event.job, event.correlation) == (user, job, message.message_id)
    assert event.result == (None if kind == "failed" else result)
    assert event.occurred_at is not None
    assert abs(event.occurred_at - when) < timedelta(milliseconds=1)
