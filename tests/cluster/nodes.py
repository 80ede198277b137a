"""Nodes as processes of their own, sharing services, database and a scripted upstream: to kill, freeze and drain.

async with Cluster(services, database, count=2) as cluster:
    client = await cluster.client(cluster.nodes[1])
    ...
    owner = await cluster.owner_of(user, generation)
    owner.kill()
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis.asyncio

from server.embedded.openrouter.simulator import Simulator
from server.embedded.ports import free_port
from server.embedded.services import EmbeddedServices
from tests.running import INTERNAL_KEY, Truth, new_uuid
from tests.scripted.sse_client import SseClient
from tests.scripted.tokens import SECRET, token_for
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

ROOT = Path(__file__).parent.parent.parent
_LAUNCH = ROOT / "server" / "embedded" / "launch.py"
_READY = re.compile(rb"ready: http://127\.0\.0\.1:(\d+)/")
_START_SECONDS = 90.0

_SETTINGS = {
    "JWT_SECRET": SECRET,
    "INTERNAL_SERVICE_KEY": INTERNAL_KEY,
    "RATE_LIMIT_MESSAGES_PER_HOUR": "0",
    "RATE_LIMIT_CONVERSATIONS_PER_DAY": "0",
    "FREE_MODEL_RATE_LIMIT_PER_MINUTE": "0",
    "API_RATE_LIMIT_PER_15_MINUTES": "0",
    "MAX_GENERATIONS_PER_USER": "0",
    "MAX_SESSIONS_PER_USER": "0",
    "MODEL_COOLDOWN_SECONDS": "0",
    "SEAM_HOLD_SECONDS": "0.1",
    "LEASE_SECONDS": "1.5",
    "DRAIN_SECONDS": "5",
    "DB_POOL_MIN": "1",
    "DB_POOL_MAX": "6",
    "PORT": "0",
    # nobody is there, and nobody is asked: no node needs stand-ins of its own
    "AUTH_SERVICE_URL": "http://127.0.0.1:9",
    "ASSESSMENT_SERVICE_URL": "http://127.0.0.1:9",
    "ARCHIVE_SERVICE_URL": "http://127.0.0.1:9",
    "NOTIFICATION_SERVICE_URL": "http://127.0.0.1:9",
}


@dataclass
class NodeProcess:
    """One node; `name` is its NODE_ID, which its owner id begins with."""

    name: str
    process: asyncio.subprocess.Process
    port: int
    log: Path

    @property
    def ws_url(self) -> str:
        """The socket's address."""
        return f"ws://127.0.0.1:{self.port}/api/chat/ws"

    @property
    def base(self) -> str:
        """`http://host:port`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process.returncode is None

    def kill(self) -> None:
        """SIGKILL: nothing is written, nobody is told."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: a node that is there and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def drain(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.process.terminate()
        async with asyncio.timeout(60):
            return await self.process.wait()


class NodeEnded(Exception):  # noqa: N818 - what happened, named as such
    """A node ended, or was silent, while starting; with what it said."""


async def start_node(name: str, environment: Mapping[str, str], *, cwd: Path, logs: Path) -> NodeProcess:
    """A node as a process of its own, once it takes sessions.

    Raises:
        NodeEnded
    """
    log = logs / f"{name}.log"
    command = [sys.executable, "-m", "server", "run"]
    process = await launched(command, cwd=cwd, environment={**environment, "NODE_ID": name}, log=log)
    try:
        async with asyncio.timeout(_START_SECONDS):
            node = NodeProcess(name, process, await _announced(process), log)
            await _takes_sessions(node)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(error, NodeEnded | TimeoutError):
            said = log.read_text(errors="replace")[-4000:]
            raise NodeEnded(f"{name} did not start:\n{said}") from error
        raise
    return node


async def launched(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process:
    """A command that does not outlive us; what it says on standard error is added to `log`.

    It is in a session of its own: Ctrl-C is for us.
    """
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(signal.SIGTERM)), ""]
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            *launcher,
            *command,
            cwd=cwd,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )


async def _announced(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        match = _READY.match(line)
        if match is not None:
            return int(match[1])
    raise NodeEnded


async def _takes_sessions(node: NodeProcess) -> None:
    client = SseClient(node.base, None, user="nobody")

    async def ready() -> bool:
        if not node.alive:
            raise NodeEnded
        return bool((await client.rest("GET", "/health/ready")).status_code == 200)

    try:
        assert await eventually(ready, _START_SECONDS, what=f"{node.name} takes sessions")
    finally:
        await client.close()


@dataclass
class Cluster(Truth):
    """So many nodes. `settings` are environment variables.

    With `keep_ports` a node that replaces another listens where that one did, as behind a load balancer.
    """

    services: EmbeddedServices
    database: Database
    count: int = 2
    settings: dict[str, str] = field(default_factory=dict)
    keep_ports: bool = False
    nodes: list[NodeProcess] = field(default_factory=list)
    clients: list[RecordingClient | SseClient] = field(default_factory=list)
    all_started: list[NodeProcess] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="chat-cluster-")
        self.simulator = await Simulator(human_speed=False, keep_calls=50_000).__aenter__()
        assert self.services.urls.redis_url is not None
        self.redis = redis.asyncio.Redis.from_url(self.services.urls.redis_url, socket_timeout=5)
        self.nodes = list(
            await asyncio.gather(
                *(self.start(free_port() if self.keep_ports else 0) for _ in range(self.count))
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.clients:
            await client.close() if isinstance(client, SseClient) else await client.cut()
        for node in self.all_started:
            if node.alive:
                node.kill()
            await node.process.wait()
        await self.redis.aclose()
        await self.simulator.__aexit__(None, None, None)
        self._directory.cleanup()

    async def start(self, port: int = 0) -> NodeProcess:
        """Another node, once it is ready; port 0 takes a free one. It is not put into `nodes`."""
        keep = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}}
        node = await start_node(
            f"n{secrets.token_hex(4)}",
            {
                **keep,
                **_SETTINGS,
                "PORT": str(port),
                "DATABASE_URL": self.database.app_url,
                "DATABASE_ADMIN_URL": self.database.admin_url,
                "REDIS_URL": self.services.urls.redis_url or "",
                "OPENROUTER_BASE_URL": self.simulator.base_url,
                "OPENROUTER_API_KEY": self.simulator.key,
                **self.settings,
            },
            cwd=Path(self._directory.name),
            logs=Path(self._directory.name),
        )
        self.all_started.append(node)
        return node

    async def replace(self, node: NodeProcess) -> NodeProcess:
        """Start another node in the place of one that is gone."""
        other = await self.start(node.port if self.keep_ports else 0)
        self.nodes[self.nodes.index(node)] = other
        return other

    async def client(self, node: NodeProcess, user: str | None = None, **claims: Any) -> RecordingClient:
        """A WebSocket client of a node, connected."""
        user = user or new_uuid()
        client = RecordingClient(token_for(user, **claims), user=user)
        self.clients.append(client)
        await client.connect(node.ws_url)
        return client

    def sse(self, node: NodeProcess, user: str | None = None) -> SseClient:
        """An SSE client of a node, not connected."""
        user = user or new_uuid()
        client = SseClient(node.base, token_for(user), user=user)
        self.clients.append(client)
        return client

    async def owner_of(self, user: str, generation: str) -> NodeProcess:
        """The node that writes a generation now."""
        owner = await self.redis.hget(f"chat:{{{user}}}:gen:{generation}", "owner")
        name = owner.decode().split("-", 1)[0] if isinstance(owner, bytes) else ""
        return next(node for node in self.nodes if node.name == name)
