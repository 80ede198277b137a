"""Upkeep: the months the partitioned tables should have, and what fell beside them."""

from __future__ import annotations

import logging
from datetime import datetime

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.queries import query

log = logging.getLogger(__name__)


class Upkeep:
    """Partitions, looked after as the house's own role through the owner's functions."""

    def __init__(self, system: RolePool) -> None:
        self._system = system

    async def keep(self) -> None:
        """Make what is missing, and say what lies beside it.

        Raises:
            StoreUnavailable
        """
        for made in await self.create_partitions():
            log.info("partition made", extra={"partition": made})
        strays = await self.stray_rows()
        if strays:
            log.error("rows lie in no month's partition", extra={"rows": strays})

    async def create_partitions(self) -> list[str]:
        """Create the months from one back to three ahead that are missing; their tables' names.

        Rows that had strayed into the default partition move where they belong.

        Raises:
            StoreUnavailable: also when a lock was not to be had in time; ask again later.
        """
        return [row[0] for row in await self._system.rows(query("create_partitions"))]

    async def drop_partitions(self, before: datetime) -> list[str]:
        """Drop the months that ended before `before`, with what is in them; their tables' names.

        Raises:
            StoreUnavailable: also when a lock was not to be had in time; ask again later.
        """
        return [row[0] for row in await self._system.rows(query("drop_partitions"), before)]

    async def stray_rows(self) -> int:
        """Rows that belong to no month that is there. More than none is a reason for an alert."""
        return int(await self._system.value(query("stray_rows")))
