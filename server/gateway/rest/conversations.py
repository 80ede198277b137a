"""Conversations (REST contract, "Conversations")."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.conversations.principal import Principal
from server.conversations.titles import DEFAULT_TITLE, MAX_TITLE_LENGTH
from server.conversations.wire import conversation_json, iso_time, message_json
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.front import Front
from server.gateway.problems import invalid
from server.gateway.requests import path_uuid, query_choice, query_int, read_body

_NEWEST = 50


class NewConversation(msgspec.Struct, frozen=True):
    """The body of `POST /conversations`."""

    title: str | None = None
    context_type: Literal["general", "assessment", "career_guidance"] = "general"
    context_data: dict[str, Any] | None = None


async def create(front: Front, request: Request, principal: Principal) -> Response:
    """`POST /conversations`."""
    body = await read_body(front, request, NewConversation, optional=True)
    title = check_title(body.title) if body.title is not None else DEFAULT_TITLE
    row = await from_store(
        front.store.create(
            principal.user, title=title, context_type=body.context_type, context_data=body.context_data
        )
    )
    front.kick_outbox()
    return answer(
        {
            "id": row.id,
            "title": row.title,
            "context_type": row.context_type,
            "created_at": iso_time(row.created_at),
        },
        status=201,
    )


async def index(front: Front, request: Request, principal: Principal) -> Response:
    """`GET /conversations`."""
    status = query_choice(request, "status", "active", ("active", "archived"))
    limit = query_int(request, "limit", 20, 1, 100)
    offset = query_int(request, "offset", 0, 0, 100_000_000)
    await caught_up(front, principal.user)
    rows, total = await from_store(
        front.store.conversations(principal.user, status=status, limit=limit, offset=offset)
    )
    return answer(
        {
            "conversations": [conversation_json(row) for row in rows],
            "total": total,
            "pagination": {"limit": limit, "offset": offset, "has_next": offset + len(rows) < total},
        }
    )


async def show(front: Front, request: Request, principal: Principal) -> Response:
    """`GET /conversations/{id}`."""
    conversation = path_uuid(request, "conversation", "conversation")
    await caught_up(front, principal.user)
    row = await from_store(front.store.conversation(principal.user, conversation))
    page = await from_store(front.store.messages(principal.user, conversation, limit=_NEWEST))
    return answer(
        {
            "conversation": conversation_json(row),
            "messages": [message_json(message) for message in page.messages],
        }
    )


def check_title(title: str) -> str:
    """A title as it may be stored.

    Raises:
        Problem: 400.
    """
    if not title.strip():
        raise invalid("title", "must not be empty")
    if len(title) > MAX_TITLE_LENGTH:
        raise invalid("title", f"must have at most {MAX_TITLE_LENGTH} characters")
    return title
