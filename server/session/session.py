"""One client's session: who it is, what it asks, what it gets.

Three things run: the door's task reads frames and obeys the machine; the pump writes what the channel has;
commands that wait for the database run beside them, a few at a time, so that a ping or a stop is never
behind a slow send. The session ends when any of them finds the client gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Command, Drain, Hello, Welcome
from server.channels.broker import BrokerUnavailable
from server.channels.channel import Channel
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.session import commands
from server.session.desk import Desk
from server.session.machine import Action, Close, Execute, SessionMachine, Tell, error_frame, token_time
from server.session.outlet import Outlet, Transport, TransportClosed
from server.session.pump import Pump
from server.session.resume import continue_from

log = logging.getLogger(__name__)

_WAITING_COMMANDS = 8


class Session:
    """A client's session over a transport that can receive.

    `principal` is whom the upgrade request already authenticated, if it did.
    """

    def __init__(self, transport: Transport, desk: Desk, *, principal: Principal | None = None) -> None:
        self.id = desk.new_id()
        self.desk = desk
        self.principal = principal
        self.outlet = Outlet(transport, desk.now)
        self.machine = SessionMachine(desk.limits, desk.now(), heartbeat_jitter=random.uniform(-1, 1))  # noqa: S311
        self.pump: Pump | None = None
        self.channel: Channel | None = None
        self._transport = transport
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_WAITING_COMMANDS)
        self._reading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client until it is gone. Never raises but on cancellation."""
        self.desk.sessions.add(self)
        self._reading = asyncio.current_task()
        try:
            while True:
                raw = await self._transport.receive()
                for action in self.machine.receive(raw, self.desk.now(), self.desk.wall()):
                    await self._act(action)
        except TransportClosed:
            pass
        except Exception:
            log.exception("session failed", extra={"session": self.id})
            await self._transport.close(CloseCode.INTERNAL)
        finally:
            await self._leave()

    # --- the registry's calls -----------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """Look at the clocks."""
        actions = self.machine.tick(
            now, wall, last_sent=self.outlet.last_sent, stuck_since=self.outlet.stuck_since
        )
        for action in actions:
            self._start(self._act(action))

    def drain(self, reconnect_in_ms: int, reason: str) -> None:
        """Send the client elsewhere."""
        self._start(self._drain(reconnect_in_ms, reason))

    async def _drain(self, reconnect_in_ms: int, reason: str) -> None:
        await self.outlet.tell(Drain(reconnect_in_ms=reconnect_in_ms, reason=reason))
        await asyncio.sleep(reconnect_in_ms / 1000)
        await self.close(CloseCode.NODE_RESTARTS)

    # --- what commands call -------------------------------------------------------------------

    async def close(self, code: CloseCode) -> None:
        """End the session."""
        self.machine.close()
        await self._transport.close(code)

    def extend(self, principal: Principal) -> None:
        """A newer token of the same user."""
        self.principal = principal
        self.machine.extended(principal.expires_at)

    # --- acting -------------------------------------------------------------------------------

    async def _act(self, action: Action) -> None:
        match action:
            case Execute(command=Hello() as hello):
                await self._hello(hello)
            case Execute(command=command):
                await self._execute(command)
            case Tell(frame=frame):
                await self.outlet.tell(frame)
            case Close(code=code):
                self.desk.observe("close", {"code": str(int(code))}, 1.0)
                await self._transport.close(code)

    async def _execute(self, command: Command) -> None:
        if not commands.waits(command):
            await commands.execute(self, command)
            return
        await self._room.acquire()
        self._start(self._beside(command))

    async def _beside(self, command: Command) -> None:
        try:
            await commands.execute(self, command)
        finally:
            self._room.release()

    async def _hello(self, hello: Hello) -> None:
        principal = await self._authenticate(hello)
        if principal is None:
            return
        resume = hello.resume
        try:
            place = await self.desk.presence.take(
                principal.user,
                self.id,
                limit=self.desk.announced.max_sessions,
                replaces=resume.session if resume else None,
            )
            if not place.granted:
                await self.close(CloseCode.TOO_MANY_SESSIONS)
                return
            self.principal = principal
            await self._open(hello, principal)
        except BrokerUnavailable:
            refusal = error_frame(
                ErrorCode.UNAVAILABLE, "The service is not available.", re=hello.id, retry_after_ms=2000
            )
            await self.outlet.tell(refusal)
            await self.close(CloseCode.INTERNAL)

    async def _authenticate(self, hello: Hello) -> Principal | None:
        code, close = ErrorCode.UNAUTHENTICATED, CloseCode.NOT_AUTHENTICATED
        try:
            if hello.token is not None:
                return self.desk.verify(hello.token)
            if self.principal is not None and self.principal.expires_at > self.desk.wall():
                return self.principal
        except ExpiredToken:
            code, close = ErrorCode.TOKEN_EXPIRED, CloseCode.TOKEN_EXPIRED
        except BadToken:
            pass
        message = "The token has expired." if code is ErrorCode.TOKEN_EXPIRED else "A valid token is needed."
        await self.outlet.tell(error_frame(code, message, re=hello.id))
        await self.close(close)
        return None

    async def _open(self, hello: Hello, principal: Principal) -> None:
        desk = self.desk
        pump = Pump(
            principal.user,
            self.outlet,
            desk.broker,
            wall_ms=desk.wall_ms,
            on_revoked=lambda: self._start(self.close(CloseCode.REVOKED)),
        )
        channel, snapshot = await desk.hub.attach(principal.user, pump)
        self.pump, self.channel = pump, channel
        resume = hello.resume
        where = continue_from(resume.position if resume else None, snapshot)
        head = snapshot.head
        pump.cursors.epoch, pump.cursors.offset = where.held
        pump.cursors.present(resume.texts if resume and where.resume in {"live", "replay"} else None)
        self.machine.opened(principal.expires_at)
        desk.observe("resume", {"result": where.resume}, 1.0)
        welcome = Welcome(
            re=hello.id,
            protocol=1,
            session=self.id,
            user=principal.user,
            resume=where.resume,
            position=str(head),
            heartbeat_ms=int(desk.limits.heartbeat_seconds * 1000),
            token_expires_at=token_time(principal.expires_at),
            limits=desk.announced,
        )
        await self.outlet.tell(welcome, str(where.held))
        self._start(self._deliver(pump, channel))

    async def _deliver(self, pump: Pump, channel: Channel) -> None:
        try:
            await pump.catch_up(channel, channel.position)
            await pump.run(channel)
        except BrokerUnavailable:
            await self.close(CloseCode.INTERNAL)

    # --- tasks --------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        if not isinstance(task.exception(), TransportClosed):
            log.error("session failed", exc_info=task.exception(), extra={"session": self.id})
            self._start(self.close(CloseCode.INTERNAL))

    async def _leave(self) -> None:
        self.machine.close()
        self.desk.sessions.remove(self)
        if self.pump is not None and self.principal is not None:
            self.desk.hub.detach(self.principal.user, self.pump)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.wait(tuple(self._tasks), timeout=1.0)
        if self.principal is not None:
            await self.desk.presence.leave(self.principal.user, self.id)
