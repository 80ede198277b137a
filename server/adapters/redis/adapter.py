"""All that a node has of Redis, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import hiredis
from redis.asyncio import RedisCluster

from server.adapters.redis.address import Endpoint
from server.adapters.redis.broker import RedisBroker
from server.adapters.redis.calls import Calls
from server.adapters.redis.cluster import Flushers, Subscriptions
from server.adapters.redis.connection import CALL_SECONDS, CONNECT_SECONDS, Connections
from server.adapters.redis.flusher import Flusher
from server.adapters.redis.generations import RedisGenerationStore
from server.adapters.redis.leases import RedisLeaseStore
from server.adapters.redis.limits import RedisLimits
from server.adapters.redis.presence import RedisPresence
from server.adapters.redis.scripts import LogWindow, Scripts, unavailable
from server.adapters.redis.slots import Slots
from server.adapters.redis.subscription import RedisSubscription
from server.adapters.redis.tickets import RedisTickets
from server.adapters.redis.user_cache import RedisUserCache
from server.adapters.redis.users import RedisUsers
from server.adapters.redis.wire import Wire
from server.adapters.redis.write_marks import RedisWriteMarks
from server.channels.broker import BrokerUnavailable


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
        self._calls = None if sharded else Calls(lambda: self._wire("call", None), call_seconds=call_seconds)
        self.scripts = Scripts(
            self._connections.client,
            window,
            sharded=sharded,
            calls=self._calls,
            call_seconds=call_seconds,
        )
        self._ping_seconds = ping_seconds
        self._call_seconds = call_seconds
        self._slots: Slots | None = None
        self._flusher: Flusher | Flushers
        self.subscription: RedisSubscription | Subscriptions
        if isinstance(self._connections.client, RedisCluster):
            self._slots = Slots(self._connections.client, self._connections.known)
            self._flusher = Flushers(self._slots, self._flusher_at)
            self.subscription = Subscriptions(self._slots, self._subscription_at, call_seconds=call_seconds)
        else:
            self._flusher = self._flusher_at(None)
            self.subscription = self._subscription_at(None)
        self.broker = RedisBroker(self.scripts, sharded=sharded)
        self.generations = RedisGenerationStore(self.scripts, self._flusher)
        self.leases = RedisLeaseStore(self.scripts, process=process)
        self.presence = RedisPresence(self.scripts, process=process)
        self.limits = RedisLimits(self.scripts)
        self.tickets = RedisTickets(self.scripts)
        self.users = RedisUsers(self.scripts)
        self.user_cache = RedisUserCache(self.scripts)
        self.write_marks = RedisWriteMarks(self.scripts)

    @property
    def flusher(self) -> Flusher | Flushers:
        """The group commit, for its counts."""
        return self._flusher

    async def start(self) -> None:
        """Begin to connect, and stay connected."""
        if self._slots is not None:
            self._slots.start()
        self._flusher.start()
        self.subscription.start()

    async def reachable(self) -> bool:
        """Whether the server answers."""
        return await self._connections.reachable()

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        if self._slots is not None:
            await self._slots.aclose()
        await self.subscription.aclose()
        await self._flusher.aclose()
        if self._calls is not None:
            await self._calls.aclose()
        await self._connections.aclose()

    def _flusher_at(self, server: Endpoint | None) -> Flusher:
        return Flusher(
            lambda: self._wire("append", server),
            self.scripts.named("append_text"),
            call_seconds=self._call_seconds,
            moved=self._ask_for_slots,
        )

    def _subscription_at(
        self, server: Endpoint | None, moved: Callable[[str], None] | None = None
    ) -> RedisSubscription:
        return RedisSubscription(
            lambda: self._wire("listen", server),
            process=self.process,
            sharded=self._connections.sharded,
            moved=moved,
            ping_seconds=self._ping_seconds,
            call_seconds=self._call_seconds,
        )

    async def _wire(self, purpose: str, server: Endpoint | None) -> Wire:
        try:
            with unavailable():
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await Wire.open(
                        server or await self._connections.endpoint(), name=f"chat-{purpose}-{self.process}"
                    )
        except (BrokerUnavailable, hiredis.HiredisError):
            # perhaps it is another one by now
            self._ask_for_slots()
            raise

    def _ask_for_slots(self) -> None:
        if self._slots is not None:
            self._slots.ask()
