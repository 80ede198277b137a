"""One connection through a `FaultProxy`: two ends, and on each way what has not been given yet."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal, cast

Way = Literal["up", "down"]
Sieve = Callable[[bytes], bytes]

_WAITING_BYTES = 65_536
"""So much waits on each way before no more is taken."""


@dataclass
class Conditions:
    """How it is on the way to `target` (see `FaultProxy`), and the connections there are."""

    target: tuple[str, int]
    random: Random
    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    idle_seconds: float | None = None
    sieve: Callable[[], Sieve] | None = None
    receive_buffer: int | None = None
    flows: bool = True
    silent: bool = False
    cuts: dict[Way, int] = field(default_factory=dict)
    links: set[Link] = field(default_factory=set)


class Side(asyncio.Protocol):
    """One end. What it hears is given to `other`, when it is due."""

    def __init__(self, link: Link, way: Way) -> None:
        self.link = link
        self.way = way
        self.other: Side
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[tuple[float, bytes | None]] = deque()
        self.held = 0
        self.carried = 0
        self.last_due = 0.0
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None
        self.full = False  # of what is to be sent to it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.link.made(self)

    def data_received(self, data: bytes) -> None:
        self.link.heard(self, data)

    def eof_received(self) -> bool:
        self.link.heard(self, None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.lost(self, exc)

    def pause_writing(self) -> None:
        self.full = True
        self.link.look()

    def resume_writing(self) -> None:
        self.full = False
        self.link.look()

    def reset(self) -> None:
        """RST."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Link:
    """A connection. `dead`: it is there, and carries nothing."""

    def __init__(self, conditions: Conditions) -> None:
        self._on = conditions
        self._loop = asyncio.get_running_loop()
        self.near, self.far = Side(self, "up"), Side(self, "down")
        self.near.other, self.far.other = self.far, self.near
        self.dead = False
        self._sieve: Sieve | None = conditions.sieve() if conditions.sieve is not None else None
        self._moved = self._loop.time()
        self._connecting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    # --- what is done to it -------------------------------------------------------------------------

    def reset(self) -> None:
        """RST to both ends."""
        self._forget()
        self.near.reset()
        self.far.reset()

    def hang_up(self) -> None:
        """FIN to both ends."""
        self._forget()
        for side in (self.near, self.far):
            if side.transport is not None:
                side.transport.close()

    def look(self) -> None:
        """Give what is due, and take as long as there is room."""
        for side in (self.near, self.far):
            self._give(side)

    # --- what its ends hear -------------------------------------------------------------------------

    def made(self, side: Side) -> None:
        """An end is there."""
        if side is self.near:
            self._watch_idle()
            if self._on.silent:
                self.dead = True
            else:
                self._connecting = self._loop.create_task(self._reach())
        self.look()

    def heard(self, side: Side, data: bytes | None) -> None:
        """It brought bytes, or its end."""
        if self.dead:
            return
        self._moved = now = self._loop.time()
        on = self._on
        if data is not None and side is self.far and self._sieve is not None:
            data = self._sieve(data)
        size = len(data) if data is not None else 0
        due = max(side.last_due, now + on.latency + on.random.random() * on.jitter)
        if on.bandwidth is not None:
            due += size / on.bandwidth
        side.last_due = due
        side.waiting.append((due, data))
        side.held += size
        self._give(side)

    def lost(self, side: Side, error: Exception | None) -> None:
        """It is gone."""
        side.transport = None
        if self.dead:
            # the other end is still there, and is told nothing
            if side.other.transport is None:
                self._forget()
            return
        if error is not None:
            self.reset()
        elif side.other.transport is not None and not side.ended:
            # it closed: what it said before is still to be given
            self.heard(side, None)
        if self.near.transport is None:
            self._forget()

    # --- parts ----------------------------------------------------------------------------------------

    async def _reach(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            if self._on.receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._on.receive_buffer)
            await self._loop.sock_connect(sock, self._on.target)
            await self._loop.create_connection(lambda: self.far, sock=sock)
        except OSError:
            self.reset()
        finally:
            if self.far.transport is None:
                sock.close()

    def _give(self, side: Side) -> None:
        """Give what `side` heard to the other end, as far as it is due; then take more, or not."""
        on, target = self._on, side.other.transport
        while side.waiting and self._may_give(side) and side.waiting[0][0] <= self._loop.time():
            assert target is not None
            _, data = side.waiting.popleft()
            if data is None:
                self._end(side, target)
                continue
            side.held -= len(data)
            if self._cuts(side, data, target):
                return
            side.carried += len(data)
            target.write(data)
        self._schedule(side)
        if side.transport is not None and not side.transport.is_closing() and not side.ended:
            takes = self.dead or (on.flows and target is not None and side.held < _WAITING_BYTES)
            if takes and not side.transport.is_reading():
                side.transport.resume_reading()
            elif not takes and side.transport.is_reading():
                side.transport.pause_reading()

    def _end(self, side: Side, target: asyncio.Transport) -> None:
        side.ended = True
        if side.other.ended or side.transport is None:
            target.close()
            if side.transport is not None:
                side.transport.close()
        else:
            target.write_eof()

    def _cuts(self, side: Side, data: bytes, target: asyncio.Transport) -> bool:
        at = self._on.cuts.get(side.way)
        if at is None or not side.carried <= at <= side.carried + len(data):
            return False
        del self._on.cuts[side.way]
        rest = at - side.carried
        side.carried = at
        if rest:
            target.write(data[:rest])
        self._forget()
        # the other end is to have what came before: an end to it, and a reset to the one that goes on talking
        target.close()
        side.reset()
        return True

    def _schedule(self, side: Side) -> None:
        if side.timer is not None:
            side.timer.cancel()
            side.timer = None
        if side.waiting and self._may_give(side):
            side.timer = self._loop.call_at(side.waiting[0][0], self._give, side)

    def _may_give(self, side: Side) -> bool:
        target = side.other.transport
        ready = target is not None and not target.is_closing() and not side.other.full
        return ready and self._on.flows and not self.dead

    def _watch_idle(self) -> None:
        if self.near.transport is None:
            return
        limit = self._on.idle_seconds
        if limit is not None and self._loop.time() - self._moved >= limit:
            self.hang_up()
            return
        self._idle = self._loop.call_later(0.25 if limit is None else limit / 10, self._watch_idle)

    def _forget(self) -> None:
        self._on.links.discard(self)
        if self._connecting is not None and self.far.transport is None:
            self._connecting.cancel()
        for timer in (self.near.timer, self.far.timer, self._idle):
            if timer is not None:
                timer.cancel()
        for side in (self.near, self.far):
            side.waiting.clear()
            side.held = 0
