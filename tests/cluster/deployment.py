"""What an orchestrator does, on one machine: services, nodes, a balancer; what dies is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from server.embedded.ports import LOOPBACK, free_port
from tests.cluster.balancer import TRUSTED, Balancer
from tests.cluster.nodes import NodeEnded, NodeProcess, launched, start_node

_SERVICES_SECONDS = 120.0
_BEYOND_DRAIN_SECONDS = 15.0
_HEALTHY_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0


class EndedEarly(Exception):  # noqa: N818 - what happened, named as such
    """Something that everything else needs has ended; the message says what, and what it said."""


@dataclass
class Deployment:
    """So many nodes on one address. `settings` are theirs; `say` is told, in a line each, what happens."""

    nodes: int
    settings: dict[str, str]
    binary: Path
    address: str
    port: int
    drain_seconds: float
    logs: Path
    say: Callable[[str], None]
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    spare: int = field(default_factory=free_port)
    """The port of a node that starts beside the one it replaces."""
    _slots: list[_Slot] = field(default_factory=list)
    _rolling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run everything until `leaving` is set, then drain the nodes in turn; cancelled, end it at once.

        Raises:
            EndedEarly, tests.cluster.nodes.NodeEnded, server.embedded.errors.EmbeddedError
        """
        async with self._services() as (services, given):
            self._slots = [_Slot(f"node{n}", free_port(), given, self) for n in range(1, self.nodes + 1)]
            try:
                await asyncio.gather(*(slot.start() for slot in self._slots))
                async with self._balancer():
                    await self._until_told_to_leave(services)
            finally:
                for slot in self._slots:
                    await slot.kill()

    def roll(self) -> None:
        """Restart every node in turn, as a deploy does."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll())

    async def _until_told_to_leave(self, services: asyncio.subprocess.Process) -> None:
        kept = [asyncio.create_task(slot.keep()) for slot in self._slots]
        needed = asyncio.create_task(services.wait())
        left = asyncio.create_task(self.leaving.wait())
        try:
            await asyncio.wait([*kept, needed, left], return_when=asyncio.FIRST_COMPLETED)
            if not left.done():
                self.say("the services have ended; so does everything")
                raise EndedEarly(f"the services ended; see {self.logs / 'services.log'}")
            if self._rolling is not None:
                self._rolling.cancel()
            for slot in self._slots:
                await slot.drain()
        finally:
            for task in (*kept, needed, left):
                task.cancel()
            await asyncio.gather(*kept, needed, left, return_exceptions=True)

    async def _roll(self) -> None:
        self.say("restarting every node in turn")
        for slot in self._slots:
            await slot.restart()
        self.say("every node was restarted")

    @contextlib.asynccontextmanager
    async def _services(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
        log = self.logs / "services.log"
        log.unlink(missing_ok=True)
        process = await launched(
            [sys.executable, "-m", "server", "services"],
            cwd=Path.cwd(),
            environment=dict(os.environ),
            log=log,
        )
        try:
            yield process, await _given(process, log)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    @contextlib.asynccontextmanager
    async def _balancer(self) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="chat-balancer-") as home:
            ports = [*(slot.port for slot in self._slots), self.spare]
            balancer = Balancer(Path(home, "balancer"), self.binary, ports, address=self.address)
            balancer.port = self.port or None
            await balancer.start()
            try:
                self.say(f"logs: {self.logs}")
                self.say(f"ready: {balancer.base}/")
                yield
            finally:
                await balancer.stop()


@dataclass
class _Slot:
    """A node's place: its name and port, and the process that holds it now."""

    name: str
    port: int
    given: dict[str, str]
    deployment: Deployment
    node: NodeProcess | None = None
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    _left: bool = False

    async def start(self) -> None:
        """Start its node."""
        environment = {
            **os.environ,
            **self.given,
            **self.deployment.settings,
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "TRUSTED_PROXIES": TRUSTED,
        }
        logs = self.deployment.logs
        self.node = await start_node(self.name, environment, cwd=Path.cwd(), logs=logs)
        self.deployment.say(f"{self.name}: {self.node.base}, pid {self.node.process.pid}")

    async def keep(self) -> None:
        """Start its node again whenever it ends, for ever; at longer and longer pauses while it does not last."""
        pause = 0.0
        while True:
            began = time.monotonic()
            if self.node is not None:
                await self.node.process.wait()
            async with self._busy:
                if self._left:
                    return
                if self.node is not None and self.node.alive:
                    continue  # it was restarted meanwhile
                code = self.node.process.returncode if self.node is not None else None
                self.deployment.say(f"{self.name} ended with {code}")
                lasted = time.monotonic() - began > _HEALTHY_SECONDS
                pause = 0.0 if lasted else min(2 * pause + 0.5, _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause)
                self.node = None
                try:
                    await self.start()
                except NodeEnded as error:
                    self.deployment.say(str(error))

    async def restart(self) -> None:
        """Start another node beside its own, which then leaves; if that does not start it stays."""
        async with self._busy:
            old, port = self.node, self.port
            self.port = self.deployment.spare
            try:
                await self.start()
            except NodeEnded as error:
                self.deployment.say(str(error))
                self.port = port
                return
            self.deployment.spare = port
            await self._drain(old)

    async def drain(self) -> None:
        """Drain its node for good."""
        async with self._busy:
            self._left = True
            await self._drain(self.node)

    async def _drain(self, node: NodeProcess | None) -> None:
        if node is None or not node.alive:
            return
        self.deployment.say(f"{self.name} drains")
        node.process.terminate()
        try:
            async with asyncio.timeout(self.deployment.drain_seconds + _BEYOND_DRAIN_SECONDS):
                code = await node.process.wait()
        except TimeoutError:
            self.deployment.say(f"{self.name} does not end; it is killed")
            await self._kill(node)
        else:
            self.deployment.say(f"{self.name} ended with {code}")

    async def kill(self) -> None:
        """SIGKILL, where there is anything."""
        await self._kill(self.node)

    async def _kill(self, node: NodeProcess | None) -> None:
        if node is not None and node.alive:
            node.kill()
            await node.process.wait()


async def _given(process: asyncio.subprocess.Process, log: Path) -> dict[str, str]:
    """The settings the services print before they are ready."""
    assert process.stdout is not None
    given: dict[str, str] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SERVICES_SECONDS):
            while line := (await process.stdout.readline()).decode().strip():
                if line == "ready":
                    return given
                name, _, value = line.partition("=")
                given[name] = value
    raise EndedEarly(f"the services did not start:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
