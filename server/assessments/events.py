"""What the broker says of an assessment's analysis, as facts.

Sans-I/O. Two dialects are read: what the analysis worker really publishes (`analysis.started`,
`analysis.completed`, `analysis.failed`, camel case) and what the plan names (`analysis_complete`,
`assessment_complete`, `user_id`, `assessment_id`). Events carry no scores: those are the archive's.
A message is never trusted: what cannot be used is a `MalformedEvent` with its reason, not an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

import msgspec

EventStage = Literal["analysis_started", "analysis_complete", "analysis_failed"]

STAGE_OF: Mapping[str, EventStage] = MappingProxyType(
    {
        "analysis.started": "analysis_started",
        "analysis.completed": "analysis_complete",
        "analysis.failed": "analysis_failed",
        "analysis_complete": "analysis_complete",
        "assessment_complete": "analysis_complete",
    }
)
"""The routing keys that mean something here, and what they mean."""

MAX_EVENT_BYTES = 64 * 1024
MAX_TEXT = 500
"""Code points kept of a name or an error's text."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_USER = ("userId", "user_id")
_RESULT = ("resultId", "result_id", "assessmentId", "assessment_id")
_JOB = ("jobId", "job_id")


@dataclass(frozen=True, slots=True)
class AnalysisEvent:
    """Something happened to a user's assessment.

    `assessment` is the result's id where the event names one (`result`), else the job's: by it the
    notifications of one assessment are known. Only a result can be fetched from the archive. Ids are
    canonical UUIDs. `error` is the worker's own text: for logs, never for users. `correlation` is the
    message's correlation id, else its message id, else empty.
    """

    stage: EventStage
    user: str
    assessment: str
    result: str | None
    job: str | None
    name: str | None = None
    occurred_at: datetime | None = None
    error: str | None = None
    correlation: str = ""


@dataclass(frozen=True, slots=True)
class MalformedEvent:
    """A message that cannot be used, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message with a routing key that means nothing here."""

    routing_key: str


def parse_event(
    routing_key: str, body: bytes, *, correlation: str = ""
) -> AnalysisEvent | MalformedEvent | Ignored:
    """Read one message; never raises."""
    stage = STAGE_OF.get(routing_key)
    if stage is None:
        return Ignored(routing_key)
    try:
        return _event(stage, _document(body), correlation)
    except _UnusableError as error:
        return MalformedEvent(str(error))


class _UnusableError(Exception):
    """The reason of a `MalformedEvent`."""


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_EVENT_BYTES:
        raise _UnusableError(f"{len(body)} bytes are more than {MAX_EVENT_BYTES}")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _UnusableError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _UnusableError("not a JSON object")
    return document


def _event(stage: EventStage, document: dict[str, Any], correlation: str) -> AnalysisEvent:
    said = document.get("eventType")
    if isinstance(said, str) and STAGE_OF.get(said, stage) != stage:
        raise _UnusableError(f"eventType {said} does not agree with the routing key")
    user = _id(document, _USER)
    if user is None:
        raise _UnusableError("userId is missing")
    result, job = _id(document, _RESULT), _id(document, _JOB)
    assessment = result or job
    if assessment is None:
        raise _UnusableError("resultId and jobId are missing")
    metadata = document.get("metadata")
    name = metadata.get("assessmentName") if isinstance(metadata, dict) else None
    return AnalysisEvent(
        stage=stage,
        user=user,
        assessment=assessment,
        result=result,
        job=job,
        name=_text(name),
        occurred_at=read_time(document.get("timestamp")),
        error=_text(document.get("errorMessage")) if stage == "analysis_failed" else None,
        correlation=correlation,
    )


def _id(document: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The id under one of the names, `None` where it is absent or null."""
    found: dict[str, str] = {}
    for name in names:
        value = document.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise _UnusableError(f"{name} is not a UUID")
        found[name] = value.lower()
    if len(set(found.values())) > 1:
        raise _UnusableError(f"{' and '.join(found)} do not agree")
    return next(iter(found.values()), None)


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 time as an aware one, `None` where it is none; without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_uuid(value: Any) -> TypeGuard[str]:
    """Whether this is a UUID in its usual form of 36 characters."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _text(value: Any) -> str | None:
    # PostgreSQL's JSON holds no NUL
    return (value.replace("\0", "").strip()[:MAX_TEXT] or None) if isinstance(value, str) else None
