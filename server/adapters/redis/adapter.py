"""All that a node has of Redis, put together."""

from __future__ import annotations

import asyncio

from server.adapters.redis.broker import RedisBroker
from server.adapters.redis.connection import CALL_SECONDS, CONNECT_SECONDS, Connections
from server.adapters.redis.flusher import Flusher
from server.adapters.redis.generations import RedisGenerationStore
from server.adapters.redis.leases import RedisLeaseStore
from server.adapters.redis.limits import RedisLimits
from server.adapters.redis.presence import RedisPresence
from server.adapters.redis.scripts import LogWindow, Scripts, unavailable
from server.adapters.redis.subscription import RedisSubscription
from server.adapters.redis.tickets import RedisTickets
from server.adapters.redis.users import RedisUsers
from server.adapters.redis.wire import Wire
from server.adapters.redis.write_marks import RedisWriteMarks


class RedisAdapter:
    """The ports on one Redis.

    Made, it has connected nothing; `start` begins to connect and returns at once, so a node comes up while
    Redis is away and works as soon as it appears. `process` names this process and no other one ever.

    Raises:
        ValueError: the URL is of no known form.
    """

    def __init__(
        self,
        url: str,
        *,
        process: str,
        window: LogWindow | None = None,
        ping_seconds: float = 3.0,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        window = window or LogWindow()
        self.process = process
        self._connections = Connections(url)
        sharded = self._connections.sharded
        self.scripts = Scripts(self._connections.client, window, sharded=sharded, call_seconds=call_seconds)
        self._flusher = Flusher(
            lambda: self._wire("append"), self.scripts.named("append_text"), call_seconds=call_seconds
        )
        self.subscription = RedisSubscription(
            lambda: self._wire("listen"),
            process=process,
            sharded=sharded,
            ping_seconds=ping_seconds,
            call_seconds=call_seconds,
        )
        self.broker = RedisBroker(self.scripts, sharded=sharded)
        self.generations = RedisGenerationStore(self.scripts, self._flusher)
        self.leases = RedisLeaseStore(self.scripts)
        self.presence = RedisPresence(self.scripts, process=process)
        self.limits = RedisLimits(self.scripts)
        self.tickets = RedisTickets(self.scripts)
        self.users = RedisUsers(self.scripts)
        self.write_marks = RedisWriteMarks(self.scripts)

    @property
    def flusher(self) -> Flusher:
        """The group commit, for its counts."""
        return self._flusher

    async def start(self) -> None:
        """Begin to connect, and stay connected."""
        self._flusher.start()
        self.subscription.start()

    async def reachable(self) -> bool:
        """Whether the server answers."""
        return await self._connections.reachable()

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        await self.subscription.aclose()
        await self._flusher.aclose()
        await self._connections.aclose()

    async def _wire(self, purpose: str) -> Wire:
        with unavailable():
            async with asyncio.timeout(CONNECT_SECONDS):
                endpoint = await self._connections.endpoint()
                return await Wire.open(endpoint, name=f"chat-{purpose}-{self.process}")
