"""Idle sockets: what a session costs that says nothing.

python -m loadtest.sessions --sessions 2000 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from dataclasses import dataclass

import uvloop

from loadtest import processes
from loadtest.clients import close_sessions, open_sessions
from loadtest.figures import table
from loadtest.processes import Target

_SETTLE_SECONDS = 2.0
_WARM_SESSIONS = 50


@dataclass(frozen=True)
class SessionFigures:
    """Of the process: `kib` resident a session, `open_us` of CPU to open one, `share` of a core when idle."""

    name: str
    sessions: int
    kib: float
    open_us: float
    share: float


async def measure_sessions(target: Target, *, sessions: int, seconds: float) -> SessionFigures:
    """Open so many, wait, and look.

    The first few are opened and closed before anything is measured, so that what a server sets up once is not
    counted with the sessions.
    """
    close_sessions(await open_sessions(target, _WARM_SESSIONS))
    await asyncio.sleep(_SETTLE_SECONDS)
    memory, cpu = processes.resident_bytes(target.pid), processes.cpu_seconds(target.pid)
    opened = await open_sessions(target, sessions)
    await asyncio.sleep(_SETTLE_SECONDS)
    open_us = (processes.cpu_seconds(target.pid) - cpu) * 1e6 / sessions
    kib = (processes.resident_bytes(target.pid) - memory) / 1024 / sessions
    began, cpu = time.monotonic(), processes.cpu_seconds(target.pid)
    await asyncio.sleep(seconds)
    share = (processes.cpu_seconds(target.pid) - cpu) / (time.monotonic() - began)
    lost = sum(session.wrong is not None for session in opened)
    close_sessions(opened)
    if lost:
        raise RuntimeError(f"{lost} of {sessions} idle sessions were closed by {target.name}")
    return SessionFigures(target.name, sessions, kib, open_us, share)


def report(figures: list[SessionFigures]) -> str:
    """The figures side by side."""
    head = ["idle", "sessions", "KiB/session", "MiB in all", "CPU µs/open", "% of a core idle"]
    rows = [
        [
            f.name,
            str(f.sessions),
            f"{f.kib:.1f}",
            f"{f.kib * f.sessions / 1024:.0f}",
            f"{f.open_us:.0f}",
            f"{f.share * 100:.1f}",
        ]
        for f in figures
    ]
    return table(head, rows)


def main() -> None:
    """Measure the relay and the server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30, help="how long they stay idle")
    parser.add_argument("--only", choices=["relay", "server"])
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server"
    )
    arguments = parser.parse_args()
    processes.raise_file_limit()
    figures = []
    with processes.load_upstream(rate=20) as upstream:
        for name in ("relay", "server"):
            if arguments.only in {None, name}:
                with contextlib.ExitStack() as stack:
                    target = stack.enter_context(
                        processes.relay(upstream)
                        if name == "relay"
                        else processes.chat_server(upstream, dict(s.split("=", 1) for s in arguments.set))
                    )
                    measured = measure_sessions(
                        target, sessions=arguments.sessions, seconds=arguments.seconds
                    )
                    figures.append(uvloop.run(measured))
    print(report(figures))


if __name__ == "__main__":
    main()
