"""Nodes behind the load balancer that is deployed: what a client sees of a cluster.

async with BalancedCluster(services, database, count=3) as cluster:
    client = RecordingClient(token_for(user), user=user)
    await client.connect(cluster.ws_url)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from server.embedded.ports import free_port
from tests.cluster.balancer import TRUSTED, Balancer, haproxy
from tests.cluster.nodes import Cluster, NodeProcess
from tests.debian import NotInstalled
from tests.services import unavailable


@dataclass
class BalancedCluster(Cluster):
    """A cluster with one address; skips or fails where there is no balancer."""

    keep_ports: bool = True

    async def __aenter__(self) -> Self:
        try:
            binary = haproxy()
        except NotInstalled as error:
            unavailable("HAProxy", error)
        self.settings = {"TRUSTED_PROXIES": TRUSTED, **self.settings}
        await super().__aenter__()
        try:
            self._spare = free_port()
            ports = [*(node.port for node in self.nodes), self._spare]
            self.balancer = Balancer(Path(self._directory.name, "balancer"), binary, ports)
            await self.balancer.start()
        except BaseException as error:
            await super().__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await self.balancer.stop()

    async def roll(self, node: NodeProcess) -> int:
        """Start another node beside one that then leaves, as a deploy does; the exit code of that one."""
        other = await self.start(self._spare)
        self.nodes[self.nodes.index(node)] = other
        code = await node.drain()
        self._spare = node.port
        return code

    @property
    def base(self) -> str:
        """The one address, `http://host:port`."""
        return self.balancer.base

    @property
    def ws_url(self) -> str:
        """The socket's address."""
        return f"ws{self.base.removeprefix('http')}/api/chat/ws"
