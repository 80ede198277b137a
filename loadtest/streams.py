"""One measured run: so many streams at once, and what they cost the process between."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from loadtest.clients import DirectStream, Session, close_sessions, open_sessions
from loadtest.processes import Target, cpu_seconds, cpu_seconds_below

_SPREAD_SECONDS = 2.0


@dataclass
class StreamFigures:
    """What one run showed. Times in microseconds unless named otherwise; CPU in seconds.

    `all_*` is the whole run, from the first send to the last end; `steady_*` the part in which every stream
    was running, which leaves the cost of accepting and ending out.
    """

    name: str
    first_us: list[int] = field(default_factory=list)
    late_us: list[int] = field(default_factory=list)
    accept_us: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    tokens: int = 0
    deltas: int = 0
    all_cpu: float = 0.0
    below_cpu: float = 0.0
    wall: float = 0.0
    steady_tokens: int = 0
    steady_cpu: float = 0.0
    steady_wall: float = 0.0

    def cpu_us_per_token(self) -> float:
        """All in: accepting, streaming, ending."""
        return self.all_cpu * 1e6 / self.tokens if self.tokens else float("nan")

    def steady_us_per_token(self) -> float:
        """Streaming alone; `nan` where the run was too short to have such a part."""
        return self.steady_cpu * 1e6 / self.steady_tokens if self.steady_tokens else float("nan")


async def measure_streams(target: Target, upstream: str, *, streams: int, tokens: int) -> StreamFigures:
    """Run so many streams of so many tokens through a server.

    Args:
        target: The server.
        upstream: The load upstream's base URL, for its side of the accept time.
        streams: Users, each with one socket and one answer.
        tokens: Length of each answer.
    """
    figures = StreamFigures(target.name)
    sessions = await open_sessions(target, streams)
    await _accept_times(upstream)  # forget those of an earlier run
    with _undisturbed():
        began, cpu, below = time.monotonic(), cpu_seconds(target.pid), cpu_seconds_below(target.pid)
        for session in sessions:
            session.ask(tokens)
            await asyncio.sleep(_SPREAD_SECONDS / streams)
        await asyncio.wait([session.started for session in sessions])
        steady = (time.monotonic(), cpu_seconds(target.pid), _count(sessions))
        await asyncio.wait([s.done for s in sessions], return_when=asyncio.FIRST_COMPLETED)
        figures.steady_wall = time.monotonic() - steady[0]
        figures.steady_cpu = cpu_seconds(target.pid) - steady[1]
        figures.steady_tokens = _count(sessions) - steady[2]
        await asyncio.wait([session.done for session in sessions])
        figures.wall = time.monotonic() - began
        figures.all_cpu = cpu_seconds(target.pid) - cpu
        figures.below_cpu = cpu_seconds_below(target.pid) - below
    figures.accept_us = await _accept_times(upstream)
    figures.tokens = _count(sessions)
    figures.deltas = sum(session.deltas for session in sessions)
    for session in sessions:
        figures.first_us += [] if session.first_us is None else [session.first_us]
        figures.late_us += session.late_us
        figures.wrong += [] if session.wrong is None else [session.wrong]
    close_sessions(sessions)
    return figures


async def measure_direct(upstream: str, *, streams: int, tokens: int) -> StreamFigures:
    """The same streams without a server between: what the two clocks and the machine alone take."""
    figures = StreamFigures("direct")
    address = urlsplit(upstream)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    loop = asyncio.get_running_loop()
    asked: list[DirectStream] = []
    with _undisturbed():
        began = time.monotonic()
        for _ in range(streams):
            _, stream = await loop.create_connection(
                lambda: DirectStream(f"{address.path}/chat/completions", tokens),
                host,
                port,
            )
            asked.append(stream)
            await asyncio.sleep(_SPREAD_SECONDS / streams)
        await asyncio.wait([stream.done for stream in asked])
        figures.wall = time.monotonic() - began
    figures.accept_us = await _accept_times(upstream)
    for stream in asked:
        stream.transport.abort()
        figures.first_us += [] if stream.first_us is None else [stream.first_us]
        figures.late_us += stream.late_us
    figures.tokens = figures.deltas = len(figures.late_us)
    return figures


def _count(sessions: Sequence[Session]) -> int:
    return sum(session.stamps.count for session in sessions)


async def _accept_times(upstream: str) -> list[int]:
    address = urlsplit(upstream)
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        stats = (await client.get(f"http://{address.netloc}/stats")).json()
    times: list[int] = stats["accepted_us"]
    return times


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No pause of the client's own garbage collector in the figures."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
