"""Messages: list, send, regenerate (REST contract, "Messages")."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.frames import ContentType, GenerationFinished
from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.conversations.refusal import Refusal, unavailable
from server.conversations.store import Accepted
from server.conversations.turns import RegenerateRequest, SendRequest
from server.conversations.wire import message_json, message_page_json
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.front import Front
from server.gateway.problems import Problem, invalid, problem_of
from server.gateway.requests import (
    client_message_id,
    optional_uuid,
    path_uuid,
    query_int,
    query_uuid,
    read_body,
)
from server.gateway.sse import TurnStream, finished_generation
from server.gateway.waiting import EndWaiter


class NewMessage(msgspec.Struct, frozen=True):
    """The body of `POST /conversations/{id}/messages`."""

    content: str
    content_type: ContentType = "text"
    parent_message_id: str | None = None
    client_message_id: str | None = None
    model: str | None = None


class Again(msgspec.Struct, frozen=True):
    """The body of `POST …/regenerate`."""

    client_message_id: str | None = None


async def index(front: Front, request: Request, principal: Principal) -> Response:
    """`GET /conversations/{id}/messages`."""
    conversation = path_uuid(request, "conversation", "conversation")
    limit = query_int(request, "limit", 50, 1, 200)
    before, after = query_uuid(request, "before_id"), query_uuid(request, "after_id")
    if before is not None and after is not None:
        raise invalid("after_id", "cannot be combined with before_id")
    await caught_up(front, principal.user)
    try:
        page = await from_store(
            front.store.messages(principal.user, conversation, limit=limit, before=before, after=after)
        )
    except Problem as problem:
        if problem.status == 404 and problem.detail.endswith("message."):  # noqa: PLR2004
            field = "before_id" if before is not None else "after_id"
            raise invalid(field, "is not a message of this conversation") from problem
        raise
    return answer(message_page_json(page, before=before, after=after))


async def send(front: Front, request: Request, principal: Principal) -> Response:
    """`POST /conversations/{id}/messages`: wait, async or stream, as the client asks."""
    conversation = path_uuid(request, "conversation", "conversation")
    body = await read_body(front, request, NewMessage)
    key = optional_uuid(body.client_message_id, "client_message_id")
    order = SendRequest(
        content=body.content,
        client_message_id=client_message_id(request, principal, key, front.desk.new_id()),
        conversation=conversation,
        parent_message_id=optional_uuid(body.parent_message_id, "parent_message_id"),
        content_type=body.content_type,
        model=body.model,
    )

    async def accept() -> Accepted:
        return await front.desk.turns.send(principal, order, request_id=request.scope["request_id"])

    return await _answer_turn(front, request, principal, accept, regenerated=False)


async def regenerate(front: Front, request: Request, principal: Principal) -> Response:
    """`POST /conversations/{id}/messages/{message_id}/regenerate`."""
    body = await read_body(front, request, Again, optional=True)
    key = optional_uuid(body.client_message_id, "client_message_id")
    order = RegenerateRequest(
        message=path_uuid(request, "message", "message"),
        client_message_id=client_message_id(request, principal, key, front.desk.new_id()),
        conversation=path_uuid(request, "conversation", "conversation"),
    )

    async def accept() -> Accepted:
        return await front.desk.turns.regenerate(principal, order, request_id=request.scope["request_id"])

    return await _answer_turn(front, request, principal, accept, regenerated=True)


# --- how the client wants its answer ---------------------------------------------------------


async def _answer_turn(
    front: Front, request: Request, principal: Principal, accept: Any, *, regenerated: bool
) -> Response:
    if "text/event-stream" in request.headers.get("accept", ""):
        return await _stream(front, principal, accept)
    if "respond-async" in request.headers.get("prefer", ""):
        accepted = await _accepted(accept)
        return _still_streaming(request, accepted)
    return await _wait(front, request, principal, accept, regenerated=regenerated)


async def _stream(front: Front, principal: Principal, accept: Any) -> Response:
    turn = TurnStream(front, principal)
    await turn.attach()
    try:
        accepted = await _accepted(accept)
    except BaseException:
        turn.detach()
        raise
    return turn.response(accepted)


async def _wait(
    front: Front, request: Request, principal: Principal, accept: Any, *, regenerated: bool
) -> Response:
    waiter = EndWaiter(principal.user, front.desk.broker)
    try:
        channel, snapshot = await front.desk.hub.attach(principal.user, waiter)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    try:
        accepted = await _accepted(accept)
        finished = None
        if accepted.duplicate:
            finished = await finished_generation(front, principal, accepted.generation.id)
        if finished is None:
            finished = await _end_of(front, waiter.wait(channel, snapshot.head, accepted.generation.id))
        if finished is None:
            return _still_streaming(request, accepted)
    finally:
        front.desk.hub.detach(principal.user, waiter)
    return _ended(front, accepted, finished, regenerated=regenerated)


async def _end_of(
    front: Front, waiting: Coroutine[Any, Any, GenerationFinished]
) -> GenerationFinished | None:
    """The end, or `None` where it takes too long, or the node goes away meanwhile."""
    ending = asyncio.create_task(waiting)
    leaving = asyncio.create_task(front.drained.wait())
    try:
        await asyncio.wait(
            {ending, leaving},
            timeout=front.limits.rest_wait_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return ending.result() if ending.done() else None
    finally:
        ending.cancel()
        leaving.cancel()


async def _accepted(accept: Any) -> Accepted:
    try:
        accepted: Accepted = await accept()
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    return accepted


def _still_streaming(request: Request, accepted: Accepted) -> Response:
    generation = accepted.generation.id
    prefix = request.url.path.partition("/conversations/")[0]
    body = {
        "user_message": message_json(accepted.message),
        "generation": generation,
        "status": "streaming",
        "events": f"{prefix}/generations/{generation}/events",
    }
    return answer(body, status=202, headers={"Preference-Applied": "respond-async"})


def _ended(front: Front, accepted: Accepted, finished: GenerationFinished, *, regenerated: bool) -> Response:
    question = message_json(accepted.message)
    if finished.message is None and finished.status in {"failed", "interrupted"}:
        code = "ALL_MODELS_FAILED"
        detail = finished.error.message if finished.error else "No model could answer."
        raise Problem(
            503,
            code,
            detail,
            retry_after_ms=5000,
            extra={"user_message": question, "generation": accepted.generation.id},
        )
    message = msgspec.to_builtins(finished.message)
    if message is not None:
        message["conversation_id"] = finished.conversation
    usage = msgspec.to_builtins(finished.usage)
    common = {
        "usage": usage,
        "status": finished.status,
        "generation": finished.generation,
        "processing_time_ms": finished.processing_time_ms,
        "is_free_model": bool(finished.message and finished.message.metadata.get("is_free_model")),
        "model": finished.model,
        "estimated_response_time": front.estimate_ms(finished.model),
    }
    if regenerated:
        return answer({"new_message": message, **common})
    return answer({"user_message": question, "assistant_message": message, **common})
