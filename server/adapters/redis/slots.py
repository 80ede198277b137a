"""Which server of a cluster has which keys.

The map is the client's. It is read again whenever a server says that a slot is elsewhere, or cannot be
reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from redis.asyncio import RedisCluster
from redis.exceptions import SlotNotCoveredError

from server.adapters.redis.address import Endpoint
from server.adapters.redis.connection import CONNECT_SECONDS
from server.adapters.redis.scripts import unavailable
from server.channels.broker import BrokerUnavailable

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.1


class Slots:
    """Which server has what. `known` is how a server is entered, whichever it is."""

    def __init__(self, client: RedisCluster, known: Endpoint) -> None:
        self._client = client
        self._known = known
        self._wanted = asyncio.Event()
        self._followers: list[Callable[[], Awaitable[None]]] = []
        self._next: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read the map, and read it again whenever `ask` is called."""
        self._wanted.set()
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="redis cluster")

    async def aclose(self) -> None:
        """Stop reading it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def ask(self) -> None:
        """The map may have changed."""
        self._wanted.set()

    async def read_again(self) -> None:
        """Wait until the map was read once more."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self.ask()
        await asyncio.shield(self._next)

    def on_change(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Call `follow` after every reading of the map."""
        self._followers.append(follow)

    def server_of(self, key: str) -> Endpoint | None:
        """The server that has `key`; `None` while that is not known."""
        try:
            node = self._client.get_node_from_key(key)
        except SlotNotCoveredError:
            node = None
        return None if node is None else replace(self._known, host=str(node.host), port=int(node.port))

    def servers(self) -> list[Endpoint]:
        """All that have slots."""
        nodes = self._client.get_primaries()
        return [replace(self._known, host=str(node.host), port=int(node.port)) for node in nodes]

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                with unavailable():
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await self._client.initialize()
                        await self._client.nodes_manager.initialize()
            except BrokerUnavailable as error:
                log.warning("the cluster's map cannot be read", extra={"error": str(error)})
                self._wanted.set()
            else:
                done, self._next = self._next, None
                for follow in self._followers:
                    await follow()
                if done is not None:
                    done.set_result(None)
            await asyncio.sleep(_PAUSE_SECONDS)
