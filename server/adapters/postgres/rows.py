"""Rows and the functions' JSON answers as the port's dataclasses, and ids on their way in."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn, Protocol
from uuid import UUID

import orjson

from server.adapters.postgres.sealed_rows import (
    opened_content,
    opened_context,
    opened_metadata,
    opened_title,
    shown,
)
from server.conversations.cipher import Cipher
from server.conversations.store import (
    Accepted,
    ConversationRow,
    GenerationInProgress,
    GenerationRow,
    MessageRow,
    NotFound,
    TooManyGenerations,
)


class Row(Protocol):
    """A database record or a JSON object: columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


def uuid_or_not_found(text: str, what: str) -> UUID:
    """An id to look for. What is no UUID is an id of nothing.

    Raises:
        NotFound
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(what) from error


def json_text(value: object) -> str:
    """A value for a jsonb parameter."""
    return orjson.dumps(value).decode()


def conversation_row(row: Row, cipher: Cipher) -> ConversationRow:
    """A row of `conversations`."""
    identity, user = str(row["id"]), str(row["user_id"])
    context, context_key = row["context_data"], row["context_key"]
    return ConversationRow(
        id=identity,
        user_id=user,
        title=shown(opened_title(cipher, row["title"], row["title_key"], user, identity)),
        context_type=row["context_type"],
        context_data=_json(context)
        if context_key is None
        else opened_context(cipher, context, context_key, user, identity),
        status=row["status"],
        metadata=_json(row["metadata"]),
        created_at=_time(row["created_at"]),
        updated_at=_time(row["updated_at"]),
    )


def message_row(row: Row, user_id: str, cipher: Cipher) -> MessageRow:
    """A row of `messages`, which is this user's."""
    identity, parent = str(row["id"]), row["parent_message_id"]
    metadata = opened_metadata(cipher, _json(row["metadata"]), user_id, identity)
    content = opened_content(cipher, row["content"], row["content_key"], user_id, identity)
    unavailable = content is None
    return MessageRow(
        id=identity,
        conversation_id=str(row["conversation_id"]),
        sender_type=row["sender_type"],
        content=shown(content),
        content_type="text" if unavailable else row["content_type"],
        parent_message_id=None if parent is None else str(parent),
        created_at=_time(row["created_at"]),
        metadata={**metadata, "unavailable": True} if unavailable else metadata,
        token_count=row["token_count"],
    )


def generation_row(row: Row) -> GenerationRow:
    """A row of `generations`."""
    finished_at, reply_to = row["finished_at"], row["reply_to"]
    return GenerationRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        conversation_id=str(row["conversation_id"]),
        reply_to=None if reply_to is None else str(reply_to),
        message_id=str(row["message_id"]),
        client_message_id=str(row["client_message_id"]),
        status=row["status"],
        request=_json(row["request"]),
        plan=_json(row["plan"]),
        created_at=_time(row["created_at"]),
        finished_at=None if finished_at is None else _time(finished_at),
        finished=_json(row["finished"]),
    )


def accepted(answer: dict[str, Any], cipher: Cipher) -> Accepted:
    """What `accept_message`, `accept_again` or `find_order` answered.

    Raises:
        NotFound, GenerationInProgress, TooManyGenerations: the outcome was a refusal.
    """
    outcome = answer["outcome"]
    if outcome not in {"accepted", "duplicate"}:
        refuse(outcome)
    generation = answer["generation"]
    user = str(generation["user_id"])
    return Accepted(
        duplicate=outcome == "duplicate",
        created=generation["created_conversation"],
        retitled=generation["retitled_conversation"],
        conversation=conversation_row(answer["conversation"], cipher),
        message=message_row(answer["message"], user, cipher),
        generation=generation_row(generation),
        history=tuple(message_row(row, user, cipher) for row in answer.get("history") or ()),
    )


def refuse(outcome: str) -> NoReturn:
    """Raise the refusal an outcome stands for."""
    match outcome:
        case "in progress":
            raise GenerationInProgress("the conversation has a running generation")
        case "too many":
            raise TooManyGenerations("the user has as many running generations as allowed")
        case "no user" | "no conversation" | "no message" | "no parent":
            raise NotFound(outcome.removeprefix("no "))
        case _:
            raise AssertionError(f"unknown outcome {outcome!r}")


def _json(value: Any) -> Any:
    """A jsonb column: text in a record, already read inside an answer."""
    return orjson.loads(value) if isinstance(value, str) else value


def _time(value: str | datetime) -> datetime:
    """A timestamptz column: a datetime in a record, ISO 8601 inside an answer."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
