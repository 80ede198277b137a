"""Messages: list, send, regenerate (REST contract, "Messages")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.frames import ContentType, GenerationFinished, Uuid
from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.conversations.refusal import Refusal, unavailable
from server.conversations.store import Accepted, NotFound
from server.conversations.turns import RegenerateRequest, SendRequest
from server.conversations.usage_wire import message_usage_json
from server.conversations.wire import message_json, message_page_json
from server.gateway import house_schemas, schemas
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import Problem, invalid, problem_of
from server.gateway.requests import accepts, client_message_id, prefers
from server.gateway.sse import TurnStream, finished_generation
from server.gateway.waiting import EndWaiter, in_time

_TAG = "messages"
_EVENT_STREAM = "text/event-stream"
_COME_BACK_MS = 5000

Accept = Callable[[], Awaitable[Accepted]]


class NewMessage(msgspec.Struct, frozen=True):
    """What a user wants to say."""

    content: str
    content_type: ContentType = "text"
    parent_message_id: Uuid | None = None
    client_message_id: Uuid | None = None
    model: str | None = None


class Again(msgspec.Struct, frozen=True):
    """An answer to give again."""

    client_message_id: Uuid | None = None


class Page(msgspec.Struct, frozen=True):
    """Which messages: the newest, those before one, or those after one."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    before_id: Uuid | None = None
    after_id: Uuid | None = None
    include_usage: bool = False


async def index(front: Front, asked: Asked[Nothing, Page]) -> Response:
    """`GET /conversations/{id}/messages`."""
    wanted, user = asked.query, asked.principal.user
    before, after = wanted.before_id, wanted.after_id
    if before is not None and after is not None:
        raise invalid("after_id", "cannot be combined with before_id")
    await caught_up(front, user)
    try:
        page = await from_store(
            front.store.messages(
                user,
                asked.ids["conversation"],
                limit=wanted.limit,
                before=before,
                after=after,
                with_usage=wanted.include_usage,
            )
        )
    except Problem as problem:
        if isinstance(problem.__cause__, NotFound) and problem.__cause__.what == "message":
            field = "before_id" if before is not None else "after_id"
            raise invalid(field, "is not a message of this conversation") from problem
        raise
    body = message_page_json(page, before=before, after=after)
    if wanted.include_usage:
        for message in body["messages"]:
            if message["sender_type"] == "assistant":
                billed = page.usage.get(message["id"])
                message["usage"] = message_usage_json(billed) if billed is not None else None
    return answer(body)


async def send(front: Front, asked: Asked[NewMessage, Nothing]) -> Response:
    """`POST /conversations/{id}/messages`: wait, async or stream, as the client asks."""
    body, principal = asked.body, asked.principal
    order = SendRequest(
        content=body.content,
        client_message_id=client_message_id(
            asked.request, principal, body.client_message_id, front.desk.new_id()
        ),
        conversation=asked.ids["conversation"],
        parent_message_id=body.parent_message_id,
        content_type=body.content_type,
        model=body.model,
    )

    async def accept() -> Accepted:
        return await front.desk.turns.send(principal, order, request_id=asked.request_id, caller=asked.caller)

    return await _answer_turn(front, asked.request, principal, accept, regenerated=False)


async def regenerate(front: Front, asked: Asked[Again, Nothing]) -> Response:
    """`POST /conversations/{id}/messages/{message_id}/regenerate`."""
    principal = asked.principal
    order = RegenerateRequest(
        message=asked.ids["message"],
        client_message_id=client_message_id(
            asked.request, principal, asked.body.client_message_id, front.desk.new_id()
        ),
        conversation=asked.ids["conversation"],
    )

    async def accept() -> Accepted:
        return await front.desk.turns.regenerate(
            principal, order, request_id=asked.request_id, caller=asked.caller
        )

    return await _answer_turn(front, asked.request, principal, accept, regenerated=True)


# --- how the client wants its answer ---------------------------------------------------------


