"""Conversations (REST contract, "Conversations")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from server.channels.broker import BrokerUnavailable
from server.conversations.assessment import read_assessment
from server.conversations.language import known_language, language_of
from server.conversations.refusal import Refusal, unavailable
from server.conversations.store import ConversationChange
from server.conversations.suggestions import suggest
from server.conversations.titles import DEFAULT_TITLE, MAX_TITLE_LENGTH
from server.conversations.usage_wire import conversation_usage_json
from server.conversations.wire import conversation_json, iso_time, message_json
from server.gateway import schemas
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import invalid, problem_of

_NEWEST = 50
_TAG = "conversations"

Title = Annotated[str, msgspec.Meta(max_length=MAX_TITLE_LENGTH, description="Not only white space.")]


class NewConversation(msgspec.Struct, frozen=True):
    """What a conversation begins with."""

    title: Title | None = None
    context_type: schemas.ContextType = "general"
    context_data: dict[str, Any] | None = None


class ChangedConversation(msgspec.Struct, frozen=True):
    """What is to be another; what is absent or null stays as it is."""

    title: Title | None = None
    status: Literal["active", "archived"] | None = None
    metadata: dict[str, Any] | None = None


class Listing(msgspec.Struct, frozen=True):
    """Which conversations."""

    status: Literal["active", "archived"] = "active"
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    offset: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 0


async def create(front: Front, asked: Asked[NewConversation, Nothing]) -> Response:
    """`POST /conversations`."""
    body, user = asked.body, asked.principal.user
    title = check_title(body.title) if body.title is not None else DEFAULT_TITLE
    try:
        reservation = await front.quota.reserve_conversation(user)
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    kept = False
    try:
        row = await from_store(
            front.store.create(
                user,
                title=title,
                context_type=body.context_type,
                context_data=body.context_data,
                caller=asked.caller,
            )
        )
        kept = True
    finally:
        if not kept:
            await reservation.release()
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


async def index(front: Front, asked: Asked[Nothing, Listing]) -> Response:
    """`GET /conversations`."""
    listing, user = asked.query, asked.principal.user
    await caught_up(front, user)
    rows, total = await from_store(
        front.store.conversations(user, status=listing.status, limit=listing.limit, offset=listing.offset)
    )
    return answer(
        {
            "conversations": [conversation_json(row) for row in rows],
            "total": total,
            "pagination": {
                "limit": listing.limit,
                "offset": listing.offset,
                "has_next": listing.offset + len(rows) < total,
            },
        }
    )


async def show(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /conversations/{id}`."""
    conversation, user = asked.ids["conversation"], asked.principal.user
    await caught_up(front, user)
    row = await from_store(front.store.conversation(user, conversation))
    page = await from_store(front.store.messages(user, conversation, limit=_NEWEST))
    return answer(
        {
            "conversation": conversation_json(row),
            "messages": [message_json(message) for message in page.messages],
        }
    )


async def change(front: Front, asked: Asked[ChangedConversation, Nothing]) -> Response:
    """`PUT /conversations/{id}`."""
    body = asked.body
    row = await from_store(
        front.store.update(
            asked.principal.user,
            asked.ids["conversation"],
            ConversationChange(
                title=check_title(body.title) if body.title is not None else None,
                status=body.status,
                metadata=body.metadata,
            ),
            caller=asked.caller,
        )
    )
    front.kick_outbox()
    return answer({"conversation": conversation_json(row)})


async def delete(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`DELETE /conversations/{id}`."""
    try:
        await from_store(
            front.removal.delete(asked.principal.user, asked.ids["conversation"], caller=asked.caller)
        )
    except BrokerUnavailable as error:
        # nobody could stop what is being written in it
        raise problem_of(unavailable()) from error
    front.kick_outbox()
    return Response(status_code=204)


async def suggestions(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /conversations/{id}/suggestions`: in the language the conversation, or the result, is in."""
    conversation, user = asked.ids["conversation"], asked.principal.user
    row = await from_store(front.store.conversation(user, conversation))
    page = await from_store(front.store.messages(user, conversation, limit=_NEWEST))
    said = [
        each.content for each in page.messages if each.sender_type == "user" and each.content_type == "text"
    ]
    # who has not said anything yet is answered in the language of the results
    language = language_of(reversed(said), otherwise=known_language(row.context_data) or "id")
    questions = suggest(
        row.context_type,
        read_assessment(row.context_data),
        language=language,
        profile=(row.context_data or {}).get("user_profile"),
    )
    return answer({"suggestions": list(questions)})


async def usage(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /conversations/{id}/usage`."""
    user = asked.principal.user
    await caught_up(front, user)
    found = await from_store(front.store.conversation_usage(user, asked.ids["conversation"]))
    return answer(conversation_usage_json(found))


def check_title(title: str) -> str:
    """A title as it may be stored.

    Raises:
        Problem: 400.
    """
    if not title.strip():
        raise invalid("title", "must not be empty")
    return title


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="POST",
        path="/conversations",
        handler=create,
        summary="Begin a conversation",
        tag=_TAG,
        body=NewConversation,
        body_optional=True,
        answers={201: Answer("It has begun.", schemas.ConversationMade)},
    ),
    Endpoint(
        method="GET",
        path="/conversations",
        handler=index,
        summary="List conversations",
        tag=_TAG,
        query=Listing,
        answers={200: Answer("Those of the page.", schemas.ConversationList)},
    ),
    Endpoint(
        method="GET",
        path="/conversations/{conversation}",
        handler=show,
        summary="Show a conversation and its newest messages",
        tag=_TAG,
        answers={200: Answer("It, and its messages.", schemas.ConversationWithMessages)},
    ),
    Endpoint(
        method="PUT",
        path="/conversations/{conversation}",
        handler=change,
        summary="Change a conversation",
        tag=_TAG,
        body=ChangedConversation,
        answers={200: Answer("It, as it is now.", schemas.ConversationChanged)},
    ),
    Endpoint(
        method="DELETE",
        path="/conversations/{conversation}",
        handler=delete,
        summary="Delete a conversation; what is being written in it is stopped",
        tag=_TAG,
        answers={204: Answer("It is gone.")},
    ),
    Endpoint(
        method="GET",
        path="/conversations/{conversation}/suggestions",
        handler=suggestions,
        summary="Suggest what to ask next",
        tag=_TAG,
        answers={200: Answer("Six to eight questions.", schemas.Suggestions)},
    ),
    Endpoint(
        method="GET",
        path="/conversations/{conversation}/usage",
        handler=usage,
        summary="What a conversation came to",
        tag="usage",
        answers={200: Answer("Tokens and costs.", schemas.ConversationUsageView)},
    ),
)
