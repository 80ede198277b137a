"""Reading: one read-only transaction per call, which sees this user's rows."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import asyncpg
import orjson

from server.adapters.postgres.ends import with_content
from server.adapters.postgres.pool import Connection, RolePool
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import conversation_row, generation_row, message_row, uuid_or_not_found
from server.adapters.postgres.sealed_rows import opened_content, opened_metadata, shown
from server.adapters.postgres.usage_reading import usage_of_messages
from server.conversations.cipher import Cipher
from server.conversations.store import ConversationRow, GenerationRow, MessagePage, MessageRow, NotFound
from server.conversations.usage import TokenUsage

_LAST = UUID(int=2**128 - 1)


class Reading:
    """The part of the store that changes nothing."""

    _service: RolePool
    _cipher: Cipher
    _reads: Reads

    async def conversation(self, user_id: str, conversation_id: str) -> ConversationRow:
        """See `ConversationStore.conversation`."""
        sought = uuid_or_not_found(conversation_id, "conversation")
        async with self._service.acting_for(user_id, readonly=True) as connection:
            row = await connection.fetchrow(query("conversation"), sought)
        if row is None:
            raise NotFound("conversation")
        return conversation_row(row, self._cipher)

    async def conversations(
        self, user_id: str, *, status: str, limit: int, offset: int
    ) -> tuple[tuple[ConversationRow, ...], int]:
        """See `ConversationStore.conversations`. There are none with the status `deleted`."""

        async def read(connection: Connection) -> tuple[list[asyncpg.Record], int]:
            rows = await connection.fetch(query("conversations"), UUID(user_id), status, limit, offset)
            return rows, await connection.fetchval(query("conversations_total"), UUID(user_id), status)

        rows, total = await self._reads.read(user_id, read)
        return tuple(conversation_row(row, self._cipher) for row in rows), total

    async def history(
        self, user_id: str, message_id: str, *, tokens: int, messages: int = 200
    ) -> tuple[MessageRow, ...]:
        """See `ConversationStore.history`."""
        sought = uuid_or_not_found(message_id, "message")
        async with self._service.acting_for(user_id, readonly=True) as connection:
            rows = await connection.fetch(query("history"), sought, tokens, messages)
        if not rows:
            raise NotFound("message")
        return tuple(self._message(row, user_id) for row in rows)

    async def messages(
        self,
        user_id: str,
        conversation_id: str,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        with_usage: bool = False,
    ) -> MessagePage:
        """See `ConversationStore.messages`.

        Raises:
            ValueError: both cursors.
        """
        if before is not None and after is not None:
            raise ValueError("a page is before a message or after one")
        place = uuid_or_not_found(conversation_id, "conversation")
        marker = before if before is not None else after
        cursor = None if marker is None else uuid_or_not_found(marker, "message")

        async def read(connection: Connection) -> tuple[list[asyncpg.Record], dict[str, TokenUsage]]:
            found = await connection.fetchrow(query("message_cursor"), place, cursor)
            if found is None:
                raise NotFound("conversation")
            if cursor is not None and not found["is_here"]:
                raise NotFound("message")
            if after is not None:
                rows = await connection.fetch(query("messages_after"), place, cursor, limit + 1)
            else:
                rows = await connection.fetch(query("messages_before"), place, cursor or _LAST, limit + 1)
            if not with_usage:
                return rows, {}
            return rows, await usage_of_messages(connection, place, [row["id"] for row in rows[:limit]])

        rows, usage = await self._reads.read(user_id, read)
        kept = rows[:limit]
        if after is None:
            kept.reverse()
        messages = tuple(self._message(row, user_id) for row in kept)
        return MessagePage(messages=messages, has_more=len(rows) > limit, usage=usage)

    async def generation(self, user_id: str, generation_id: str) -> GenerationRow:
        """See `ConversationStore.generation`. One of a deleted conversation is not found either."""
        sought = uuid_or_not_found(generation_id, "generation")
        async with self._service.acting_for(user_id, readonly=True) as connection:
            row = await connection.fetchrow(query("generation"), sought)
        if row is None:
            raise NotFound("generation")
        found = generation_row(row)
        content, metadata = row["content"], row["metadata"]
        if content is not None:
            content = shown(
                opened_content(self._cipher, content, row["content_key"], found.user_id, found.message_id)
            )
            metadata = opened_metadata(self._cipher, orjson.loads(metadata), found.user_id, found.message_id)
        return replace(found, finished=with_content(found.finished, content, metadata))

    def _message(self, row: asyncpg.Record, user_id: str) -> MessageRow:
        return message_row(row, str(UUID(user_id)), self._cipher)
