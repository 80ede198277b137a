"""Key rotation: what is not under the newest key is sealed again, beside the usual work.

Tables are walked through by id in short windows, so no statement runs long however much there is. The rows
of a batch are locked while they are sealed again, a few milliseconds; nodes that do this at once wait for
each other and find the rows done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import orjson

from server.adapters.postgres.pool import Connection, Database
from server.adapters.postgres.queries import query
from server.adapters.postgres.rows import Row, json_text
from server.adapters.postgres.sealed_rows import (
    Cell,
    opened_content,
    opened_context,
    opened_metadata,
    sealed_content,
    sealed_context,
    sealed_metadata,
    sealed_title,
)
from server.conversations.cipher import Cipher, Place, Sealed
from server.conversations.titles import DEFAULT_TITLE

_WINDOW_ROWS = 5000
_BEFORE_ALL = UUID(int=0)

_Sealing = Callable[[Connection, UUID, UUID, int], Awaitable[tuple[int, int, UUID]]]


class PostgresKeyRotation:
    """Fulfils `server.conversations.cipher.KeyRotation`.

    Undelivered rows of the outbox are left out: deliver them before a key is taken away (it takes seconds).
    """

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._system = database.system
        self._cipher = cipher
        self._tables: tuple[tuple[str, _Sealing], ...] = (
            ("conversations", self._conversations),
            ("messages", self._messages),
        )
        self._table = 0
        self._after = _BEFORE_ALL
        self._found = False

    async def rotate(self, batch: int = 200) -> int:
        """See `KeyRotation.rotate`."""
        if self._cipher.newest is None:
            return 0
        while True:
            if self._table == len(self._tables):
                self._table, found, self._found = 0, self._found, False
                if not found:
                    return 0
            done = await self._step(batch)
            if done:
                self._found = True
                return done

    async def _step(self, batch: int) -> int:
        """Seal again what the next window holds, up to a batch; the walk goes on behind it."""
        table, sealing = self._tables[self._table]
        async with self._system.transaction() as connection:
            # what is said to be done must not come back under the old key
            await connection.execute("SET LOCAL synchronous_commit = on")
            end = await connection.fetchval(query(f"window_of_{table}"), self._after, _WINDOW_ROWS)
            if end is None:
                self._table, self._after = self._table + 1, _BEFORE_ALL
                return 0
            claimed, done, last = await sealing(connection, self._after, end, batch)
        self._after = last if claimed == batch else end
        return done

    async def _messages(
        self, connection: Connection, after: UUID, end: UUID, batch: int
    ) -> tuple[int, int, UUID]:
        rows = await connection.fetch(query("messages_to_seal"), *self._claim(after, end, batch))
        changed = []
        for row in rows:
            text = opened_content(
                self._cipher, row["content"], row["content_key"], str(row["user_id"]), str(row["id"])
            )
            if text is not None:
                sealed = sealed_content(self._cipher, text, row["user_id"], row["id"])
                changed.append((row["id"], sealed.text, sealed.key, self._metadata(row)))
        await connection.executemany(query("seal_message"), changed)
        return len(rows), len(changed), rows[-1]["id"] if rows else end

    async def _conversations(
        self, connection: Connection, after: UUID, end: UUID, batch: int
    ) -> tuple[int, int, UUID]:
        rows = await connection.fetch(
            query("conversations_to_seal"), *self._claim(after, end, batch), DEFAULT_TITLE
        )
        changed = []
        for row in rows:
            title, context = self._title(row), self._context(row)
            if title is not None or context is not None:
                title = title or Cell(row["title"], row["title_key"])
                context = context or Cell(row["context_data"], row["context_key"])
                changed.append((row["id"], title.text, title.key, context.text, context.key))
        await connection.executemany(query("seal_conversation"), changed)
        return len(rows), len(changed), rows[-1]["id"] if rows else end

    def _claim(self, after: UUID, end: UUID, batch: int) -> tuple[object, ...]:
        return after, end, self._cipher.newest, list(self._cipher.known), batch

    def _metadata(self, row: Row) -> str:
        """A message's metadata under the newest key; what cannot be opened of them is lost already."""
        held = orjson.loads(row["metadata"])
        opened = opened_metadata(self._cipher, held, str(row["user_id"]), str(row["id"]))
        return json_text(sealed_metadata(self._cipher, opened, row["user_id"], row["id"]))

    def _title(self, row: Row) -> Cell | None:
        """The title under the newest key; `None` where it is, cannot be opened, or stays plain."""
        user, place, stored, key = row["user_id"], row["id"], row["title"], row["title_key"]
        if key == self._cipher.newest or (key is None and stored == DEFAULT_TITLE):
            return None
        text = self._cipher.open(Sealed(stored, key), Place(str(user), "conversations", "title", str(place)))
        return None if text is None else sealed_title(self._cipher, text, user, place)

    def _context(self, row: Row) -> Cell | None:
        """The context data under the newest key; `None` where they are, cannot be opened, or are none."""
        user, place, stored, key = row["user_id"], row["id"], row["context_data"], row["context_key"]
        if stored is None or key == self._cipher.newest:
            return None
        context = (
            orjson.loads(stored)
            if key is None
            else opened_context(self._cipher, stored, key, str(user), str(place))
        )
        return None if context is None else sealed_context(self._cipher, context, user, place)
