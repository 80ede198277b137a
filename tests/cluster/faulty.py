"""A cluster with a cable that can be bad between everything: clients, nodes, and what the nodes need.

async with faulty_cluster(count=2) as cluster:
    cluster.cables[cluster.nodes[0].name].redis.black_hole()
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import asyncpg
import httpx

from tests import services as real
from tests.cluster.nodes import Cluster, NodeProcess
from tests.scripted.database_cable import DatabaseCable
from tests.scripted.fault_proxy import FaultProxy
from tests.scripted.lossy_pubsub import PublishLoss
from tests.services import Database

# clocks that do not keep a test waiting; what is shown does not depend on them
_SETTINGS = {
    "HEARTBEAT_SECONDS": "0.6",
    "SLOW_READER_SECONDS": "1",
    "CONNECT_TIMEOUT_SECONDS": "1",
    "FIRST_TOKEN_TIMEOUT_SECONDS": "2",
    "STALL_TIMEOUT_SECONDS": "1.5",
    "MAX_ATTEMPTS": "12",
    "AUTH_GRACE_SECONDS": "0.3",
    "DRAIN_SECONDS": "0.3",
}
# so small that a server feels a reader who stops
_RECEIVE_BUFFER_BYTES = 8192


@dataclass
class Cables:
    """Of one node: to its clients, its Redis, its PostgreSQL and its upstream."""

    redis: FaultProxy
    database: FaultProxy
    upstream: FaultProxy
    clients: FaultProxy | None = None

    @property
    def needed(self) -> tuple[FaultProxy, ...]:
        """Those to what it needs."""
        return (self.redis, self.database, self.upstream)


@dataclass
class FaultyCluster(Cluster):
    """Addresses of its nodes are the cables'. `loss` loses published messages, `database_cable` is cut at
    statements; both are shared by all nodes."""

    cables: dict[str, Cables] = field(default_factory=dict)
    loss: PublishLoss = field(default_factory=PublishLoss)

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        self.database_cable = await self._stack.enter_async_context(DatabaseCable(self.database.app_url))
        self.http = await self._stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False))
        self.settings = {**_SETTINGS, **self.settings}
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._stack.aclose()

    async def start(self, port: int = 0) -> NodeProcess:
        """Another node, behind cables of its own."""
        cables = Cables(
            redis=await self._cable(self.services.urls.redis_url or ""),
            database=await self._cable(self.database_cable.url),
            upstream=await self._cable(self.simulator.base_url),
        )
        cables.redis.sieve = self.loss.sieve
        self.settings |= {
            "REDIS_URL": cables.redis.url(self.services.urls.redis_url or ""),
            "DATABASE_URL": cables.database.url(self.database_cable.url),
            "OPENROUTER_BASE_URL": cables.upstream.url(self.simulator.base_url),
        }
        # the settings are read before anything is waited for
        node = await super().start(port)
        cables.clients = await self._cable(node.base)
        cables.clients.receive_buffer = _RECEIVE_BUFFER_BYTES
        node.port = cables.clients.port
        self.cables[node.name] = cables
        return node

    async def replace(self, node: NodeProcess) -> NodeProcess:
        """Start another in its place; what led to the old one is gone."""
        gone = self.cables.pop(node.name)
        for cable in (*gone.needed, gone.clients):
            if cable is not None:
                cable.refuse()
                cable.reset()
        return await super().replace(node)

    def of(self, node: NodeProcess) -> Cables:
        """The cables of a node."""
        return self.cables[node.name]

    def to_clients(self) -> list[FaultProxy]:
        """The cables to the clients, of all nodes."""
        return [cables.clients for cables in self.cables.values() if cables.clients is not None]

    def to_needed(self) -> list[FaultProxy]:
        """The cables to what nodes need, of all nodes."""
        return [cable for cables in self.cables.values() for cable in cables.needed]

    async def heal(self) -> None:
        """All cables as new; every node that is gone is replaced, and every one takes sessions."""
        for cable in (*self.to_clients(), *self.to_needed()):
            sieve = cable.sieve
            await cable.heal()
            cable.sieve = sieve
        self.database_cable.plug()
        self.database_cable.let_go()
        for node in [node for node in self.nodes if not node.alive]:
            await self.replace(node)

    def complaints(self) -> list[str]:
        """What its nodes logged as errors."""
        logs = (node.log.read_text(errors="replace") for node in self.all_started)
        return [
            line for log in logs for line in log.splitlines() if '"level":"error"' in line.replace(" ", "")
        ]

    async def _cable(self, url: str) -> FaultProxy:
        parts = urlsplit(url)
        cable = FaultProxy(parts.hostname or "", parts.port or 0)
        return await self._stack.enter_async_context(cable)


@contextlib.asynccontextmanager
async def faulty_cluster(*, count: int, **settings: str) -> AsyncIterator[FaultyCluster]:
    """So many nodes on services of their own."""
    async with real.own_services() as services:
        await real.make_template(services)
        database = await real.copy_template(services)
        await _keep_what_is_committed(database)
        async with FaultyCluster(services, database, count=count, settings=settings) as cluster:
            yield cluster


async def _keep_what_is_committed(database: Database) -> None:
    """Through a crash of the server: the tests' one is set up to lose the last moment's commits in it."""
    name = urlsplit(database.admin_url).path.lstrip("/")
    connection = await asyncpg.connect(database.admin_url, timeout=10)
    try:
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    finally:
        await connection.close()
