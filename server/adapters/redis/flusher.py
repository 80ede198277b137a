"""Group commit: appends of all generations of the node share a round trip.

There is no timer and no task per append. Whatever is pending when the connection is free goes out as one
batch; what arrives meanwhile is the next. Alone an append leaves in the same turn of the loop; under load
batches grow and the cost of each append falls. Pending appends of one generation and attempt that touch
become one.

Nothing is sent twice by itself: when the connection is lost, everybody who waits is told
`BrokerUnavailable`, and asks again; the script knows by attempt and place what it already has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import hiredis

from server.adapters.redis import keys
from server.adapters.redis.refusals import refused
from server.adapters.redis.scripts import Script
from server.adapters.redis.wire import Reply, Wire, packed
from server.channels.broker import BrokerUnavailable
from server.generations.store import Appended

log = logging.getLogger(__name__)

_MAX_BATCH = 512
_MAX_WAITING_BYTES = 32 * 1024 * 1024
# After these the connection is of no more use: another server is the primary now, or it knows no scripts.
_STALE = ("READONLY", "NOSCRIPT", "LOADING", "MASTERDOWN", "NOAUTH")
# After these another server of the cluster may be the one to ask.
_MOVED = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY")


class _Append:
    """One script call: a piece of text, and everybody who waits for it."""

    __slots__ = ("at", "attempt", "generation", "points", "text", "user", "waiters")

    def __init__(self, user: str, generation: str, attempt: int, at: int) -> None:
        self.user = user
        self.generation = generation
        self.attempt = attempt
        self.at = at
        self.points = 0
        self.text: list[bytes] = []
        self.waiters: list[asyncio.Future[Appended]] = []


class Flusher:
    """Sends appends over one connection of its own.

    `connect` opens that connection. `call_seconds` is how long a batch may take, `retry_seconds` the first
    and longest pause between attempts to connect. `moved` is told when the server says that it is not, or not
    now, the one to ask.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        script: Script,
        *,
        call_seconds: float = 5.0,
        retry_seconds: tuple[float, float] = (0.05, 1.0),
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._moved = moved
        self._script = script
        self._call_seconds = call_seconds
        self._retry_seconds = retry_seconds
        self._wire: Wire | None = None
        self._pending: list[_Append] = []
        self._newest: dict[tuple[str, str], _Append] = {}
        self._waiting_bytes = 0
        self._sent: list[_Append] = []
        self._answered = 0
        self._sent_at = 0.0
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        self.calls = 0

    def start(self) -> None:
        """Begin to connect, and stay connected."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._stay_connected(), name="redis flusher")

    async def aclose(self) -> None:
        """Close; who still waits is told `BrokerUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._loop = None
        self._fail()

    def append(
        self, user: str, generation: str, attempt: int, at: int, text: str
    ) -> asyncio.Future[Appended]:
        """Queue an append. Cancelling the future leaves the append as it is.

        Raises:
            BrokerUnavailable: closed, or too much waits already.
            UnicodeEncodeError: the text has a lone surrogate.
        """
        loop = self._loop
        if loop is None or self._waiting_bytes > _MAX_WAITING_BYTES:
            raise BrokerUnavailable("closed" if loop is None else "too much waits")
        data = text.encode()
        waiter: asyncio.Future[Appended] = loop.create_future()
        name = (user, generation)
        append = self._newest.get(name)
        if append is None or append.attempt != attempt or append.at + append.points != at:
            append = self._newest[name] = _Append(user, generation, attempt, at)
            self._pending.append(append)
        append.points += len(text)
        append.text.append(data)
        append.waiters.append(waiter)
        self._waiting_bytes += len(data)
        if not self._scheduled and not self._sent and self._wire is not None:
            self._scheduled = True
            loop.call_soon(self._flush)
        return waiter

    def _flush(self) -> None:
        self._scheduled = False
        wire = self._wire
        if wire is None or self._sent or not self._pending:
            return
        if len(self._pending) > _MAX_BATCH:
            self._sent, self._pending = self._pending[:_MAX_BATCH], self._pending[_MAX_BATCH:]
            # What is left has newer pieces only of itself.
            self._newest = {(each.user, each.generation): each for each in self._pending}
        else:
            self._sent, self._pending = self._pending, []
            self._newest.clear()
        sha, commands = self._script.sha, []
        for each in self._sent:
            user, generation = each.user, each.generation
            text = each.text[0] if len(each.text) == 1 else b"".join(each.text)
            self._waiting_bytes -= len(text)
            commands.append(
                packed(
                    "EVALSHA",
                    sha,
                    2,
                    keys.generation(user, generation),
                    keys.text(user, generation),
                    each.attempt,
                    each.at,
                    each.points,
                    text,
                    keys.channel(user),
                    generation,
                )
            )
        self.batches += 1
        self.calls += len(commands)
        self._answered = 0
        self._sent_at = asyncio.get_running_loop().time()
        wire.write(b"".join(commands))

    def _receive(self, reply: Reply) -> None:
        append = self._sent[self._answered]
        self._answered += 1
        if type(reply) is int:
            appended = Appended(reply >> 1, bool(reply & 1))
            for waiter in append.waiters:
                if not waiter.done():
                    waiter.set_result(appended)
        else:
            self._refuse(append, reply)
        if self._answered == len(self._sent):
            self._sent = []
            if self._pending:
                self._flush()

    def _refuse(self, append: _Append, reply: Reply) -> None:
        failed = isinstance(reply, hiredis.ReplyError)
        if failed:
            log.warning("the store failed an append", extra={"reply": str(reply)})
        for waiter in append.waiters:
            if not waiter.done():
                waiter.set_exception(BrokerUnavailable(str(reply)) if failed else refused(reply))
        if failed and str(reply).startswith(_MOVED):
            self._moved()
        if failed and str(reply).startswith(_STALE) and self._wire is not None:
            self._wire.abort()

    def _fail(self) -> None:
        """Tell everybody who waits that nothing is known of their appends."""
        left, self._sent = self._sent[self._answered :] + self._pending, []
        self._pending, self._answered, self._waiting_bytes = [], 0, 0
        self._newest.clear()
        for append in left:
            for waiter in append.waiters:
                if not waiter.done():
                    waiter.set_exception(BrokerUnavailable("the connection is lost"))

    async def _stay_connected(self) -> None:
        first, longest = self._retry_seconds
        pause = first
        while True:
            try:
                wire = await self._open()
            except (OSError, hiredis.HiredisError, BrokerUnavailable) as error:
                log.warning("the store cannot be reached for appends", extra={"error": repr(error)})
                self._fail()
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
                continue
            pause = first
            try:
                await self._watch(wire)
            finally:
                self._wire = None
                self._fail()
                await wire.aclose()

    async def _open(self) -> Wire:
        wire = await self._connect()
        try:
            async with asyncio.timeout(self._call_seconds):
                await wire.call("SCRIPT", "LOAD", self._script.source)
        except BaseException:
            await wire.aclose()
            raise
        return wire

    async def _watch(self, wire: Wire) -> None:
        """Use the connection until it is lost, or a batch is not answered in time."""
        wire.receive = self._receive
        self._wire = wire
        self._flush()
        loop = asyncio.get_running_loop()
        while not wire.lost.done():
            await asyncio.wait([wire.lost], timeout=self._call_seconds / 5)
            if self._sent and loop.time() - self._sent_at > self._call_seconds:
                log.warning("the store did not answer a batch of appends in time")
                return
