"""A reader over HTTP: the same pump as a socket's, written as server-sent events.

The pump pushes, the response pulls; between them lies one frame, so a client that does not read holds up
its own pump and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from protocol.codec import encode
from protocol.codes import ErrorCode
from protocol.frames import AuthExpiring, Drain, Frame, Heartbeat, type_of
from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.gateway.front import Front
from server.gateway.http import EXTENSION, Http
from server.session.cursors import Outgoing
from server.session.machine import error_frame
from server.session.outlet import Outlet, TransportClosed

_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_ANNOUNCE_SECONDS = 60.0
_TOO_SLOW = "The stream was not read for too long; connect again."

log = logging.getLogger(__name__)


def encode_event(frame: Outgoing) -> bytes:
    """One frame as a server-sent event. JSON has no raw line breaks, so `data` is one line."""
    identity = f"\nid: {frame.position}" if frame.position else ""
    return f"event: {frame.kind}{identity}\ndata: ".encode() + frame.body + b"\n\n"


class StreamTransport:
    """Hands frames from a pump to a response, one at a time."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[Outgoing | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)
        self._closed = False

    async def send(self, frame: Outgoing) -> None:
        """Give a frame; waits until the one before it was taken."""
        if not self._closed:
            await self._room.acquire()
        if self._closed:
            self._room.release()  # for whoever else waits
            raise TransportClosed
        self._frames.put_nowait(frame)

    ready = False
    """A response takes its frames when it comes round to it."""

    def put(self, frame: Outgoing) -> None:  # noqa: ARG002 - the port's signature
        """Nothing can be written without waiting."""
        raise RuntimeError("a response is never ready")

    async def receive(self) -> str | bytes:
        """An event stream brings nothing from the client."""
        raise TransportClosed

    async def close(self, code: int, reason: str = "") -> None:  # noqa: ARG002 - the port's signature
        """End the response after what was given, whenever the client reads that; nobody waits for it."""
        if not self._closed:
            self._closed = True
            self._frames.put_nowait(None)

    def abandon(self) -> None:
        """The client is gone."""
        self._closed = True
        while not self._frames.empty():
            self._frames.get_nowait()
        self._room.release()

    async def frames(self) -> AsyncGenerator[Outgoing, None]:
        """What was given, until closed."""
        while True:
            frame = await self._frames.get()
            if frame is None:
                return
            self._room.release()
            yield frame


class _StreamResponse(EventSourceResponse):
    """A response that gives back what it held, also where it never began."""

    def __init__(self, *args: Any, release: Callable[[], Awaitable[None]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the frames or the client end, or until the client has not read for too long."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("a reader of a stream cannot keep up")
            connection: Http | None = scope.get("extensions", {}).get(EXTENSION)
            if connection is not None:
                frame = error_frame(ErrorCode.UNAVAILABLE, _TOO_SLOW)
                connection.end_stream(encode_event(Outgoing(type_of(frame), encode(frame))))
        finally:
            await self._release()


class EventStream:
    """One event stream's life: the registry ticks it, the response drives it."""

    def __init__(self, front: Front, principal: Principal) -> None:
        self._front = front
        self._principal = principal
        self.transport = StreamTransport()
        self.outlet = Outlet(self.transport, front.desk.now)
        self._begun = False
        self._announced = False
        self._gaps = front.desk.hub.gaps
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    # --- the registry's calls -----------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """Look at the clocks."""
        limits = self._front.desk.limits
        left = self._principal.expires_at - wall
        if left <= -limits.auth_grace_seconds:
            self.end_with(error_frame(ErrorCode.TOKEN_EXPIRED, "The token has expired."))
        elif not self._begun:
            return  # `welcome` comes first
        elif left <= _ANNOUNCE_SECONDS and not self._announced:
            self._announced = True
            self.start(self.outlet.tell(AuthExpiring(expires_in_ms=max(0, int(left * 1000)))))
        elif now - self.outlet.last_sent >= limits.heartbeat_seconds and self.outlet.stuck_since is None:
            self.start(self.outlet.tell(Heartbeat()))
        gaps = self._front.desk.hub.gaps
        if self._gaps != gaps and self._front.desk.sessions.may_ask():
            # a revocation may have been told while nobody listened
            self._gaps = gaps
            self.start(self._look_whether_revoked())

    def drain(self, reconnect_in_ms: int, reason: str) -> None:
        """Send the client elsewhere at its time: text goes on until then, the farewell is the last frame."""
        self.start(self._drain(reconnect_in_ms / 1000, reason))

    async def _drain(self, seconds: float, reason: str) -> None:
        await asyncio.sleep(seconds)
        self.end_with(Drain(reconnect_in_ms=0, reason=reason))

    def revoked(self) -> None:
        """The user's tokens are void."""
        self.end_with(error_frame(ErrorCode.FORBIDDEN, "The token was revoked."))

    def replaced(self) -> None:
        """Another session has taken this one's place."""
        self.end_with(Drain(reconnect_in_ms=0, reason="replaced"))

    async def _look_whether_revoked(self) -> None:
        try:
            revoked = await self._front.desk.is_revoked(self._principal)
        except BrokerUnavailable:
            self._gaps = -1  # asked again at the next look
            return
        if revoked:
            self.revoked()

    def end_with(self, frame: Frame) -> None:
        """Send a last frame and end."""
        if not self._ending:
            self._ending = True
            self.start(self._end(frame))

    async def _end(self, frame: Frame) -> None:
        await self.outlet.tell(frame)
        await self.transport.close(0)

    # --- the response -------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the stream lives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failed = not task.cancelled() and task.exception() is not None
        if failed and not isinstance(task.exception(), TransportClosed):
            code = (
                ErrorCode.UNAVAILABLE
                if isinstance(task.exception(), BrokerUnavailable)
                else ErrorCode.INTERNAL
            )
            self.end_with(error_frame(code, "The stream cannot go on; connect again."))

    def response(
        self,
        work: Callable[[], Awaitable[None]],
        release: Callable[[], Awaitable[None]],
        *,
        retry: bool = False,
    ) -> EventSourceResponse:
        """The response that `work` fills, and ends by returning; `release` is called when all is over."""
        limits = self._front.limits
        return _StreamResponse(
            self._body(work, retry=retry),
            release=release,
            headers=_HEADERS,
            ping=max(1, int(limits.sse_ping_seconds)),
            sep="\n",
            send_timeout=limits.slow_reader_seconds,
        )

    async def _body(self, work: Callable[[], Awaitable[None]], *, retry: bool) -> AsyncGenerator[bytes, None]:
        self._front.desk.sessions.add(self)
        self.start(self._fill(work))
        try:
            if retry:
                # jittered, so that a node's clients do not come back together
                yield f"retry: {random.randint(2000, 5000)}\n\n".encode()  # noqa: S311
            async for frame in self.transport.frames():
                yield encode_event(frame)
        finally:
            self._front.desk.sessions.remove(self)
            self.transport.abandon()
            for task in tuple(self._tasks):
                task.cancel()

    async def _fill(self, work: Callable[[], Awaitable[None]]) -> None:
        # asked when revocations are already listened to, so that none falls between
        if await self._front.desk.is_revoked(self._principal):
            self.revoked()
            return
        self._begun = True
        await work()
        await self.transport.close(0)
