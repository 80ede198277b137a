"""The node's one pub/sub connection, watched over.

A message goes straight from the parser to the receiver: no queue, no task, no wait. The connection is asked
for a sign of life; one that stays silent is as good as lost, which a general client does not notice. After
every loss all channels are subscribed again, the server has confirmed each, and only then is the gap told:
whoever reads the store on that word cannot miss what came in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import hiredis

from server.adapters.redis import keys, payload
from server.adapters.redis.wire import Reply, Wire, packed
from server.channels.broker import Arrival, BrokerUnavailable

log = logging.getLogger(__name__)

_CHANNELS_AT_ONCE = 500
_CONFIRMATIONS = {b"subscribe", b"ssubscribe", b"unsubscribe", b"sunsubscribe"}


class RedisSubscription:
    """`server.channels.broker.Subscription` on Redis, and the control channel of the process.

    `ping_seconds` is how long the connection may be silent before it is asked, and again before it is given
    up. `retry_seconds` is the first and the longest pause between attempts to connect. With `sharded` the
    users' channels belong to slots; `moved` is told of a user whose slot another server has.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        *,
        process: str,
        sharded: bool = False,
        ping_seconds: float = 3.0,
        call_seconds: float = 5.0,
        retry_seconds: tuple[float, float] = (0.05, 1.0),
        moved: Callable[[str], None] | None = None,
    ) -> None:
        self._connect = connect
        self._moved = moved
        self._subscribe_verb = "SSUBSCRIBE" if sharded else "SUBSCRIBE"
        self._unsubscribe_verb = "SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE"
        # Channels in one command must share a slot.
        self._at_once = 1 if sharded else _CHANNELS_AT_ONCE
        self._ping_seconds = ping_seconds
        self._call_seconds = call_seconds
        self._retry_seconds = retry_seconds
        self._control = keys.node(process).encode()
        self._users: dict[bytes, str] = {}
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        # What the server has still to confirm on this connection, in order: the channel, and who waits.
        self._asked: deque[tuple[bytes, asyncio.Future[None] | None]] = deque()
        self._wire: Wire | None = None
        self._began = False
        self._task: asyncio.Task[None] | None = None
        self._receive: Callable[[Arrival], None] = _ignore
        self._lost: list[Callable[[], None]] = []
        self._stop: Callable[[str, str], None] = _ignore
        self._wake: Callable[[], None] = _ignore
        self.reconnects = -1

    def start(self) -> None:
        """Begin to connect, and stay connected."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected(), name="redis subscription")

    async def aclose(self) -> None:
        """Close; who still waits for a confirmation is told `BrokerUnavailable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for confirmed in self._confirmed.values():
            confirmed.cancel()
        self._confirmed.clear()

    @property
    def connected(self) -> bool:
        """Whether there is a connection; what was asked for on it may still wait for its confirmation."""
        return self._wire is not None

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        """Call `receive` for every arrival, in the order of publishing."""
        self._receive = receive

    def on_gap(self, lost: Callable[[], None]) -> None:
        """Call `lost` after the connection was away. Several may ask for it."""
        self._lost.append(lost)

    def on_stop(self, stop: Callable[[str, str], None]) -> None:
        """Call `stop(user, generation)` when a generation of this process is to stop."""
        self._stop = stop

    def on_wake(self, wake: Callable[[], None]) -> None:
        """Call `wake` when some node has given leases up."""
        self._wake = wake

    async def subscribe(self, user: str) -> None:
        """Arrivals for `user` flow from the moment this returns.

        Raises:
            BrokerUnavailable: the server did not confirm in time. The wish stays until `unsubscribe`.
        """
        channel = keys.channel(user).encode()
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = asyncio.get_running_loop().create_future()
            self._users[channel], self._confirmed[channel] = user, confirmed
            if self._wire is not None:
                self._ask(self._wire, [channel])
        if confirmed.done() and not confirmed.cancelled():
            return
        try:
            async with asyncio.timeout(self._call_seconds):
                # Others may wait for the same one.
                await asyncio.shield(confirmed)
        except TimeoutError as error:
            raise BrokerUnavailable("no confirmation of a subscription") from error
        except asyncio.CancelledError:
            if confirmed.cancelled():
                raise BrokerUnavailable("the subscription was taken back") from None
            raise

    async def unsubscribe(self, user: str) -> None:
        """Stop them."""
        channel = keys.channel(user).encode()
        self._users.pop(channel, None)
        confirmed = self._confirmed.pop(channel, None)
        if confirmed is None:
            return
        confirmed.cancel()
        if self._wire is not None:
            self._asked.append((channel, None))
            self._wire.write(packed(self._unsubscribe_verb, channel))

    # --- the connection ---

    async def _stay_connected(self) -> None:
        first, longest = self._retry_seconds
        pause = first
        while True:
            wire = None
            try:
                wire = await self._connect()
                await self._attach(wire)
                pause = first
                await self._listen(wire)
            except (OSError, hiredis.HiredisError, BrokerUnavailable) as error:
                log.warning("the store cannot be listened to", extra={"error": repr(error)})
            except Exception:
                log.exception("the subscription failed and begins again")
            finally:
                self._wire = None
                if wire is not None:
                    await wire.aclose()
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _attach(self, wire: Wire) -> None:
        """Subscribe to everything, wait until it is confirmed, and only then tell the gap."""
        loop = asyncio.get_running_loop()
        # Somebody may have been confirmed on a connection that was lost before all of it was.
        first, self._began = not self._began, True
        self._asked.clear()
        wire.receive = self._received
        ready: asyncio.Future[None] = loop.create_future()
        for channel, confirmed in self._confirmed.items():
            if confirmed.done():
                self._confirmed[channel] = loop.create_future()
        self._wire = wire
        self._ask(wire, list(self._confirmed))
        # Sharded or not: a node's own channel and the common one are plain ones.
        wire.write(packed("SUBSCRIBE", self._control, keys.WAKE))
        self._asked += ((self._control, None), (keys.WAKE.encode(), ready))
        async with asyncio.timeout(self._call_seconds):
            await asyncio.wait([ready, wire.lost], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise ConnectionResetError("the connection is lost")
        self.reconnects += 1
        if not first:
            self._tell_gap()

    async def _listen(self, wire: Wire) -> None:
        asked = False
        while not wire.lost.done():
            wire.heard = False
            await asyncio.wait([wire.lost], timeout=self._ping_seconds)
            if wire.heard:
                asked = False
            elif asked:
                log.warning("the subscription fell silent")
                return
            else:
                asked = True
                wire.write(packed("PING"))

    def _ask(self, wire: Wire, channels: list[bytes]) -> None:
        self._asked += [(channel, self._confirmed[channel]) for channel in channels]
        some = (channels[start : start + self._at_once] for start in range(0, len(channels), self._at_once))
        wire.write(b"".join(packed(self._subscribe_verb, *each) for each in some))

    # --- what comes in ---

    def _received(self, reply: Reply) -> None:
        kind = reply[0] if type(reply) is list else None
        if kind in {b"message", b"smessage"}:
            self._message(reply[1], reply[2])
        elif kind == b"pong":
            pass
        elif kind in _CONFIRMATIONS and self._asked and self._asked[0][0] == reply[1]:
            _, confirmed = self._asked.popleft()
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
        elif self._moved is not None and kind == b"sunsubscribe":
            self._lose(reply[1])
        elif self._moved is not None and isinstance(reply, hiredis.ReplyError) and self._asked:
            # One channel was asked for, and one refusal came; it is asked for elsewhere.
            self._lose(self._asked.popleft()[0])
        elif self._wire is not None:
            # An error, or a subscription taken away: begin again.
            log.warning("the subscription was refused", extra={"reply": repr(reply)[:200]})
            self._wire.abort()

    def _lose(self, channel: bytes) -> None:
        """Give a channel up that another server has; who waits is told `BrokerUnavailable`."""
        user = self._users.pop(channel, None)
        confirmed = self._confirmed.pop(channel, None)
        if confirmed is not None:
            confirmed.cancel()
        if user is not None and self._moved is not None:
            self._moved(user)

    def _message(self, channel: bytes, data: bytes) -> None:
        try:
            user = self._users.get(channel)
            if user is not None:
                self._receive(payload.arrival(user, data))
            elif channel == self._control:
                self._stop(*payload.stop_order(data))
            elif channel == keys.WAKE.encode():
                self._wake()
        except Exception:
            # What could not be used was missed, and is mended as everything missed is.
            log.exception("a message could not be used")
            self._tell_gap()

    def _tell_gap(self) -> None:
        for lost in self._lost:
            try:
                lost()
            except Exception:
                log.exception("a gap could not be told")


def _ignore(*_: object) -> None:
    """Nobody has asked to be told."""
