"""Generations: look at one, stop one, follow one (REST contract, "Messages")."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.conversations.refusal import Refusal, unavailable
from server.gateway import sse
from server.gateway.answers import answer
from server.gateway.front import Front
from server.gateway.problems import problem_of
from server.gateway.requests import path_uuid


async def show(front: Front, request: Request, principal: Principal) -> Response:
    """`GET /generations/{id}`."""
    generation = path_uuid(request, "generation", "generation")
    finished = await sse.finished_generation(front, principal, generation)
    if finished is not None:
        return answer({key: value for key, value in msgspec.to_builtins(finished).items() if key != "type"})
    try:
        record = await front.generation_store.read(principal.user, generation)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    if record is None:
        # accepted, and about to begin
        return answer({"generation": generation, "status": "accepted"})
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


async def stop(front: Front, request: Request, principal: Principal) -> Response:
    """`POST /generations/{id}/stop`."""
    generation = path_uuid(request, "generation", "generation")
    try:
        await front.desk.turns.stop(principal, generation)
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    return answer({"generation": generation}, status=202)


async def events(front: Front, request: Request, principal: Principal) -> Response:
    """`GET /generations/{id}/events`."""
    generation = path_uuid(request, "generation", "generation")
    return await sse.generation_events(front, request, principal, generation)
