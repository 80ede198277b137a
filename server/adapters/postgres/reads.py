"""Where a read goes: to the replica where it has come far enough for this user, else to the primary.

Every write of a user notes where the primary's log was after it, on this node and in the shared marks. A
replica answers only when it has replayed that far, looked at in the reading transaction itself. Where
nothing is known of a user the primary answers, and where it stood then is a mark too: whatever the user
wrote before lies behind it. A replica that is away, or answers wrongly, is passed over for a moment.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import asyncpg

from server.adapters.postgres.pool import Connection, Database, RoleRefused
from server.adapters.postgres.queries import query
from server.channels.broker import BrokerUnavailable
from server.conversations.store import StoreUnavailable
from server.conversations.write_marks import WriteMarks

log = logging.getLogger(__name__)

T = TypeVar("T")

_PASSED_OVER_SECONDS = 5.0
_MOST_USERS = 10_000
_BEYOND = 2**63 - 1  # no replica ever comes this far: until the mark expires, the primary answers


class _Answer(Generic[T]):
    """What a replica said."""

    def __init__(self, value: T) -> None:
        self.value = value


class Reads:
    """Reads of users' rows. Without a replica or without marks, all of them are the primary's."""

    def __init__(
        self, database: Database, marks: WriteMarks | None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._primary = database.service
        self._replica = None if marks is None else database.replica
        self._marks = marks
        self._now = now
        self._noted: OrderedDict[str, int] = OrderedDict()
        self._passed_over_until = float("-inf")

    async def read(self, user_id: str, body: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `body` in a read-only transaction that sees this user's rows, perhaps twice.

        Raises:
            StoreUnavailable, and whatever `body` raises on the primary.
        """
        if self._replica is None:
            async with self._primary.acting_for(user_id, readonly=True) as connection:
                return await body(connection)
        mark = await self._mark(user_id)
        if mark is not None:
            answer = await self._ask_replica(user_id, mark, body)
            if answer is not None:
                return answer.value
        async with self._primary.acting_for(user_id, readonly=True) as connection:
            value = await body(connection)
            position = None if mark is not None else await connection.fetchval(query("wal_position"))
        if position is not None:
            await self._note(user_id, position)
        return value

    @asynccontextmanager
    async def writing(self, user_id: str) -> AsyncIterator[None]:
        """Note this user's mark after the block, however it ends: a write whose reply was lost is one too."""
        try:
            yield
        finally:
            if self._replica is not None:
                await self._note(user_id, await self._position())

    async def _position(self) -> int:
        try:
            return int(await self._primary.value(query("wal_position")))
        except StoreUnavailable:
            return _BEYOND

    async def _note(self, user_id: str, position: int) -> None:
        assert self._marks is not None
        self._noted[user_id] = max(position, self._noted.pop(user_id, 0))
        if len(self._noted) > _MOST_USERS:
            self._noted.popitem(last=False)
        try:
            await self._marks.note(user_id, position)
        except BrokerUnavailable:
            log.warning("a write mark was not shared", extra={"user": user_id})

    async def _mark(self, user_id: str) -> int | None:
        """How far the replica must have come; `None`: unknown, or it is passed over."""
        assert self._marks is not None
        if self._now() < self._passed_over_until:
            return None
        try:
            shared = await self._marks.last(user_id)
        except BrokerUnavailable:
            return None
        # without a shared one another node's write may be missing here
        return None if shared is None else max(shared, self._noted.get(user_id, 0))

    async def _ask_replica(
        self, user_id: str, mark: int, body: Callable[[Connection], Awaitable[T]]
    ) -> _Answer[T] | None:
        assert self._replica is not None
        try:
            async with self._replica.acting_for(user_id, readonly=True) as connection:
                # null where it is no replica (any more): then nothing is known of it
                if not await connection.fetchval(query("wal_replayed"), mark):
                    return None
                return _Answer(await body(connection))
        except (StoreUnavailable, RoleRefused, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # also a query that a replica cancels, or does not understand before it has a migration
            log.warning("the replica is passed over", extra={"reason": type(error).__name__})
            self._passed_over_until = self._now() + _PASSED_OVER_SECONDS
            return None
