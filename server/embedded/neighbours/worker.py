"""Sans-I/O. What the analysis worker publishes, to the letter: routing keys, bodies, properties."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """A message as the worker sends it: persistent, with an id, without content type or correlation id."""

    routing_key: str
    body: bytes
    message_id: str
    timestamp_ms: int


def started(*, user: str, job: str, result: str | None, iso: str, ms: int) -> WorkerMessage:
    """The analysis of a job began."""
    metadata = {"assessmentName": "AI-Driven Talent Mapping", "estimatedProcessingTime": "1-3 minutes"}
    fields = {"resultId": result, "metadata": metadata}
    return _message("analysis.started", user=user, job=job, iso=iso, ms=ms, more=fields)


def completed(*, user: str, job: str, result: str, iso: str, ms: int) -> WorkerMessage:
    """It is done, and its result on the way into the archive."""
    metadata = {"assessmentName": "AI-Driven Talent Mapping", "processingTime": 48213, "retryCount": 0}
    fields = {"resultId": result, "metadata": metadata}
    return _message("analysis.completed", user=user, job=job, iso=iso, ms=ms, more=fields)


def failed(*, user: str, job: str, error: str, iso: str, ms: int) -> WorkerMessage:
    """It came to nothing."""
    metadata = {
        "assessmentName": "AI-Driven Talent Mapping",
        "processingTime": 1200,
        "retryCount": 0,
        "errorType": "unknown",
    }
    fields = {"errorMessage": error, "metadata": metadata}
    return _message("analysis.failed", user=user, job=job, iso=iso, ms=ms, more=fields)


def _message(key: str, *, user: str, job: str, iso: str, ms: int, more: dict[str, Any]) -> WorkerMessage:
    event = {
        "eventType": key,
        "timestamp": iso,
        "jobId": job,
        "userId": user,
        "userEmail": "siti@example.com",
        **more,
    }
    return WorkerMessage(key, json.dumps(event).encode(), f"{job}-{key}-{ms}", ms)
