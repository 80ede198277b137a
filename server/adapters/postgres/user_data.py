"""All of a user's data: erased behind a tombstone, or handed out as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from server.adapters.postgres.pool import Database
from server.adapters.postgres.queries import query
from server.adapters.postgres.rows import Row, conversation_row, generation_row, message_row
from server.adapters.postgres.sealed_rows import opened_content, opened_title
from server.conversations.audit import Caller
from server.conversations.cipher import Cipher
from server.conversations.user_data import Erased
from server.conversations.wire import conversation_json, iso_time, message_json, plain_decimal

_BATCH_ROWS = 1000
_PAGE_ROWS = 200
_BEFORE_ALL = UUID(int=0)


class PostgresUserData:
    """Fulfils `server.conversations.user_data.UserData`.

    `batch_rows` and `page_rows` bound what one statement removes or reads.
    """

    def __init__(
        self,
        database: Database,
        cipher: Cipher,
        *,
        batch_rows: int = _BATCH_ROWS,
        page_rows: int = _PAGE_ROWS,
    ) -> None:
        self._service = database.service
        self._system = database.system
        self._cipher = cipher
        self._batch_rows = batch_rows
        self._page_rows = page_rows

    async def erase(self, user_id: str, *, caller: Caller) -> Erased:
        """See `UserData.erase`."""
        user = UUID(user_id)
        running = orjson.loads(
            await self._system.value(query("bury_user"), user, caller.actor, caller.origin)
        )
        total: dict[str, int] = {}
        while True:
            removed = orjson.loads(await self._system.value(query("erase_rows"), user, self._batch_rows))
            for kind, count in removed.items():
                total[kind] = total.get(kind, 0) + count
            if not any(removed.values()):
                return Erased(**total, running=tuple(running))

    async def export(self, user_id: str, *, caller: Caller) -> AsyncIterator[bytes]:
        """See `UserData.export`."""
        user = UUID(user_id)
        await self._system.value(
            query("record_audit"), caller.actor, caller.origin, "user.export", "user", str(user), user
        )
        yield _line("user", {"id": str(user)})
        async for place in self._own(user, "export_conversations", user):
            yield _line("conversation", self._conversation(place, user))
            async for row in self._own(user, "export_messages", place["id"]):
                yield _line("message", self._message(row, user))
        async for row in self._own(user, "export_generations", user):
            yield _line("generation", _generation(row))
        async for row in self._own(user, "export_usage", user):
            yield _line("usage", _usage(row))
        async for row in self._audited(user):
            yield _line("audit", {**dict(row), "id": str(row["id"]), "at": iso_time(row["at"])})

    def _conversation(self, row: Row, user: UUID) -> dict[str, Any]:
        conversation, deleted_at = conversation_row(row, self._cipher), row["deleted_at"]
        body = conversation_json(conversation)
        body["deleted_at"] = None if deleted_at is None else iso_time(deleted_at)
        title = opened_title(self._cipher, row["title"], row["title_key"], str(user), conversation.id)
        closed = ["title"] if title is None else []
        if conversation.context_data is None and row["context_key"] is not None:
            closed.append("context_data")
        return _without(body, closed)

    def _message(self, row: Row, user: UUID) -> dict[str, Any]:
        message = message_row(row, str(user), self._cipher)
        content = opened_content(self._cipher, row["content"], row["content_key"], str(user), message.id)
        if content is not None:
            return message_json(message)
        stored = {"content_type": row["content_type"], "metadata": orjson.loads(row["metadata"])}
        return _without({**message_json(message), **stored}, ["content"])

    async def _own(self, user: UUID, name: str, whose: UUID) -> AsyncIterator[asyncpg.Record]:
        """All rows of one thing, by id; a short transaction per page, which sees this user's rows only."""
        after = _BEFORE_ALL
        while True:
            async with self._service.acting_for(str(user), readonly=True) as connection:
                rows = await connection.fetch(query(name), whose, after, self._page_rows)
            for row in rows:
                yield row
            if len(rows) < self._page_rows:
                return
            after = rows[-1]["id"]

    async def _audited(self, user: UUID) -> AsyncIterator[asyncpg.Record]:
        after = _BEFORE_ALL
        while rows := await self._system.rows(query("export_audit"), user, after, self._page_rows):
            for row in rows:
                yield row
            after = rows[-1]["id"]


def _line(kind: str, body: dict[str, Any]) -> bytes:
    return orjson.dumps({"kind": kind, **body}, option=orjson.OPT_APPEND_NEWLINE)


def _without(body: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """The body with values that cannot be opened as `null`, and said to be so."""
    return {**body, **dict.fromkeys(columns), "unavailable": True} if columns else body


def _generation(row: Row) -> dict[str, Any]:
    found = generation_row(row)
    return {
        "id": found.id,
        "conversation_id": found.conversation_id,
        "reply_to": found.reply_to,
        "message_id": found.message_id,
        "client_message_id": found.client_message_id,
        "status": found.status,
        "created_at": iso_time(found.created_at),
        "finished_at": None if found.finished_at is None else iso_time(found.finished_at),
    }


def _usage(row: Row) -> dict[str, Any]:
    return {
        "conversation_id": None if row["conversation_id"] is None else str(row["conversation_id"]),
        "message_id": None if row["message_id"] is None else str(row["message_id"]),
        "generation_id": str(row["generation_id"]),
        "attempt": row["attempt"],
        "model": row["model_used"],
        "served_model": row["served_model"],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "total_tokens": row["total_tokens"],
        "cost": plain_decimal(row["cost_credits"]),
        "state": row["state"],
        "created_at": iso_time(row["created_at"]),
    }
