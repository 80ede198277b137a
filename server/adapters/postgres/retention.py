"""Retention: whole months are dropped, the rest goes row by row, conversations when they have been quiet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from server.adapters.postgres.pool import Connection, Database
from server.adapters.postgres.queries import query
from server.adapters.postgres.upkeep import Upkeep
from server.conversations.audit import BY_HOUSE
from server.conversations.retention import Retained, keep_from

log = logging.getLogger(__name__)

_BATCH_ROWS = 500


class PostgresRetention:
    """Fulfils `server.conversations.retention.Retention`.

    `batch_rows` bounds a statement, so none holds locks for long.
    """

    def __init__(self, database: Database, *, batch_rows: int = _BATCH_ROWS) -> None:
        self._system = database.system
        self._batch_rows = batch_rows

    async def retain(self, *, before: datetime) -> Retained | None:
        """See `Retention.retain`."""
        async with self._system.connection() as connection:
            # held by the connection, so gone with it, whatever becomes of this node
            if not await connection.fetchval(query("lock_retention")):
                return None
            try:
                return await self._remove(connection, before)
            finally:
                await connection.fetchval(query("unlock_retention"))

    async def _remove(self, connection: Connection, before: datetime) -> Retained:
        partitions = [row[0] for row in await connection.fetch(query("drop_partitions"), before)]
        removed = Retained(
            partitions=tuple(partitions),
            messages=await self._rows(connection, "remove_messages", before),
            usage=await self._rows(connection, "remove_usage", before),
            generations=await self._rows(connection, "remove_generations", before),
            # last: what hung on them is gone by then
            conversations=await self._rows(connection, "remove_conversations", before),
        )
        # what was told so long ago is not told again by anybody
        await self._rows(connection, "remove_told", before)
        if removed != Retained((), 0, 0, 0, 0):
            moment = before.astimezone(UTC).isoformat()
            await connection.fetchval(
                query("record_audit"), BY_HOUSE.actor, None, "retention.run", "before", moment, None
            )
            log.info(
                "what was too old is gone",
                extra={
                    "before": moment,
                    "partitions": partitions,
                    "messages": removed.messages,
                    "conversations": removed.conversations,
                },
            )
        return removed

    async def _rows(self, connection: Connection, name: str, before: datetime) -> int:
        total = 0
        while True:
            removed: int = await connection.fetchval(query(name), before, self._batch_rows)
            total += removed
            if removed < self._batch_rows:
                return total


class PostgresHousekeeping:
    """What the custodian does daily: `Upkeep.keep`, then retention."""

    def __init__(
        self, database: Database, *, retention_days: int, wall: Callable[[], datetime] | None = None
    ) -> None:
        self._upkeep = Upkeep(database.system)
        self._retention = PostgresRetention(database)
        self._days = retention_days
        self._wall = wall or (lambda: datetime.now(UTC))

    async def keep(self) -> None:
        """Do it all.

        Raises:
            StoreUnavailable: later, then.
        """
        await self._upkeep.keep()
        await self._retention.retain(before=keep_from(self._wall(), days=self._days))
