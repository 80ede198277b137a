"""What PostgreSQL and Valkey have in common: started on a free port of loopback, stopped, started again."""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from server.embedded import ports
from server.embedded.errors import PortTaken, StartFailed
from server.embedded.process import Process, Step, end_leftover

_PROBE_EVERY_SECONDS = 0.01
_PROBE_SECONDS = 5.0
_STRANGER_SECONDS = 1.0
_PORT_TRIES = 10
_PORT_RETRY_SECONDS = 0.3


class LocalServer(ABC):
    """A server with its data in `home`. One caller at a time starts and stops it.

    The first start chooses a port; later ones come back on it, as a restarted server of the real world
    does. The files beside `home` are its log and, while it runs, its pid.
    """

    name: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    stop_steps: ClassVar[Sequence[Step]]
    crash_steps: ClassVar[Sequence[Step]]
    may_be_root: ClassVar[bool]
    start_seconds: ClassVar[float] = 30.0

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port: int | None = None
        self._log = home.with_name(f"{home.name}.log")
        self._pid_file = home.with_name(f"{home.name}.pid")
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether its process is there (stopped by `pause` or not)."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            RuntimeError: it was never started, or is stopped.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    async def stop(self) -> None:
        """Stop it in good order; nothing where it does not run."""
        await self._end(self.stop_steps)

    async def kill(self) -> None:
        """End it as a crash would: nothing is written, nobody is told."""
        await self._end(self.crash_steps)

    async def _end(self, steps: Sequence[Step]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        await process.end(steps)
        self._pid_file.unlink(missing_ok=True)

    async def _start(self) -> None:
        """Run it and wait until it answers.

        Raises:
            StartFailed: it ended, or was silent for too long.
        """
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        await end_leftover(self._pid_file, self.home, self.stop_steps)
        again = self.port is not None
        for tries_left in reversed(range(_PORT_TRIES)):
            self.port = self.port or ports.free_port()
            try:
                await self._start_once(self.port)
            except PortTaken:
                if not tries_left:
                    raise
                # Clients hold the address of a server that was here before, so it waits for its port.
                if again:
                    await asyncio.sleep(_PORT_RETRY_SECONDS)
                else:
                    self.port = None
            else:
                return

    async def _start_once(self, port: int) -> None:
        process = Process(
            self._command(port),
            log=self._log,
            death_signal=self.death_signal,
            home=None if self.may_be_root else self.home,
        )
        try:
            self._pid_file.write_text(f"{process.pid}\n", encoding="ascii")
            await self._answering(process, port)
        except BaseException:
            await process.end(self.crash_steps)
            self._pid_file.unlink(missing_ok=True)
            raise
        self._process = process

    async def _answering(self, process: Process, port: int) -> None:
        deadline = time.monotonic() + self.start_seconds
        while True:
            if not process.running:
                said = process.output()
                kind = PortTaken if "Address already in use" in said else StartFailed
                raise kind(f"{self.name} ended while starting (exit code {process.exit_code}):\n{said}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} was silent for {self.start_seconds:.0f} s:\n{process.output()}",
                )
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    if await self._answers(port):
                        return
            except StartFailed:
                # It may be a stranger who took the port first; then our server is about to say so and end.
                if not await process.ended(_STRANGER_SECONDS):
                    raise
            except (OSError, TimeoutError):
                pass  # nobody listens yet
            await asyncio.sleep(_PROBE_EVERY_SECONDS)

    @abstractmethod
    def _command(self, port: int) -> list[str | Path]:
        """The server's command line; it names `home`, by which a leftover is known."""

    @abstractmethod
    async def _answers(self, port: int) -> bool:
        """Whether our server serves there: False for not yet, OSError for nobody there.

        Raises:
            StartFailed: somebody serves there and will never serve us.
        """
