"""What a session writes through: the transport, with an eye on readers that do not read.

A send that is not taken keeps its caller waiting; nothing is queued. `stuck_since` says since when no
send has come through, so that one look a second finds readers that cannot keep up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocol.codec import encode
from protocol.frames import Frame, type_of
from server.session.cursors import Outgoing


class TransportClosed(Exception):  # noqa: N818 - a state of the world, named as one
    """The client is gone, or the transport was closed from here."""


class Transport(Protocol):
    """One client's connection, as a door offers it. All raise `TransportClosed` once it is closed."""

    async def send(self, frame: Outgoing) -> None:
        """Write a frame; waits while the client does not read."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a frame can be written without waiting."""
        ...

    def put(self, frame: Outgoing) -> None:
        """Write a frame; only while `ready`."""
        ...

    async def receive(self) -> str | bytes:
        """The next frame from the client: text as `str`, binary as `bytes`."""
        ...

    async def close(self, code: int, reason: str = "") -> None:
        """Close it. Idempotent, never raises, never waits for a client that does not read."""
        ...


class Outlet:
    """Counts and times what is sent. `now` is monotonic seconds."""

    __slots__ = ("_now", "_transport", "_waiting", "last_sent", "stuck_since")

    def __init__(self, transport: Transport, now: Callable[[], float]) -> None:
        self._transport = transport
        self._now = now
        self._waiting = 0
        self.last_sent = now()
        self.stuck_since: float | None = None

    async def send(self, outgoing: Outgoing) -> None:
        """Send one frame."""
        if self._waiting == 0:
            self.stuck_since = self._now()
        self._waiting += 1
        try:
            await self._transport.send(outgoing)
        finally:
            self._waiting -= 1
            self.last_sent = now = self._now()
            self.stuck_since = now if self._waiting else None

    @property
    def ready(self) -> bool:
        """Whether `put` may be called: the client reads, and nobody waits for it."""
        return self._waiting == 0 and self._transport.ready

    def put(self, outgoing: Outgoing) -> None:
        """Send one frame, now.

        Raises:
            TransportClosed
        """
        self._transport.put(outgoing)
        self.last_sent = self._now()

    async def tell(self, frame: Frame, position: str | None = None) -> None:
        """Encode and send a control frame."""
        await self.send(Outgoing(type_of(frame), encode(frame), position))
