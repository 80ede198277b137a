"""HAProxy in front of the nodes, with the configuration of `compose.yaml`: what is deployed is what is tested.

Only its addresses are others: where it listens, and the nodes' ports instead of Docker's names.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from server.embedded.data_dir import make_private
from server.embedded.errors import StartFailed
from server.embedded.local_server import LocalServer
from server.embedded.ports import LOOPBACK
from server.embedded.process import Step
from tests.debian import program

_COMPOSE = Path(__file__).parent.parent.parent / "compose.yaml"
_BIND = "    bind :3006\n"
_NODES = "    server-template node 1-16 chat:3006 resolvers engine init-addr none\n"

TRUSTED = f"{LOOPBACK}/32"
"""What the nodes behind it must take for TRUSTED_PROXIES."""


def haproxy() -> Path:
    """The program; as root it is installed where it is missing.

    Raises:
        tests.debian.NotInstalled
    """
    found = shutil.which("haproxy")
    return Path(found) if found else program("/usr/sbin/haproxy", package="haproxy")


def deployed_configuration() -> str:
    """The balancer's configuration as Compose writes it into the container."""
    compose: dict[str, Any] = yaml.safe_load(_COMPOSE.read_text(encoding="utf-8"))
    content: str = compose["configs"]["balancer"]["content"]
    return content.replace("$$", "$")


def local_configuration(address: str, port: int, nodes: Sequence[int], monitor: str) -> str:
    """The same for nodes on these ports of loopback; `monitor` is a path it answers by itself."""
    text = deployed_configuration()
    servers = "".join(f"    server node{n} {LOOPBACK}:{node}\n" for n, node in enumerate(nodes, 1))
    for mine, other in (
        (_BIND, f"    bind {address}:{port}\n    monitor-uri {monitor}\n"),
        (_NODES, servers),
    ):
        assert text.count(mine) == 1, f"compose.yaml has no line {mine!r} any more"
        text = text.replace(mine, other)
    return text


class Balancer(LocalServer):
    """In front of nodes that listen on `nodes`, ports of loopback; `port` may be set before the start."""

    name: ClassVar[str] = "HAProxy"
    death_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_steps: ClassVar[Sequence[Step]] = ((signal.SIGTERM, 5.0),)
    crash_steps: ClassVar[Sequence[Step]] = ((signal.SIGKILL, 5.0),)
    may_be_root: ClassVar[bool] = True

    def __init__(self, home: Path, binary: Path, nodes: Sequence[int], *, address: str = LOOPBACK) -> None:
        super().__init__(home)
        self._binary = binary
        self._nodes = nodes
        self._address = address
        # nobody else answers there, so whoever does is ours
        self._monitor = f"/balancer-{secrets.token_hex(8)}"

    @property
    def base(self) -> str:
        """`http://host:port`."""
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Run it; it takes its nodes for well until it has asked them.

        Raises:
            EmbeddedError: it does not start.
        """
        make_private(self.home)
        await self._start()

    def _command(self, port: int) -> list[str | Path]:
        configuration = self.home / "haproxy.cfg"
        text = local_configuration(self._address, port, self._nodes, self._monitor)
        configuration.write_text(text, encoding="ascii")
        return [self._binary, "-db", "-f", configuration]

    async def _answers(self, port: int) -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {self._monitor} HTTP/1.0\r\n\r\n".encode())
            status = (await reader.readline()).split(b" ")[1:2]
        finally:
            writer.close()
        if status != [b"200"]:
            raise StartFailed(f"another server answers at port {port}")
        return True
