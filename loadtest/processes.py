"""Starting what is measured, and reading from /proc what it costs."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parent.parent
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """A server under test. `secret` signs tokens for it; empty: it asks for none."""

    name: str
    host: str
    port: int
    pid: int
    secret: str = ""
    path: str = "/api/chat/ws"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Allow as many open files as the system does; the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_seconds(pid: int) -> float:
    """User and system time of this process alone, all threads, no children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


def cpu_seconds_below(pid: int) -> float:
    """User and system time of everything this process started that still runs."""
    total = 0.0
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            total += cpu_seconds(child.pid)
    return total


def resident_bytes(pid: int) -> int:
    """Memory of this process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} shows no VmRSS")


@contextlib.contextmanager
def running(
    command: list[str], *, ready: str, within: float, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers 200 at `ready` within so many seconds; stopped at the end.

    Raises:
        RuntimeError: it ended or did not become ready; with what it said.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=said, stderr=said
        )
        try:
            _wait_ready(process, ready, within, said)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(process: subprocess.Popen[bytes], url: str, within: float, said: IO[bytes]) -> None:
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            raise RuntimeError(
                f"{process.args!r} is not ready:\n{said.read().decode(errors='replace')[-4000:]}"
            )
        time.sleep(0.05)


@contextlib.contextmanager
def load_upstream(rate: float) -> Iterator[str]:
    """The model; its base URL."""
    port = free_port()
    command = [sys.executable, "-m", "loadtest.upstream", "--port", str(port), "--rate", str(rate)]
    base = f"http://127.0.0.1:{port}"
    with running(command, ready=f"{base}/api/v1/models", within=20):
        yield f"{base}/api/v1"


@contextlib.contextmanager
def relay(upstream: str) -> Iterator[Target]:
    """The yardstick."""
    port = free_port()
    command = [sys.executable, "-m", "loadtest.relay", "--port", str(port), "--upstream", upstream]
    with running(command, ready=f"http://127.0.0.1:{port}/health/ready", within=20) as process:
        yield Target("relay", "127.0.0.1", port, process.pid)


@contextlib.contextmanager
def chat_server(upstream: str, settings: Mapping[str, str]) -> Iterator[Target]:
    """One node on a fresh data directory, with everything it embeds, limits off.

    `settings` are more environment variables, `DATABASE_URL` and `REDIS_URL` for instance.
    """
    port, secret = free_port(), secrets.token_hex(32)
    off = dict.fromkeys(
        (
            "RATE_LIMIT_MESSAGES_PER_HOUR",
            "RATE_LIMIT_CONVERSATIONS_PER_DAY",
            "FREE_MODEL_RATE_LIMIT_PER_MINUTE",
            "API_RATE_LIMIT_PER_15_MINUTES",
            "MAX_SESSIONS_PER_USER",
            "MAX_GENERATIONS_PER_USER",
        ),
        "0",
    )
    with tempfile.TemporaryDirectory(prefix="chat-load-") as data:
        env = {
            **off,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "EMBEDDED_DATA_DIR": data,
            "JWT_SECRET": secret,
            "OPENROUTER_BASE_URL": upstream,
            "OPENROUTER_API_KEY": "load",
            "LOG_LEVEL": "warning",
            **settings,
        }
        command = [sys.executable, "-m", "server", "run"]
        ready = f"http://127.0.0.1:{port}/health/ready"
        with running(command, ready=ready, within=90, env=env) as process:
            yield Target("server", "127.0.0.1", port, process.pid, env["JWT_SECRET"])
