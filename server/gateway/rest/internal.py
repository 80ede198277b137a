"""Doors for other services: erase a user, export them, void their tokens (REST contract, "The rest")."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from server.channels.broker import BrokerUnavailable
from server.conversations.audit import AuditEntry
from server.conversations.refusal import unavailable
from server.gateway import house_schemas
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import problem_of

_TAG = "internal"
_LINES = "application/x-ndjson"


async def erase(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`DELETE /internal/users/{user_id}`."""
    user = asked.ids["user_id"]
    try:
        rows = await from_store(front.removal.erase(user, caller=asked.caller))
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    return answer(
        {
            "user_id": user,
            "conversations": rows.conversations,
            "messages": rows.messages,
            "generations": rows.generations,
            "usage": rows.usage,
            "outbox": rows.outbox,
        }
    )


async def export(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /internal/users/{user_id}/export`."""
    user = asked.ids["user_id"]
    await caught_up(front, user)
    lines = front.user_data.export(user, caller=asked.caller)
    # the first is asked for before anything is answered: what cannot begin is refused as usual
    first = await from_store(anext(lines))
    return StreamingResponse(_after(first, lines), media_type=_LINES, headers={"Cache-Control": "no-store"})


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in rest:
        yield line


async def revoke(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`POST /internal/users/{user_id}/revoke`."""
    user = asked.ids["user_id"]
    try:
        await front.revoker.revoke(user)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    await from_store(front.audit.record(AuditEntry("user.revoke", "user", user, user, asked.caller)))
    return Response(status_code=204)


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="DELETE",
        path="/internal/users/{user_id}",
        handler=erase,
        summary="Erase everything of a user",
        tag=_TAG,
        who="internal",
        answers={200: Answer("How much there was; nothing the second time.", house_schemas.ErasedView)},
    ),
    Endpoint(
        method="GET",
        path="/internal/users/{user_id}/export",
        handler=export,
        summary="Everything of a user",
        tag=_TAG,
        who="internal",
        answers={200: Answer("JSON objects, one a line, each with a `kind`.", str, _LINES)},
    ),
    Endpoint(
        method="POST",
        path="/internal/users/{user_id}/revoke",
        handler=revoke,
        summary="Void the tokens a user has",
        tag=_TAG,
        who="internal",
        answers={204: Answer("Those issued until now are refused, their sessions closed.")},
    ),
)