async def _answer_turn(
    front: Front, request: Request, principal: Principal, accept: Accept, *, regenerated: bool
) -> Response:
    if accepts(request, _EVENT_STREAM):
        return await _stream(front, principal, accept)
    if prefers(request, "respond-async"):
        accepted = await _accepted(accept)
        return _still_streaming(front, request, accepted)
    return await _wait(front, request, principal, accept, regenerated=regenerated)


async def _stream(front: Front, principal: Principal, accept: Accept) -> Response:
    turn = TurnStream(front, principal)
    await turn.attach()
    try:
        accepted = await _accepted(accept)
    except BaseException:
        turn.detach()
        raise
    return turn.response(accepted)


async def _wait(
    front: Front, request: Request, principal: Principal, accept: Accept, *, regenerated: bool
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
            finished = await in_time(front, waiter.wait(channel, snapshot.head, accepted.generation.id))
        if finished is None:
            return _still_streaming(front, request, accepted)
    finally:
        front.desk.hub.detach(principal.user, waiter)
    return _ended(front, accepted, finished, regenerated=regenerated)


async def _accepted(accept: Accept) -> Accepted:
    try:
        return await accept()
    except Refusal as refusal:
        raise problem_of(refusal) from refusal


def _still_streaming(front: Front, request: Request, accepted: Accepted) -> Response:
    generation = accepted.generation.id
    base = front.public_url or request.url.path.partition("/conversations/")[0]
    body = {
        "user_message": message_json(accepted.message),
        "generation": generation,
        "status": "streaming",
        "events": f"{base}/generations/{generation}/events",
    }
    applied = {"Preference-Applied": "respond-async"} if prefers(request, "respond-async") else None
    return answer(body, status=202, headers=applied)


def _ended(front: Front, accepted: Accepted, finished: GenerationFinished, *, regenerated: bool) -> Response:
    question = message_json(accepted.message)
    if finished.message is None and finished.status in {"failed", "interrupted"}:
        code = "ALL_MODELS_FAILED"
        detail = finished.error.message if finished.error else "No model could answer."
        raise Problem(
            503,
            code,
            detail,
            retry_after_ms=_COME_BACK_MS,
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
        "is_free_model": bool(finished.message.metadata.get("is_free_model"))
        if finished.message is not None
        else front.is_free(finished.model),
        "model": finished.model,
        "estimated_response_time": front.estimate_ms(finished.model),
    }
    if regenerated:
        return answer({"new_message": message, **common})
    return answer({"user_message": question, "assistant_message": message, **common})


_HEADERS = {
    "Idempotency-Key": "Any string up to 255 characters; an alias of `client_message_id`.",
    "Prefer": "`respond-async`: answer at once, and let the answer be written.",
    "Accept": "`text/event-stream`: the frames of the turn, as they come.",
}
_REFUSALS = (404, 409, 429)
_STREAM = Answer("The frames of the turn.", str, _EVENT_STREAM)
_ASYNC = Answer("It is being written.", schemas.StillStreaming)
_FAILED = Answer(
    "Every model failed before any text, or something is away.",
    house_schemas.TurnFailed,
    "application/problem+json",
)

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="GET",
        path="/conversations/{conversation}/messages",
        handler=index,
        summary="List messages, oldest first",
        tag=_TAG,
        query=Page,
        answers={200: Answer("Those of the page.", schemas.MessageList)},
    ),
    Endpoint(
        method="POST",
        path="/conversations/{conversation}/messages",
        handler=send,
        summary="Say something, and have it answered",
        tag=_TAG,
        body=NewMessage,
        answers={200: (Answer("The answer.", schemas.Answered), _STREAM), 202: _ASYNC, 503: _FAILED},
        refusals=(*_REFUSALS, 422),
        headers=_HEADERS,
        streams=True,
    ),
    Endpoint(
        method="POST",
        path="/conversations/{conversation}/messages/{message}/regenerate",
        handler=regenerate,
        summary="Have a message answered again",
        tag=_TAG,
        body=Again,
        body_optional=True,
        answers={200: (Answer("The new answer.", schemas.AnsweredAgain), _STREAM), 202: _ASYNC, 503: _FAILED},
        refusals=_REFUSALS,
        headers=_HEADERS,
        streams=True,
    ),
)
