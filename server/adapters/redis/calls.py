"""Calls of everybody over one connection: what is asked in one turn of the loop leaves as one write.

A general client's pool takes a connection, a timer and a write for each of a turn's dozen calls; that was a
third of what a turn costs. Replies come in the order of the calls, so one that was given up costs only its
reply, and nobody is ever told what another one asked.

Nothing is sent twice by itself: when the connection is lost, everybody who waits is told
`BrokerUnavailable`; who asks next connects again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import hiredis
from redis.exceptions import ResponseError

from server.adapters.redis.wire import Reply, Wire, packed
from server.channels.broker import BrokerUnavailable

log = logging.getLogger(__name__)

Word = str | bytes | int

# What a server says that refuses everything for a while, whatever it was asked.
_NOT_NOW = re.compile(r"(BUSY|MISCONF|NOREPLICAS|OOM) ")
# After these the connection is of no more use: another server is the primary now, or it asks for a password.
_STALE = re.compile(r"(READONLY|LOADING|MASTERDOWN|NOAUTH|NOPERM|WRONGPASS) ")


class NoScript(Exception):  # noqa: N818 - a state of the world, named as one
    """The server does not know a script by this digest."""


class Calls:
    """Sends commands over one connection, which `connect` opens when the first is asked.

    `call_seconds` is how long an answer may take. A connection on which nothing at all comes for so long,
    though something was asked, is given up.
    """

    def __init__(self, connect: Callable[[], Awaitable[Wire]], *, call_seconds: float = 5.0) -> None:
        self._connect = connect
        self._call_seconds = call_seconds
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._unsent: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._heard_at = 0.0
        self._closed = False

    async def call(self, *words: Word) -> Reply:
        """Run one command.

        Raises:
            BrokerUnavailable: not connected, not answered in time, or refused for now.
            NoScript
            redis.exceptions.ResponseError: the command is wrong.
        """
        command = packed(*words)
        if self._wire is None:
            await self._connected()
        return await self._ask(command)

    async def call_many(self, commands: Sequence[Sequence[Word]]) -> list[Reply | BaseException]:
        """Run many commands in one round trip; in their order what each was answered, or why it failed.

        Raises:
            BrokerUnavailable: not connected.
        """
        many = [packed(*words) for words in commands]
        if self._wire is None:
            await self._connected()
        return await asyncio.gather(*map(self._ask, many), return_exceptions=True)

    def doubt(self, seconds: float) -> None:
        """Give the connection up now, if nothing came over it for so long though something was asked."""
        if self._wire is not None and self._is_silent(seconds):
            log.warning("the store did not answer in time")
            self._give_up(self._wire)

    async def aclose(self) -> None:
        """Close; who still waits is told `BrokerUnavailable`. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(
            *self._watching, *([self._opening] if self._opening else []), return_exceptions=True
        )

    async def _connected(self) -> None:
        """Wait for a connection; all who need one share the attempt to open it.

        Raises:
            BrokerUnavailable
        """
        while self._wire is None:
            if self._closed:
                raise BrokerUnavailable("closed")
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open(), name="redis calls")
                self._opening.add_done_callback(self._opened)
            opening = self._opening
            await asyncio.wait([opening], timeout=self._call_seconds)
            if not opening.done():
                raise BrokerUnavailable("not connected in time")
            if opening.cancelled():
                raise BrokerUnavailable("closed")
            error = opening.exception()
            if isinstance(error, OSError | hiredis.HiredisError | BrokerUnavailable):
                raise BrokerUnavailable(type(error).__name__) from error
            if error is not None:
                raise error

    async def _open(self) -> Wire:
        wire = await self._connect()
        wire.receive = self._receive
        self._wire = wire
        self._heard_at = asyncio.get_running_loop().time()
        watching = asyncio.get_running_loop().create_task(self._watch(wire), name="redis calls")
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return wire

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # told to those who waited, who may all have gone

    def _ask(self, command: bytes) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(command)
        self._waiting.append((answer, loop.time()))
        return answer

    def _flush(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if self._wire is not None:
            self._wire.write(data)

    def _receive(self, reply: Reply) -> None:
        answer, _ = self._waiting.popleft()
        self._heard_at = asyncio.get_running_loop().time()
        if not isinstance(reply, hiredis.ReplyError):
            if not answer.done():
                answer.set_result(reply)
            return
        said = str(reply)
        if not answer.done():
            answer.set_exception(_meaning(said))
        if _STALE.match(said) and self._wire is not None:
            self._give_up(self._wire)

    async def _watch(self, wire: Wire) -> None:
        """Until the connection is lost: tell those whose time is over, and notice a server that is silent."""
        loop = asyncio.get_running_loop()
        try:
            while not wire.lost.done():
                await asyncio.wait([wire.lost], timeout=self._call_seconds / 5)
                await asyncio.sleep(0)  # what came while this loop stood still is read first
                if self._wire is not wire:
                    return
                overdue = loop.time() - self._call_seconds
                for answer, asked_at in self._waiting:
                    if asked_at > overdue:
                        break
                    if not answer.done():
                        answer.set_exception(BrokerUnavailable("not answered in time"))
                if self._is_silent(self._call_seconds):
                    log.warning("the store did not answer in time")
                    return
        finally:
            self._give_up(wire)
            await wire.aclose()

    def _is_silent(self, seconds: float) -> bool:
        since = asyncio.get_running_loop().time() - seconds
        return bool(self._waiting) and max(self._waiting[0][1], self._heard_at) <= since

    def _give_up(self, wire: Wire) -> None:
        """Close a connection at once and fail its calls, so that whoever asks next gets a new one."""
        wire.receive = _ignore
        wire.abort()
        if self._wire is not wire:
            return
        self._wire = None
        self._unsent = []
        left, self._waiting = self._waiting, deque()
        for answer, _ in left:
            if not answer.done():
                answer.set_exception(BrokerUnavailable("the connection is lost"))


def _ignore(_: Reply) -> None:
    """What still comes over a connection that was given up is nobody's."""


def _meaning(said: str) -> Exception:
    """What the server's refusal is to those who asked."""
    if said.startswith("NOSCRIPT"):
        return NoScript(said)
    refused = _NOT_NOW.match(said) or _STALE.match(said)
    return BrokerUnavailable(refused[1]) if refused else ResponseError(said)
