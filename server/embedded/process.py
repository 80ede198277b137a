"""A child process that ends with the one that started it, in a session of its own.

Loop-independent on purpose: a process started in one event loop can be stopped in another, or without
any. On Linux the kernel signals the child when the *thread* that forked it ends, so children are
started from the main thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_SECONDS = 0.01
_REAP_SECONDS = 5.0
_LOG_LIMIT_BYTES = 4 * 1024 * 1024
_TAIL_BYTES = 3000
# A server must not find PGPORT, LD_PRELOAD or a locale of the terminal it happens to be started from.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# Some builds of Python, which runs the launcher, find their own library only by this.
_PASSED_ON = ("LD_LIBRARY_PATH",)

Step = tuple[signal.Signals, float]
"""A signal, and the seconds it is given to work before the next one is tried."""


class Process:
    """A running child.

    Args:
        command: The binary's absolute path, then its arguments.
        log: Its output is added there.
        death_signal: What the kernel sends it when its starter is gone.
        home: Where given, it is no root, and owns this directory.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        death_signal: signal.Signals,
        home: Path | None = None,
    ) -> None:
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".old.log"))
        log.touch(mode=0o600)
        self._log = log
        with log.open("ab") as output:
            self._log_start = output.tell()
            starter = (str(os.getpid()), str(int(death_signal)), home or "")
            self._popen = subprocess.Popen(  # noqa: S603 - our own binaries, no shell
                [sys.executable, "-I", "-S", _LAUNCH, *starter, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_ENVIRONMENT | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                cwd="/",
                # Ctrl-C in the terminal reaches the foreground group only: the server drains first.
                start_new_session=True,
                umask=0o077,
            )

    @property
    def pid(self) -> int:
        """The process id, also of the command: the launcher executes it in its place."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended. SIGKILL goes to its children too, since it cannot tell them."""
        if number is not signal.SIGKILL:
            self._popen.send_signal(number)
        elif self.running:
            os.killpg(self._popen.pid, number)

    async def ended(self, seconds: float) -> bool:
        """Wait that long for its end; whether it came."""
        deadline = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def end(self, steps: Sequence[Step]) -> None:
        """Signal by signal until it has ended; SIGKILL is the last, also when this is cancelled."""
        try:
            for number, seconds in steps:
                self.send(number)
                self.send(signal.SIGCONT)  # a stopped process keeps signals for later
                if await self.ended(seconds):
                    return
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and reap. Blocks for the moment that takes."""
        self.send(signal.SIGKILL)
        self._popen.wait(_REAP_SECONDS)

    def output(self) -> str:
        """The end of what it has written so far."""
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()


async def end_leftover(pid_file: Path, home: Path, steps: Sequence[Step]) -> None:
    """End a server that outlived its starter, and wait until it is gone.

    Where the system signals no orphans (macOS), or right after a SIGKILL of the starter, the last server
    of a data directory may still run. A pid alone proves nothing, since pids come round again: the
    process is ours if its command line names `home`, and only the holder of the directory asks.
    """
    pid = recorded_pid(pid_file)
    if pid is None:
        return
    for number, seconds in (*steps, (signal.SIGKILL, _REAP_SECONDS)):
        if not names_directory(pid, home):
            return
        _signal(pid, number)
        _signal(pid, signal.SIGCONT)
        deadline = time.monotonic() + seconds
        while names_directory(pid, home) and time.monotonic() < deadline:  # noqa: ASYNC110 - not our child
            await asyncio.sleep(_POLL_SECONDS)


def recorded_pid(pid_file: Path) -> int | None:
    """The pid in the first line of the file; None where there is neither."""
    try:
        first = pid_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except FileNotFoundError:
        return None
    return int(first) if first.isdigit() else None


def names_directory(pid: int, directory: Path) -> bool:
    """Whether that process is alive and its command line names something in the directory."""
    return f"{directory}/" in _command_line(pid)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _command_line(pid: int) -> str:
    """The arguments of a process, separated by spaces; empty where there is none (or it is a zombie)."""
    if sys.platform == "linux":
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return ""
        return raw.replace(b"\0", b" ").decode(errors="replace")
    else:  # noqa: RET505 - the type checker reads one branch per platform
        listing = subprocess.run(  # noqa: S603 - fixed words and a number
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            check=False,
            timeout=_REAP_SECONDS,
            text=True,
        )
        return listing.stdout
