"""A private RabbitMQ from Debian's package, for the tests of events and queues."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from server.embedded.data_dir import make_private
from server.embedded.errors import EmbeddedError
from server.embedded.local_server import LocalServer
from server.embedded.ports import LOOPBACK, free_port
from server.embedded.process import Step
from tests.debian import NotInstalled, program
from tests.services import private_directory, unavailable

# The wrapper in /usr/sbin changes the user and the directory; this one does what it is told.
_BINARY = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_CONFIGURATION = """\
loopback_users = none
log.file = false
log.console = true
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
"""
_ASKED_IN_VAIN = re.compile("Channel error on connection|caused a channel exception not_found")
_ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ(LocalServer):
    """A broker with one user, `guest`. Starting takes 4 to 7 seconds, stopping one."""

    name: ClassVar[str] = "RabbitMQ"
    death_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_steps: ClassVar[Sequence[Step]] = ((signal.SIGTERM, 20.0),)
    crash_steps: ClassVar[Sequence[Step]] = ((signal.SIGKILL, 5.0),)
    may_be_root: ClassVar[bool] = True
    start_seconds: ClassVar[float] = 90.0

    def __init__(self, home: Path, binary: Path) -> None:
        super().__init__(home)
        self.name_port = free_port()
        self._binary = binary

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    async def start(self) -> None:
        make_private(self.home)
        await self._start()

    def would_keep(self, queue: str) -> bool:
        """Whether a kill now would leave the quorum queue of that name its messages.

        For up to a second after a queue was declared, the register that says which log is whose is only
        in memory. After a kill the queue then begins anew, empty and without a leader for ever, although
        what it had confirmed is on disk.
        """
        registers = self.home.glob("mnesia/*/quorum/*/names.dets")
        return any(f"_{queue}".encode() in register.read_bytes() for register in registers)

    def complaints(self) -> str:
        """The last hundred lines it wrote of what went wrong, without what clients asked in vain."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        wrong = (line for line in lines if "[error]" in line or "[warning]" in line)
        return "\n".join([line for line in wrong if not _ASKED_IN_VAIN.search(line)][-100:])

    def _command(self, port: int) -> list[str | Path]:
        (self.home / "rabbitmq.conf").write_text(_CONFIGURATION, encoding="ascii")
        (self.home / "enabled_plugins").write_text("[].", encoding="ascii")
        variables = [f"{name}={value}" for name, value in self._environment(port).items()]
        return ["/usr/bin/env", f"--chdir={self.home}", *variables, self._binary]

    def _environment(self, port: int) -> dict[str, object]:
        return {
            "HOME": self.home,
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": self.home / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.home / "enabled_plugins",
            "RABBITMQ_NODENAME": f"t{port}@localhost",
            "RABBITMQ_MNESIA_BASE": self.home / "mnesia",
            "RABBITMQ_LOG_BASE": self.home / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": self.home / "pid",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_DIST_PORT": free_port(),
            "ERL_EPMD_PORT": self.name_port,
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP": self.home / "erl_crash.dump",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        }

    async def _answers(self, port: int) -> bool:
        """Whether it greets: its port is open before it speaks."""
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            return await reader.read(1) == b"\x01"  # a method frame: connection.start
        finally:
            writer.close()


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """A broker while the block runs; skips or fails where there is none.

    It may be stopped, killed and started again meanwhile: same port, same data.
    """
    try:
        binary = program(_BINARY, package="rabbitmq-server")
    except NotInstalled as error:
        unavailable("RabbitMQ", error)
    with private_directory("rabbitmq") as directory:
        broker = RabbitMQ(directory / "broker", binary)
        try:
            try:
                asyncio.run(broker.start())
            except EmbeddedError as error:
                unavailable("RabbitMQ", error)
            yield broker
        finally:
            asyncio.run(broker.stop())
            _end_name_server(broker.name_port)


def _end_name_server(port: int) -> None:
    """End the Erlang name server the broker left behind: it makes itself a daemon."""
    for candidate in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if candidate.info["name"] == "epmd" and candidate.environ().get("ERL_EPMD_PORT") == str(port):
                candidate.kill()
