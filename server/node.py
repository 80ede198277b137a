"""A node's life: everything connected and at work, a farewell, an end in order.

A node is an asynchronous context manager: inside it works, and all its tasks are one group, so a dead one
takes the node down visibly. What it is made of is put together in `assembly.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp

from server.adapters.openrouter.upstream import OpenRouter
from server.adapters.postgres.pool import Database
from server.adapters.rabbitmq.consumer import RabbitConsumer
from server.adapters.rabbitmq.publisher import RabbitPublisher
from server.adapters.redis.adapter import RedisAdapter
from server.assembly_assessments import Neighbours
from server.channels.broker import BrokerUnavailable
from server.conversations.store import StoreUnavailable
from server.gateway.front import Front
from server.generations.runner import Generations

log = logging.getLogger(__name__)

_RETIRE_SECONDS = 3.0
_OPEN_SECONDS = 30.0


class Node:
    """A node. `app` is its ASGI application."""

    def __init__(
        self,
        *,
        app: ASGIApp,
        front: Front,
        database: Database,
        redis: RedisAdapter,
        openrouter: OpenRouter,
        generations: Generations,
        publisher: RabbitPublisher | None,
        consumer: RabbitConsumer | None,
        neighbours: Neighbours,
        tasks: dict[str, Callable[[], Awaitable[Any]]],
        readiness: Readiness,
    ) -> None:
        self.app = app
        self.front = front
        self.redis = redis
        self.openrouter = openrouter
        self.generations = generations
        self._database = database
        self._publisher = publisher
        self.consumer = consumer
        self._neighbours = neighbours
        self._tasks = tasks
        self._readiness = readiness
        self._group: asyncio.TaskGroup | None = None
        self._running: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        """Connect and begin to work.

        Raises:
            StoreUnavailable: PostgreSQL cannot be reached for half a minute.
            RoleRefused: the login may not do the service's work.
        """
        await self._open_database()
        await self.redis.start()
        if self._publisher is not None:
            self._publisher.start()
        self._group = await asyncio.TaskGroup().__aenter__()
        for name, task in self._tasks.items():
            self._running.append(self._group.create_task(_outlive(name, task), name=name))
        if self.consumer is not None:
            self.consumer.start()
        self._readiness.started = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._group is not None
        self._readiness.draining = True
        if self.consumer is not None:
            await self.consumer.aclose()
        for task in self._running:
            task.cancel()
        # the group wraps what a dead task of its own did to us; other errors pass as they are
        mine = kind is None or not issubclass(kind, asyncio.CancelledError)
        try:
            await (
                self._group.__aexit__(None, None, None) if mine else self._group.__aexit__(kind, error, trace)
            )
        finally:
            await self.generations.abandon()
            await self.openrouter.aclose()
            await self._neighbours.aclose()
            if self._publisher is not None:
                await self._publisher.aclose()
            try:
                async with asyncio.timeout(_RETIRE_SECONDS):
                    await self.redis.presence.retire()
            except (BrokerUnavailable, TimeoutError):
                log.info("the store is away at the end; places run out by themselves")
            await self.redis.aclose()
            await self._database.close()

    async def drain(self, seconds: float, reason: str = "restart") -> None:
        """Send everybody elsewhere, let answers finish for so long, hand over the rest."""
        if self._readiness.draining:
            return
        self._readiness.draining = True
        self.front.desk.turns.draining = True
        self.front.drained.set()
        log.info(
            "draining", extra={"sessions": len(self.front.desk.sessions), "answers": len(self.generations)}
        )
        await asyncio.gather(
            # what it does not finish goes back to the queue, for other nodes
            self.consumer.aclose() if self.consumer is not None else asyncio.sleep(0),
            self.front.desk.sessions.drain(min(3.0, seconds / 2), reason),
            self.generations.drain(seconds),
        )

    async def _open_database(self) -> None:
        deadline = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                await self._database.open()
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
            else:
                return


class Readiness:
    """Whether the node takes sessions."""

    def __init__(self, connected: Callable[[], bool]) -> None:
        self.started = False
        self.draining = False
        self._connected = connected

    def reason(self) -> str | None:
        """Why not, or `None`."""
        if not self.started:
            return "starting"
        if self.draining:
            return "draining"
        return None if self._connected() else "Redis is away"


async def _outlive(name: str, task: Callable[[], Awaitable[Any]]) -> None:
    """A node's task ends with the node, or ends the node."""
    await task()
    raise RuntimeError(f"the node's task {name!r} ended")
