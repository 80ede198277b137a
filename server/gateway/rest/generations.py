"""Generations: look at one, stop one, follow one (REST contract, "Messages")."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.conversations.refusal import Refusal, unavailable
from server.gateway import schemas, sse
from server.gateway.answers import answer
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import problem_of
from server.generations.order import decode_plan

_TAG = "generations"


class Cursor(msgspec.Struct, frozen=True):
    """How much of the text the client holds, in code points, and which attempt last changed it."""

    at: Annotated[int, msgspec.Meta(ge=0)] = 0
    attempt: Annotated[int, msgspec.Meta(ge=0)] | None = None


async def show(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /generations/{id}`."""
    generation, principal = asked.ids["generation"], asked.principal
    finished = await sse.finished_generation(front, principal, generation)
    if finished is not None:
        return answer({key: value for key, value in msgspec.to_builtins(finished).items() if key != "type"})
    try:
        record = await front.generation_store.read(principal.user, generation)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    if record is None:
        return answer(await _accepted(front, principal, generation))
    return answer(
        {
            "generation": record.generation,
            "conversation": record.conversation,
            "message": record.message,
            "reply_to": record.reply_to,
            "model": record.model,
            "attempt": record.attempt,
            "estimated_response_ms": record.estimated_response_ms,
            "is_free_model": record.is_free_model,
            "length": record.length,
            "elapsed_ms": max(0, front.desk.wall_ms() - record.started_ms),
            "status": "running",
        }
    )


async def _accepted(front: Front, principal: Principal, generation: str) -> dict[str, Any]:
    """One that is about to begin, or of which nothing can be known while both stores are away."""
    told: dict[str, Any] = {"generation": generation, "status": "accepted"}
    row = await sse.known_generation(front, principal, generation)
    if row is None:
        return told
    plan = decode_plan(msgspec.json.encode(row.plan))
    model = plan.chain[0]
    return told | {
        "conversation": row.conversation_id,
        "message": row.message_id,
        "reply_to": row.reply_to,
        "model": model,
        "attempt": 1,
        "estimated_response_ms": front.estimate_ms(model),
        "is_free_model": model in plan.free,
        "length": 0,
        "elapsed_ms": max(0, front.desk.wall_ms() - int(row.created_at.timestamp() * 1000)),
    }


async def stop(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`POST /generations/{id}/stop`."""
    generation = asked.ids["generation"]
    try:
        await front.desk.turns.stop(asked.principal, generation)
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    return answer({"generation": generation}, status=202)


async def events(front: Front, asked: Asked[Nothing, Cursor]) -> Response:
    """`GET /generations/{id}/events`."""
    cursor = asked.query
    return await sse.generation_events(
        front, asked.principal, asked.ids["generation"], at=cursor.at, attempt=cursor.attempt
    )


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="GET",
        path="/generations/{generation}",
        handler=show,
        summary="Where a generation is, or how it ended",
        tag=_TAG,
        answers={
            200: (
                Answer("It has ended.", schemas.GenerationEnded),
                Answer("It is being written.", schemas.GenerationRunning),
                Answer("It has not begun.", schemas.GenerationAccepted),
            )
        },
    ),
    Endpoint(
        method="POST",
        path="/generations/{generation}/stop",
        handler=stop,
        summary="Stop a generation; what was shown is kept",
        tag=_TAG,
        answers={202: Answer("The intent is stored.", schemas.StopStored)},
    ),
    Endpoint(
        method="GET",
        path="/generations/{generation}/events",
        handler=events,
        summary="Follow a generation to its end",
        tag=_TAG,
        query=Cursor,
        answers={200: Answer("Its state, its text, its end.", str, "text/event-stream")},
        streams=True,
    ),
)
