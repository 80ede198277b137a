"""One client's session: who it is, what it asks, what it gets.

Three things run: the door's task reads frames and obeys the machine; the pump writes what the channel has;
commands that wait for the database run beside them, a few at a time, so that a ping is not behind a slow
send. The session ends when any of them finds the client gone; what it had asked by then is carried out.
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
from server.conversations.audit import BY_USER, Caller
from server.conversations.principal import LEEWAY_SECONDS, BadToken, ExpiredToken, Principal
from server.conversations.refusal import UNAVAILABLE, Refusal
from server.session import commands
from server.session.desk import Desk
from server.session.machine import (
    Action,
    Close,
    Declined,
    Execute,
    SessionMachine,
    State,
    Tell,
    error_frame,
    token_time,
)
from server.session.outlet import Outlet, Transport, TransportClosed
from server.session.pump import Pump
from server.session.resume import continue_from

log = logging.getLogger(__name__)

_WAITING_COMMANDS = 8
_LEAVE_SECONDS = 10.0
_COME_BACK_MS = 30_000


class Session:
    """A client's session over a transport that can receive.

    `principal` is whom the upgrade request already authenticated, if it did; `caller` says where from.
    """

    __slots__ = (
        "_closed",
        "_commands",
        "_gaps",
        "_tasks",
        "_transport",
        "caller",
        "desk",
        "id",
        "machine",
        "outlet",
        "principal",
        "pump",
    )

    def __init__(
        self,
        transport: Transport,
        desk: Desk,
        *,
        principal: Principal | None = None,
        caller: Caller = BY_USER,
    ) -> None:
        self.id = desk.new_id()
        self.caller = caller
        self.desk = desk
        self.principal = principal
        self.outlet = Outlet(transport, desk.now)
        self.machine = SessionMachine(desk.limits, desk.now(), heartbeat_jitter=random.uniform(-1, 1))  # noqa: S311
        self.pump: Pump | None = None
        self._transport = transport
        self._tasks: set[asyncio.Task[None]] = set()
        self._commands: set[asyncio.Task[None]] = set()
        self._gaps = 0
        self._closed = False

    async def run(self) -> None:
        """Serve the client until it is gone. Never raises but on cancellation."""
        self.desk.sessions.add(self, look_in=self.desk.limits.hello_seconds)
        try:
            while True:
                await self._obey(await self._transport.receive())
        except TransportClosed:
            pass
        except Exception:
            log.exception("session failed", extra={"session": self.id})
            await self.close(CloseCode.INTERNAL)
        finally:
            await self._leave()

    # --- the registry's calls -----------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """Look at the clocks, and whether a revocation may have been missed."""
        actions = self.machine.tick(
            now, wall, last_sent=self.outlet.last_sent, stuck_since=self.outlet.stuck_since
        )
        for action in actions:
            self._start(self._act(action))
        gaps = self.desk.hub.gaps
        if self._gaps != gaps and self.machine.state is State.OPEN and self.desk.sessions.may_ask():
            self._gaps = gaps
            self._start(self._look_whether_revoked())

    def drain(self, reconnect_in_ms: int, reason: str) -> None:
        """Send the client elsewhere."""
        self._start(self._drain(reconnect_in_ms, reason))

    async def _drain(self, reconnect_in_ms: int, reason: str) -> None:
        when = asyncio.get_running_loop().time() + reconnect_in_ms / 1000
        # one who does not read is closed in time all the same
        with suppress(TimeoutError):
            async with asyncio.timeout_at(when):
                await self.outlet.tell(Drain(reconnect_in_ms=reconnect_in_ms, reason=reason))
        await asyncio.sleep(when - asyncio.get_running_loop().time())
        await self.close(CloseCode.NODE_RESTARTS)

    async def _look_whether_revoked(self) -> None:
        assert self.principal is not None
        try:
            revoked = await self.desk.is_revoked(self.principal)
        except BrokerUnavailable:
            self._gaps = -1  # asked again at the next look
            return
        if revoked:
            await self.close(CloseCode.REVOKED)

    # --- what commands call -------------------------------------------------------------------

    async def close(self, code: CloseCode) -> None:
        """End the session."""
        self.machine.close()
        if not self._closed:
            self._closed = True
            self.desk.observe("close", {"code": str(int(code))}, 1.0)
            await self._transport.close(code)

    def extend(self, principal: Principal) -> None:
        """A newer token of the same user."""
        self.principal = principal
        self.machine.extended(principal.expires_at)

    # --- acting -------------------------------------------------------------------------------

    async def _obey(self, raw: str | bytes) -> None:
        # in a call of its own: one who waits for the next frame does not hold on to the last
        for action in self.machine.receive(raw, self.desk.now(), self.desk.wall()):
            await self._act(action)

    async def _act(self, action: Action) -> None:
        match action:
            case Execute(command=Hello() as hello):
                await self._hello(hello)
            case Execute(command=command):
                await self._execute(command)
            case Tell(frame=frame):
                await self.outlet.tell(frame)
            case Close(code=code):
                await self.close(code)

    async def _execute(self, command: Command) -> None:
        if not commands.waits(command):
            await commands.execute(self, command)
            return
        while len(self._commands) >= _WAITING_COMMANDS:
            await asyncio.wait(self._commands, return_when=asyncio.FIRST_COMPLETED)
        self._commands.add(self._start(commands.execute(self, command)))

    async def _hello(self, hello: Hello) -> None:
        try:
            await self._open(hello, await self._authenticated(hello))
        except TransportClosed:
            raise
        except Declined as declined:
            refusal = declined
        except (BrokerUnavailable, Refusal):
            refusal = Declined(ErrorCode.UNAVAILABLE, UNAVAILABLE, CloseCode.INTERNAL, retry_after_ms=2000)
        except Exception:
            log.exception("a hello failed", extra={"session": self.id})
            refusal = Declined(ErrorCode.INTERNAL, commands.INTERNAL, CloseCode.INTERNAL)
        else:
            return
        await self.outlet.tell(
            error_frame(refusal.code, refusal.message, re=hello.id, retry_after_ms=refusal.retry_after_ms)
        )
        await self.close(refusal.close)

    async def _authenticated(self, hello: Hello) -> Principal:
        principal = self.principal
        # by the same clock as a token that comes with `hello`
        expired = principal is not None and principal.expires_at + LEEWAY_SECONDS <= self.desk.wall()
        if hello.token is not None:
            try:
                principal, expired = self.desk.verify(hello.token), False
                await self.desk.confirm(hello.token, principal)
            except BadToken as error:
                principal, expired = None, isinstance(error, ExpiredToken)
        if expired:
            raise Declined(ErrorCode.TOKEN_EXPIRED, "The token has expired.", CloseCode.TOKEN_EXPIRED)
        if principal is None:
            raise Declined(ErrorCode.UNAUTHENTICATED, "No valid token given.", CloseCode.NOT_AUTHENTICATED)
        return principal

    async def _open(self, hello: Hello, principal: Principal) -> None:
        desk, resume = self.desk, hello.resume
        replaces = resume.session if resume else None
        place = await desk.presence.take(
            principal.user, self.id, limit=desk.announced.max_sessions, replaces=replaces
        )
        if not place.granted:
            raise Declined(
                ErrorCode.RATE_LIMITED,
                "Too many sessions are open.",
                CloseCode.TOO_MANY_SESSIONS,
                retry_after_ms=_COME_BACK_MS,
            )
        self.principal = principal
        pump = Pump(
            principal.user, self.outlet, desk.broker, on_revoked=self._revoked, on_replaced=self._replaced
        )
        channel, snapshot = await desk.hub.attach(principal.user, pump)
        self.pump, self._gaps = pump, desk.hub.gaps
        where = continue_from(resume.position if resume else None, snapshot)
        pump.cursors.epoch, pump.cursors.offset = where.held
        pump.cursors.present(resume.texts if resume and where.resume in {"live", "replay"} else None)
        # asked when revocations are already listened to, so that none falls between
        if await desk.is_revoked(principal):
            raise Declined(ErrorCode.FORBIDDEN, commands.REVOKED, CloseCode.REVOKED)
        self.machine.opened(principal.expires_at)
        desk.observe("resume", {"result": where.resume}, 1.0)
        welcome = Welcome(
            re=hello.id,
            protocol=1,
            session=self.id,
            user=principal.user,
            resume=where.resume,
            position=str(snapshot.head),
            heartbeat_ms=int(desk.limits.heartbeat_seconds * 1000),
            token_expires_at=token_time(principal.expires_at),
            limits=desk.announced,
        )
        await self.outlet.tell(welcome, str(where.held))
        self._start(self._deliver(pump, channel))

    def _revoked(self) -> None:
        self._start(self.close(CloseCode.REVOKED))

    def _replaced(self, session: str) -> None:
        if session == self.id:
            self._start(self.close(CloseCode.GOING_AWAY))

    async def _deliver(self, pump: Pump, channel: Channel) -> None:
        try:
            await pump.catch_up(channel, channel.position)
        except BrokerUnavailable:
            await self.close(CloseCode.INTERNAL)
            return
        await pump.run(channel)

    # --- tasks --------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._commands.discard(task)
        if task.cancelled() or task.exception() is None or isinstance(task.exception(), TransportClosed):
            return
        log.error("session failed", exc_info=task.exception(), extra={"session": self.id})
        if not self._closed:
            self._start(self.close(CloseCode.INTERNAL))

    async def _leave(self) -> None:
        self.machine.close()
        self._closed = True
        self.desk.sessions.remove(self)
        if self.pump is not None and self.principal is not None:
            self.desk.hub.detach(self.principal.user, self.pump)
        for task in self._tasks - self._commands:
            task.cancel()
        if self.principal is not None:
            await self.desk.presence.leave(self.principal.user, self.id)
        if self._commands:
            # a client that said it and went is one that said it
            await asyncio.wait(self._commands, timeout=_LEAVE_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
