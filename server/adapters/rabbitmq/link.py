"""One connection to the broker, kept: made, watched, lost, made again, until it is closed.

The library's own reconnecting is not used: it raises when the broker is away at the start, waits a fixed
time, and does not say how it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aio_pika
from aio_pika.abc import AbstractConnection

from server.adapters.rabbitmq.retries import backoff_seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Times of a connection, in seconds.

    Between attempts it pauses up to `first_pause`, doubled with each failure up to `longest_pause`; one
    that held for `healthy` begins anew. `heartbeat` is a whole number.
    """

    connect: float = 10.0
    attach: float = 20.0
    close: float = 3.0
    heartbeat: int = 20
    first_pause: float = 0.5
    longest_pause: float = 15.0
    healthy: float = 10.0


class Attachment:
    """A connection while it lasts. Who finds it broken says so with `lose`."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(self._closed)

    def lose(self, reason: object) -> None:
        """Give the connection up; only the first reason counts."""
        if not self._lost.done():
            self._lost.set_result(describe(reason))

    async def lost(self) -> str:
        """Return when it is lost, with the reason."""
        return await asyncio.shield(self._lost)

    @property
    def alive(self) -> bool:
        """Whether nobody has given it up."""
        return not self._lost.done()

    def _closed(self, _: object, reason: BaseException | None = None) -> None:
        self.lose(reason or "the connection was closed")


class Link:
    """Keeps one connection, and has `attach` set up on each new one what is needed there.

    Args:
        url: where the broker is; never shown.
        name: what the broker's own lists call the connection.
        attach: sets up; what it raises makes the attempt a failure. Its attachment is good until lost.
        limits: times.
        rng: where jitter comes from, in [0, 1).
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        attach: Callable[[Attachment], Awaitable[None]],
        limits: LinkLimits | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._limits = limits or LinkLimits()
        self._url = url
        # what the address says itself counts more
        said = dict(parse_qsl(urlsplit(url).query))
        self._options: dict[str, Any] = {} if "heartbeat" in said else {"heartbeat": self._limits.heartbeat}
        self._attach = attach
        self._rng = rng
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._attachment: Attachment | None = None
        self.problem: str | None = "not started"
        self.connects = 0

    @property
    def connected(self) -> bool:
        """Whether the connection is there and set up."""
        return self._attachment is not None and self._attachment.alive

    def start(self) -> None:
        """Begin to connect, and stay connected."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name=self._name)

    async def aclose(self) -> None:
        """Close, and connect no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.problem = "closed"

    async def up(self) -> None:
        """Return once there is a connection that works; the caller bounds the waiting."""
        while not self.connected:
            self._up.clear()
            await self._up.wait()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                self.problem = await self._once()
                if loop.time() - began > self._limits.healthy:
                    failures = 0
            except Exception as error:  # noqa: BLE001 - whatever the library makes of the network
                self.problem = describe(error)
            failures += 1
            log.warning(
                "the broker is away",
                extra={"link": self._name, "problem": self.problem, "failures": failures},
            )
            limits = self._limits
            await asyncio.sleep(
                backoff_seconds(
                    failures, first=limits.first_pause, longest=limits.longest_pause, random=self._rng()
                )
            )

    async def _once(self) -> str:
        """One connection's life; why it ended."""
        limits = self._limits
        async with asyncio.timeout(limits.connect):
            connection = await aio_pika.connect(
                self._url, client_properties={"connection_name": self._name}, **self._options
            )
        try:
            attachment = Attachment(connection)
            async with asyncio.timeout(limits.attach):
                await self._attach(attachment)
            self._attachment, self.problem = attachment, None
            self.connects += 1
            self._up.set()
            log.info("the broker is there", extra={"link": self._name})
            return await attachment.lost()
        finally:
            self._attachment = None
            await close_quietly(connection.close(), limits.close)


async def close_quietly(closing: Any, seconds: float) -> None:
    """Wait that long for something to close; how it goes interests nobody any more."""
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            await closing


def describe(reason: object) -> str:
    """A failure in one line, without what may be secret."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    text = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
    return " ".join(text.split())[:300]
