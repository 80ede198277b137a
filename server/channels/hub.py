"""The hub: one channel per user that somebody on this node reads.

Attach subscribes first and reads the snapshot second, with arrivals buffered in between, so nothing falls
into the gap. Whatever looks wrong later (a hole, another epoch, a subscription that was away) only marks a
channel stale; one loop reads the truth for those. Channels that are quiet are compared with their heads now
and then, since a publish may be lost without a trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from protocol.position import Position
from server.channels.broker import (
    Arrival,
    Broker,
    BrokerUnavailable,
    ForeignValue,
    Snapshot,
    Subscription,
)
from server.channels.channel import Channel, Reader

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubLimits:
    """How often quiet channels are compared with the store, in seconds."""

    running_check_seconds: float = 3.0
    idle_check_seconds: float = 25.0
    linger_seconds: float = 2.0
    retry_seconds: float = 0.5
    parallel_reads: int = 16


class Hub:
    """Channels by user. `now` is monotonic seconds, `wall_ms` this node's clock in milliseconds.

    `gaps` counts how often the subscription was away: what pub/sub alone tells may have been missed.
    """

    def __init__(
        self,
        broker: Broker,
        subscription: Subscription,
        *,
        now: Callable[[], float],
        wall_ms: Callable[[], int],
        limits: HubLimits | None = None,
    ) -> None:
        self._broker = broker
        self._subscription = subscription
        self._now = now
        self._wall_ms = wall_ms
        self._limits = limits or HubLimits()
        self._channels: dict[str, Channel] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._leaving: dict[str, float] = {}
        self._stale: set[str] = set()
        self._work = asyncio.Event()
        self._checked_idle = now()
        self.gaps = 0
        subscription.on_arrival(self._receive)
        subscription.on_gap(self._gap)

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def readers(self) -> int:
        """How many readers are attached on this node."""
        return sum(len(channel.readers) for channel in self._channels.values())

    async def attach(self, user: str, reader: Reader) -> tuple[Channel, Snapshot]:
        """Read a user's channel: the channel, current, and the snapshot it was made current with.

        The reader's `offset` is set to the head; set it back for a replay before the next await.

        Raises:
            BrokerUnavailable: the channel could not be read; the reader is not attached.
        """
        channel = self._channels.get(user)
        if channel is None:
            channel = self._channels[user] = Channel(user, self._wall_ms)
        self._leaving.pop(user, None)
        reader.offset = channel.offset
        channel.readers.add(reader)
        try:
            async with self._lock(user):
                await self._subscription.subscribe(user)
                snapshot = await self._catch_up(channel)
        except BaseException:
            self.detach(user, reader)
            if channel.readers and channel.stale:
                self._stale.add(user)
            raise
        reader.offset = channel.offset
        return channel, snapshot

    def detach(self, user: str, reader: Reader) -> None:
        """Stop reading. The last reader's channel is let go a little later."""
        channel = self._channels.get(user)
        if channel is None:
            return
        channel.readers.discard(reader)
        if channel.readers:
            channel.forget_delivered()
        else:
            self._leaving[user] = self._now() + self._limits.linger_seconds

    async def run(self) -> None:
        """Mend stale channels, compare quiet ones, let go of those nobody reads. For ever."""
        while True:
            try:
                async with asyncio.timeout(self._limits.retry_seconds):
                    await self._work.wait()
            except TimeoutError:
                pass
            self._work.clear()
            await self._mend()
            await self._let_go()
            await self._compare()

    # --- arrivals ---------------------------------------------------------------------------

    def _receive(self, arrival: Arrival) -> None:
        channel = self._channels.get(arrival.user)
        if channel is None:
            return
        channel.receive(arrival, self._now())
        if channel.stale:
            self._mark(channel)

    def _gap(self) -> None:
        self.gaps += 1
        for channel in self._channels.values():
            channel.stale = True
            self._stale.add(channel.user)
        self._work.set()

    def _mark(self, channel: Channel) -> None:
        channel.stale = True
        if channel.user not in self._stale:
            self._stale.add(channel.user)
            self._work.set()

    # --- mending ----------------------------------------------------------------------------

    async def _mend(self) -> None:
        # one that nobody reads is made current when somebody comes
        users = [user for user in self._stale if user in self._channels and self._channels[user].readers]
        self._stale.clear()
        step = self._limits.parallel_reads
        for start in range(0, len(users), step):
            batch = users[start : start + step]
            results = await asyncio.gather(*(self._mend_one(user) for user in batch), return_exceptions=True)
            for user, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    # tried again after a pause; nobody else's channel waits for it
                    self._stale.add(user)
                    if not isinstance(result, BrokerUnavailable):
                        log.error("a channel cannot be read", exc_info=result)
                elif result is not None:
                    raise result

    async def _mend_one(self, user: str) -> None:
        async with self._lock(user):
            channel = self._channels.get(user)
            if channel is not None and channel.stale:
                await self._catch_up(channel)

    async def _catch_up(self, channel: Channel) -> Snapshot:
        channel.buffered = []
        try:
            snapshot = await self._broker.snapshot(channel.user)
            head = snapshot.head
            if head.epoch != channel.epoch:
                # a new channel begins where the log is, one that is read with the epoch's first event
                channel.begin_epoch(Position(head.epoch, 0) if channel.epoch else head)
            await self._fill(channel, head.offset)
            channel.merge(snapshot, snapshot.now_ms - self._wall_ms())
            channel.stale = False
        finally:
            buffered, channel.buffered = channel.buffered, None
            now = self._now()
            for arrival in buffered:
                channel.receive(arrival, now)
        if channel.stale:
            self._mark(channel)
        return snapshot

    async def _fill(self, channel: Channel, head: int) -> None:
        while channel.offset < head:
            before = channel.offset
            page = await self._broker.read_log(channel.user, channel.position)
            if page:
                # what lies beyond the snapshot's head has arrived, and waits until it is merged
                channel.fill(entry for entry in page if entry.offset <= head)
            if channel.offset == before:
                channel.skip_to(head)

    async def _let_go(self) -> None:
        now = self._now()
        for user, due in list(self._leaving.items()):
            channel = self._channels.get(user)
            if due > now or channel is None:
                continue
            async with self._lock(user):
                if self._leaving.get(user) == due and not channel.readers:
                    del self._leaving[user]
                    del self._channels[user]
                    self._stale.discard(user)
                    await self._subscription.unsubscribe(user)
            if user not in self._channels:
                self._locks.pop(user, None)

    async def _compare(self) -> None:
        now = self._now()
        for channel in self._channels.values():
            if channel.texts and channel.running() and self._is_quiet(channel, now):
                self._mark(channel)
                channel.quiet_since = now
        if now - self._checked_idle < self._limits.idle_check_seconds:
            return
        self._checked_idle = now
        users = [channel.user for channel in self._channels.values() if channel.readers]
        for start in range(0, len(users), 500):
            batch = users[start : start + 500]
            try:
                heads = await self._broker.heads(batch)
            except BrokerUnavailable:
                return
            except ForeignValue:
                log.exception("the heads of some channels cannot be read")
                continue
            for user, head in zip(batch, heads, strict=True):
                compared = self._channels.get(user)
                if compared is not None and _behind(compared, head):
                    self._mark(compared)

    def _is_quiet(self, channel: Channel, now: float) -> bool:
        return now - channel.quiet_since >= self._limits.running_check_seconds

    def _lock(self, user: str) -> asyncio.Lock:
        lock = self._locks.get(user)
        if lock is None:
            lock = self._locks[user] = asyncio.Lock()
        return lock


def _behind(channel: Channel, head: Position) -> bool:
    return head.epoch != channel.epoch or head.offset > channel.offset
