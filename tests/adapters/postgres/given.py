"""Builders: orders, ends and an opened store, each with defaults that do not matter to the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database, PoolLimits
from server.conversations.store import (
    Accepted,
    ConversationStore,
    EndRecord,
    MessageRow,
    RegenerateOrder,
    SendOrder,
    UsageRow,
)

DEFAULT_TITLE = "New Conversation"


@asynccontextmanager
async def opened(url: str, **limits: Any) -> AsyncIterator[ConversationStore]:
    """The store, as the node opens it."""
    async with Database(url, limits=PoolLimits(**{"min_size": 0, "max_size": 10, **limits})) as database:
        yield PostgresConversationStore(database)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A bare connection, with the schema in its path."""
    connection = await asyncpg.connect(url, timeout=10, server_settings={"search_path": "chat, pg_temp"})
    try:
        yield connection
    finally:
        await connection.close()


def a_user() -> str:
    return str(uuid4())


def a_send(user: str, conversation: str | None = None, **changes: Any) -> SendOrder:
    return SendOrder(
        **{
            "user_id": user,
            "conversation_id": conversation,
            "client_message_id": str(uuid4()),
            "content": "What suits me?",
            "content_type": "text",
            "parent_message_id": None,
            "token_count": 10,
            "title": "What suits me?",
            "default_title": DEFAULT_TITLE,
            "plan": {"chain": ["a/b"]},
            "request": {"command": "send"},
            "max_generations": 3,
            "history_tokens": 6000,
            **changes,
        }
    )


def a_regenerate(user: str, message: str, **changes: Any) -> RegenerateOrder:
    return RegenerateOrder(
        **{
            "user_id": user,
            "message_id": message,
            "conversation_id": None,
            "client_message_id": str(uuid4()),
            "plan": {},
            "request": {"command": "regenerate"},
            "max_generations": 3,
            "history_tokens": 6000,
            **changes,
        }
    )


def a_bill(attempt: int = 1, **changes: Any) -> UsageRow:
    return UsageRow(
        **{
            "attempt": attempt,
            "model": "a/b",
            "served_model": "a/b-1",
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "cost": Decimal("0.000123456789"),
            "state": "settled",
            "is_free_model": False,
            "processing_time_ms": 900,
            "upstream_id": f"gen-{attempt}",
            "key": "k1",
            "reached": True,
            "failure": None,
            "due": False,
            **changes,
        }
    )


def an_end(accepted: Accepted, text: str | None = "An answer.", **changes: Any) -> EndRecord:
    """The end of what was accepted; `text` is `None` where nothing was produced."""
    message = None
    body = None
    now = datetime.now(UTC)
    if text is not None:
        message = MessageRow(
            id=accepted.generation.message_id,
            conversation_id=accepted.conversation.id,
            sender_type="assistant",
            content=text,
            content_type="text",
            parent_message_id=accepted.message.id,
            created_at=now,
            metadata={"model": "a/b"},
            token_count=5,
        )
        body = {"id": message.id, "content": text}
    bills = changes.pop("usage", (a_bill(),))
    segments = [{"attempt": bill.attempt, "usage": {}} for bill in bills]
    return EndRecord(
        **{
            "user_id": accepted.generation.user_id,
            "generation_id": accepted.generation.id,
            "conversation_id": accepted.conversation.id,
            "status": "completed" if text is not None else "failed",
            "message": message,
            "usage": bills,
            "finished": {"type": "generation.finished", "message": body, "usage": {}, "segments": segments},
            "finished_at": now,
            "free_model": False,
            **changes,
        }
    )


async def a_turn(
    store: ConversationStore,
    user: str,
    conversation: str | None = None,
    *,
    answer: str = "An answer.",
    **changes: Any,
) -> Accepted:
    """A message and its answer."""
    accepted = await store.accept(a_send(user, conversation, **changes))
    assert await store.finish(an_end(accepted, answer))
    return accepted
