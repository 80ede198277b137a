"""Usage: sums over the rows of attempts, per answer, per conversation, per period."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from server.adapters.postgres.pool import Connection
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import uuid_or_not_found
from server.conversations.store import NotFound
from server.conversations.usage import (
    ConversationUsage,
    DayUsage,
    ModelUsage,
    Period,
    TokenUsage,
    UsageSummary,
)


class UsageReading:
    """The part of the store that adds up."""

    _reads: Reads

    async def conversation_usage(self, user_id: str, conversation_id: str) -> ConversationUsage:
        """See `ConversationStore.conversation_usage`."""
        place = uuid_or_not_found(conversation_id, "conversation")

        async def read(connection: Connection) -> list[asyncpg.Record]:
            if await connection.fetchrow(query("message_cursor"), place, None) is None:
                raise NotFound("conversation")
            return await connection.fetch(query("conversation_usage"), place)

        *parts, total = await self._reads.read(user_id, read)
        return ConversationUsage(
            prompt_tokens=total["prompt_tokens"],
            completion_tokens=total["completion_tokens"],
            total_tokens=total["tokens"],
            cost=total["cost"],
            by_model=tuple(_model(row) for row in parts),
        )

    async def usage_summary(self, user_id: str, period: Period) -> UsageSummary:
        """See `ConversationStore.usage_summary`."""
        asked = (UUID(user_id), period.start, period.end)

        async def read(connection: Connection) -> tuple[list[asyncpg.Record], asyncpg.Record]:
            parts = await connection.fetch(query("usage_summary"), *asked)
            counts = await connection.fetchrow(query("usage_counts"), *asked)
            assert counts is not None
            return parts, counts

        parts, counts = await self._reads.read(user_id, read)
        total = next(row for row in parts if row["part"] == "total")
        return UsageSummary(
            prompt_tokens=total["prompt_tokens"],
            completion_tokens=total["completion_tokens"],
            total_tokens=total["tokens"],
            cost=total["cost"],
            requests=total["requests"],
            free_requests=total["free_requests"],
            conversations=counts["conversations"],
            messages=counts["messages"],
            by_model=tuple(_model(row) for row in parts if row["part"] == "model"),
            timeline=tuple(
                DayUsage(row["day"], row["requests"], row["tokens"], row["cost"])
                for row in parts
                if row["part"] == "day"
            ),
        )


async def usage_of_messages(
    connection: Connection, conversation: UUID, messages: Sequence[UUID]
) -> dict[str, TokenUsage]:
    """The usage of those of the messages that are answers, by their ids."""
    rows = await connection.fetch(query("usage_of_messages"), conversation, messages)
    return {
        str(row["message_id"]): TokenUsage(
            row["prompt_tokens"], row["completion_tokens"], row["total_tokens"], row["cost"], row["state"]
        )
        for row in rows
    }


def _model(row: asyncpg.Record) -> ModelUsage:
    return ModelUsage(row["model"], row["requests"], row["tokens"], row["cost"])
