"""Somebody finishes an assessment: the platform's part of the flow, step by step, by the platform's doors.

    assessment service   takes the answers, and tells the user          assessment_submitted
    analysis worker      begins                                         analysis.started
                         its result is in the archive
                         is done                                        analysis.completed

With a broker the worker publishes its events. Without one the same is told by REST, as a platform without
a broker would: stages by `/internal/notifications`, the end by `/conversations/auto-initialize`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from server.embedded.neighbours import worker
from server.embedded.neighbours.accounts import account
from server.embedded.neighbours.doors import Broker, ChatService
from server.embedded.neighbours.people import made_up_scores, written_persona
from server.embedded.neighbours.world import World


@dataclass(frozen=True, slots=True)
class Finished:
    """Who finished an assessment; its ids are those of the job and, in the archive, of the result."""

    user: str
    language: Literal["id", "en"] = "id"
    job: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: str = field(default_factory=lambda: str(uuid.uuid4()))


async def play(
    finished: Finished, world: World, chat: ChatService, broker: Broker | None, *, pause_seconds: float
) -> None:
    """Play the platform's part for one assessment; each step takes `pause_seconds`.

    Raises:
        NotHeard: the chat service, or the broker, did not take a step. The job has failed then.
    """
    user, job, result = finished.user, finished.job, finished.result
    world.jobs[job] = _job(finished, str(account(world, user, iso())["email"]))
    try:
        await chat.notify(user, "assessment_submitted", assessment=result)
        await asyncio.sleep(pause_seconds)

        world.jobs[job] |= {"status": "processing", "progress": 25, "updatedAt": iso()}
        if broker is None:
            await chat.notify(user, "analysis_started", assessment=result)
        else:
            await broker.publish(worker.started(user=user, job=job, result=result, iso=iso(), ms=_ms()))
        await asyncio.sleep(2 * pause_seconds)

        _archive(finished, world)
        world.jobs[job] |= {"status": "completed", "progress": 100, "updatedAt": iso()}
        if broker is None:
            await chat.notify(user, "analysis_complete", assessment=result)
            await asyncio.sleep(pause_seconds)
            await chat.initialize(user, assessment=result)
        else:
            await broker.publish(worker.completed(user=user, job=job, result=result, iso=iso(), ms=_ms()))
    except BaseException as error:
        world.jobs[job] |= {"status": "failed", "error": type(error).__name__, "updatedAt": iso()}
        raise


def iso() -> str:
    """Now, as the ecosystem writes times."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _ms() -> int:
    return int(time.time() * 1000)


def _archive(finished: Finished, world: World) -> None:
    """Put the result where the archive finds it."""
    scores, now = made_up_scores(finished.result), iso()
    world.results[finished.result] = {
        "id": finished.result,
        "user_id": finished.user,
        "test_data": scores,
        "test_result": written_persona(scores, seed=finished.result, language=finished.language),
        "raw_responses": {
            "riasec": [{"questionId": f"riasec_{number}", "value": number % 5 + 1} for number in range(1, 61)]
        },
        "is_public": True,
        "chatbot_id": None,
        "created_at": now,
        "updated_at": now,
    }
    world.listed[finished.result] = {"status": "completed", "assessment_name": "AI-Driven Talent Mapping"}


def _job(finished: Finished, email: str) -> dict[str, object]:
    now = iso()
    return {
        "jobId": finished.job,
        "status": "queued",
        "progress": 0,
        "createdAt": now,
        "updatedAt": now,
        "estimatedTimeRemaining": "1-3 minutes",
        "queuePosition": 0,
        "userId": finished.user,
        "userEmail": email,
        "resultId": finished.result,
        "assessmentName": "AI-Driven Talent Mapping",
    }
