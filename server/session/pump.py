"""The pump: turns what a channel has beyond a reader's cursors into frames, in one task.

It waits for the channel to have something, collects, sends, and moves on. While a send waits for a slow
client the channel grows on without it; the next collection is simply larger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from protocol.frames import Reset, Synced, TextCursor
from protocol.position import Position
from server.channels.broker import Broker, BrokerUnavailable, LogEntry
from server.channels.channel import Channel, kind_of
from server.session.cursors import BATCH_BYTES, Batch, Cursors, Need, Outgoing, TurnFilter, is_about
from server.session.outlet import Outlet, TransportClosed

_SHOWN = 64
_SHOWN_BYTES = 16 * 1024
_RETRY_SECONDS = 0.5


class Pump:
    """A reader of one channel that writes to one outlet."""

    __slots__ = (
        "_awake",
        "_broker",
        "_channel",
        "_on_replaced",
        "_on_revoked",
        "_outlet",
        "_shown",
        "_sleeper",
        "_sync",
        "_user",
        "cursors",
    )

    def __init__(
        self,
        user: str,
        outlet: Outlet,
        broker: Broker,
        *,
        on_revoked: Callable[[], None],
        on_replaced: Callable[[str], None] = lambda _: None,
        only: TurnFilter | None = None,
    ) -> None:
        self.cursors = Cursors("", 0, only=only)
        self._on_revoked = on_revoked
        self._on_replaced = on_replaced
        self._user = user
        self._outlet = outlet
        self._broker = broker
        self._channel: Channel | None = None
        # an `asyncio.Event` does the same and takes a kilobyte for it
        self._awake = False
        self._sleeper: asyncio.Future[None] | None = None
        self._sync = False
        self._shown: list[bytes] = []

    # --- what the channel calls ---------------------------------------------------------------

    @property
    def offset(self) -> int:
        """The cursor in the log."""
        return self.cursors.offset

    @offset.setter
    def offset(self, value: int) -> None:
        self.cursors.offset = value

    def wake(self) -> None:
        """The channel has something new."""
        sleeper = self._sleeper
        if sleeper is None or sleeper.done():
            self._awake = True
        elif not self._put_text():
            self._awake = True
            sleeper.set_result(None)

    def show(self, body: bytes) -> None:
        """An ephemeral frame."""
        only = self.cursors.only
        if only is None or is_about(body, only.generation):
            shown = self._shown
            shown.append(body)
            # a reader that lags loses notices, oldest first; nothing else is ever dropped
            while len(shown) > _SHOWN or (len(shown) > 1 and sum(map(len, shown)) > _SHOWN_BYTES):
                del shown[0]
            self.wake()

    def revoked(self) -> None:
        """The user's tokens are void."""
        self._on_revoked()

    def replaced(self, session: str) -> None:
        """This session has lost its place."""
        self._on_replaced(session)

    # --- what the session calls ---------------------------------------------------------------

    def request_sync(self, texts: dict[str, TextCursor] | None) -> None:
        """Send states, texts from these cursors, and `synced` at the next occasion."""
        self.cursors.present(texts)
        self._sync = True
        self.wake()

    async def catch_up(self, channel: Channel, head: Position) -> None:
        """After `welcome`: the missed events up to `head`, then states, texts and `synced`.

        Raises:
            TransportClosed, BrokerUnavailable
        """
        while self.cursors.epoch == channel.epoch and self.cursors.offset < head.offset:
            page = channel.after(self.cursors.offset)
            if page is None:
                page = await self._read_log()
            if not page:
                await self._reset(channel)
                return
            await self._send_page(page, channel)
        if self.cursors.epoch == channel.epoch:
            await self._send_states(channel)
        else:
            await self._reset(channel)

    async def run(self, channel: Channel) -> None:
        """Deliver until the transport closes, or until the turn asked for has ended.

        Raises:
            TransportClosed
        """
        self._channel = channel
        self.wake()
        while not (self.cursors.only and self.cursors.only.done):
            if not self._awake:
                self._sleeper = asyncio.get_running_loop().create_future()
                await self._sleeper
            self._awake = False
            try:
                await self._deliver(channel)
            except BrokerUnavailable:
                # the store is away: what is missing waits there
                await asyncio.sleep(_RETRY_SECONDS)
                self.wake()

    async def show_states(self, channel: Channel) -> None:
        """The state of every running generation and the text beyond its cursor.

        Raises:
            TransportClosed
        """
        for live in channel.running():
            # whatever it was told before
            self.cursors.told.pop(live.state.generation, None)
            more = True
            while more:
                batch = Batch()
                more = not self.cursors.take_text(live, channel, batch)
                await self._send(batch.frames)

    # --- delivering -----------------------------------------------------------------------------

    def _put_text(self) -> bool:
        """Send what texts have grown by, if nothing else is due and the client reads; whether that was all.

        A turn of the pump's task for every token would cost more than the sending.
        """
        channel, cursors = self._channel, self.cursors
        if channel is None or self._sync or self._shown or not self._outlet.ready:
            return False
        if cursors.offset != channel.offset or cursors.epoch != channel.epoch:
            return False
        batch = Batch()
        cursors.take_texts(channel, batch)
        try:
            for frame in batch.frames:
                self._outlet.put(frame)
        except TransportClosed:
            return False
        return not batch.full

    async def _deliver(self, channel: Channel) -> None:
        more = True
        while more:
            if self._sync:
                await self._answer_sync(channel)
            before = self.cursors.offset
            batch = self.cursors.collect(channel)
            if batch is Need.RESET:
                await self._reset(channel)
                continue
            if batch is Need.LOG:
                page = await self._read_log()
                if page is None:
                    await self._reset(channel)
                    continue
                await self._send_page(page, channel)
                more = bool(page)
            else:
                # what is not in a batch that is not full has not been there, and wakes when it comes
                more = batch.full
                await self._send(batch.frames)
            if self.cursors.offset != before:
                channel.forget_delivered()
        if self._shown:
            await self._send_shown(channel)

    async def _answer_sync(self, channel: Channel) -> None:
        self._sync = False
        try:
            # events first, so that no text comes before the switch that announced it
            await self.catch_up(channel, channel.position)
        except BrokerUnavailable:
            self._sync = True
            raise

    async def _read_log(self) -> list[LogEntry] | None:
        position = Position(self.cursors.epoch, self.cursors.offset)
        return await self._broker.read_log(self._user, position, limit_bytes=BATCH_BYTES)

    async def _reset(self, channel: Channel) -> None:
        """Begin again: with the first event of another epoch if that can be had, else at the head."""
        first = Position(channel.epoch, 0)
        another = self.cursors.epoch != channel.epoch
        if another and channel.after(0) is None:
            another = await self._broker.read_log(self._user, first, limit_bytes=1) is not None
        self.cursors.restart(first if another else channel.position)
        if self.cursors.only is None:
            position = Position(self.cursors.epoch, self.cursors.offset)
            await self._outlet.tell(Reset(position=str(position)))
        await self.catch_up(channel, channel.position)

    async def _send_states(self, channel: Channel) -> None:
        await self.show_states(channel)
        self.cursors.forget(channel)
        if self.cursors.only is None:
            position = str(Position(self.cursors.epoch, self.cursors.offset))
            await self._outlet.tell(Synced(position=position), position)

    async def _send_page(self, page: list[LogEntry], channel: Channel) -> None:
        batch = Batch()
        self.cursors.take(page, channel, batch)
        await self._send(batch.frames)

    async def _send_shown(self, channel: Channel) -> None:
        shown, self._shown = self._shown, []
        for body in shown:
            # nothing of a generation comes after its end
            if any(is_about(body, live.state.generation) for live in channel.running()):
                await self._outlet.send(Outgoing(kind_of(body), body))

    async def _send(self, frames: list[Outgoing]) -> None:
        for frame in frames:
            await self._outlet.send(frame)
