"""A cluster: one flusher and one subscription per server, each user's at the server that has the user's slot.

When the map has changed, appends go to the new server by themselves, since they are asked again, and users
who are read move there. Whoever moves may have missed something, so a gap is told once they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.adapters.redis import keys
from server.adapters.redis.address import Endpoint
from server.adapters.redis.flusher import Flusher
from server.adapters.redis.slots import Slots
from server.adapters.redis.subscription import RedisSubscription
from server.channels.broker import Arrival, BrokerUnavailable
from server.generations.store import Appended


class Flushers:
    """A flusher per server. `make` makes one that connects to it."""

    def __init__(self, slots: Slots, make: Callable[[Endpoint], Flusher]) -> None:
        self._slots = slots
        self._make = make
        self._flushers: dict[Endpoint, Flusher] = {}
        self._open = False
        slots.on_change(self._settle)

    @property
    def batches(self) -> int:
        """How many went out, over all servers."""
        return sum(flusher.batches for flusher in self._flushers.values())

    @property
    def calls(self) -> int:
        """How many script calls were in them."""
        return sum(flusher.calls for flusher in self._flushers.values())

    def start(self) -> None:
        """Begin to connect as servers are needed."""
        self._open = True

    async def aclose(self) -> None:
        """Close; who still waits is told `BrokerUnavailable`."""
        self._open = False
        while self._flushers:
            _, flusher = self._flushers.popitem()
            await flusher.aclose()

    def append(
        self, user: str, generation: str, attempt: int, at: int, text: str
    ) -> asyncio.Future[Appended]:
        """See `Flusher.append`."""
        server = self._slots.server_of(keys.generation(user, generation)) if self._open else None
        if server is None:
            self._slots.ask()
            raise BrokerUnavailable("no server of the cluster is known to have this")
        flusher = self._flushers.get(server)
        if flusher is None:
            flusher = self._flushers[server] = self._make(server)
            flusher.start()
        return flusher.append(user, generation, attempt, at, text)

    async def _settle(self) -> None:
        for server in self._flushers.keys() - set(self._slots.servers()):
            await self._flushers.pop(server).aclose()


class Subscriptions:
    """A subscription per server, with the interface of one. `make` makes one, given who is told of a move.

    A node's own channel and the common one are heard at every server: an order to stop and a call to wake
    come once from each.
    """

    def __init__(
        self,
        slots: Slots,
        make: Callable[[Endpoint, Callable[[str], None]], RedisSubscription],
        *,
        call_seconds: float = 5.0,
    ) -> None:
        self._slots = slots
        self._make = make
        self._call_seconds = call_seconds
        self._subscriptions: dict[Endpoint, RedisSubscription] = {}
        self._places: dict[str, Endpoint | None] = {}
        self._moved: set[str] = set()
        self._receive: Callable[[Arrival], None] | None = None
        self._lost: list[Callable[[], None]] = []
        self._stop: Callable[[str, str], None] | None = None
        self._wake: Callable[[], None] | None = None
        self._open = False
        slots.on_change(self._settle)

    def start(self) -> None:
        """Connect to every server as soon as they are known."""
        self._open = True
        self._slots.ask()

    async def aclose(self) -> None:
        """Close; who still waits for a confirmation is told `BrokerUnavailable`."""
        self._open = False
        while self._subscriptions:
            _, subscription = self._subscriptions.popitem()
            await subscription.aclose()

    @property
    def connected(self) -> bool:
        """Whether everything asked for is flowing."""
        return bool(self._subscriptions) and all(each.connected for each in self._subscriptions.values())

    @property
    def reconnects(self) -> int:
        """How often a connection was made again, over all servers."""
        return sum(max(0, each.reconnects) for each in self._subscriptions.values())

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        """See `RedisSubscription.on_arrival`."""
        self._receive = receive
        for subscription in self._subscriptions.values():
            subscription.on_arrival(receive)

    def on_gap(self, lost: Callable[[], None]) -> None:
        """See `RedisSubscription.on_gap`."""
        self._lost.append(lost)
        for subscription in self._subscriptions.values():
            subscription.on_gap(lost)

    def on_stop(self, stop: Callable[[str, str], None]) -> None:
        """See `RedisSubscription.on_stop`."""
        self._stop = stop
        for subscription in self._subscriptions.values():
            subscription.on_stop(stop)

    def on_wake(self, wake: Callable[[], None]) -> None:
        """See `RedisSubscription.on_wake`."""
        self._wake = wake
        for subscription in self._subscriptions.values():
            subscription.on_wake(wake)

    async def subscribe(self, user: str) -> None:
        """See `RedisSubscription.subscribe`."""
        self._places.setdefault(user, None)
        try:
            async with asyncio.timeout(self._call_seconds):
                while not await self._placed(user):
                    await self._slots.read_again()
                    if user not in self._places:
                        raise BrokerUnavailable("the subscription was taken back")
        except TimeoutError as error:
            raise BrokerUnavailable("no server of the cluster confirmed a subscription") from error

    async def unsubscribe(self, user: str) -> None:
        """See `RedisSubscription.unsubscribe`."""
        server = self._places.pop(user, None)
        self._moved.discard(user)
        if server is not None and server in self._subscriptions:
            await self._subscriptions[server].unsubscribe(user)

    def _at(self, server: Endpoint) -> RedisSubscription:
        subscription = self._subscriptions.get(server)
        if subscription is None:
            subscription = self._subscriptions[server] = self._make(server, self._has_moved)
            if self._receive is not None:
                subscription.on_arrival(self._receive)
            if self._stop is not None:
                subscription.on_stop(self._stop)
            if self._wake is not None:
                subscription.on_wake(self._wake)
            for lost in self._lost:
                subscription.on_gap(lost)
            subscription.start()
        return subscription

    def _has_moved(self, user: str) -> None:
        self._moved.add(user)
        self._slots.ask()

    async def _settle(self) -> None:
        """Follow the map: read every user at the server that has them now."""
        if not self._open:
            return
        servers = self._slots.servers()
        for server in servers:
            self._at(server)
        told, self._moved = self._moved, set()
        moving = {
            user: place
            for user, place in self._places.items()
            if user in told or place != self._slots.server_of(keys.channel(user))
        }
        await asyncio.gather(*(self._move(user, place) for user, place in moving.items()))
        for server in self._subscriptions.keys() - set(servers):
            await self._subscriptions.pop(server).aclose()
        if moving:
            for lost in self._lost:
                lost()

    async def _move(self, user: str, old: Endpoint | None) -> None:
        if old is not None and old in self._subscriptions:
            await self._subscriptions[old].unsubscribe(user)
        if user in self._places and not await self._placed(user):
            self._has_moved(user)

    async def _placed(self, user: str) -> bool:
        """Read the user at the server that has them; `False`: it did not confirm, perhaps they moved."""
        server = self._slots.server_of(keys.channel(user)) if self._open else None
        if server is None:
            return False
        self._places[user] = server
        try:
            await self._at(server).subscribe(user)
        except BrokerUnavailable:
            return False
        return True
