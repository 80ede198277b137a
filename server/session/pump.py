"""The pump: turns what a channel has beyond a reader's cursors into frames, in one task.

It waits for the channel to have something, collects, sends, and moves on. While a send waits for a slow
client the channel grows on without it; the next collection is simply larger.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from protocol.frames import Reset, Synced, TextCursor
from protocol.position import Position
from server.channels.broker import Broker, BrokerUnavailable
from server.channels.channel import Channel, kind_of
from server.session.cursors import Cursors, Need, Outgoing, TurnFilter
from server.session.outlet import Outlet

_SHOWN = 64
_RETRY_SECONDS = 0.5


class Pump:
    """A reader of one channel that writes to one outlet. `wall_ms` is this node's clock."""

    def __init__(
        self,
        user: str,
        outlet: Outlet,
        broker: Broker,
        *,
        wall_ms: Callable[[], int],
        on_revoked: Callable[[], None],
        only: TurnFilter | None = None,
    ) -> None:
        self.cursors = Cursors("", 0, only=only)
        self._on_revoked = on_revoked
        self._user = user
        self._outlet = outlet
        self._broker = broker
        self._wall_ms = wall_ms
        self._news = asyncio.Event()
        self._sync = False
        # a reader that lags loses notices, oldest first; nothing else is ever dropped
        self._shown: deque[bytes] = deque(maxlen=_SHOWN)

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
        self._news.set()

    def show(self, body: bytes) -> None:
        """An ephemeral frame."""
        only = self.cursors.only
        if only is None or only.generation.encode() in body:
            self._shown.append(body)
            self._news.set()

    def revoked(self) -> None:
        """The user's tokens are void."""
        self._on_revoked()

    # --- what the session calls ---------------------------------------------------------------

    def request_sync(self, texts: dict[str, TextCursor] | None) -> None:
        """Send states, texts from these cursors, and `synced` at the next occasion."""
        self.cursors.present(texts)
        self._sync = True
        self._news.set()

    async def catch_up(self, channel: Channel, head: Position) -> None:
        """After `welcome`: the missed events up to `head`, then states, texts and `synced`.

        Raises:
            TransportClosed, BrokerUnavailable
        """
        while self.cursors.epoch == head.epoch and self.cursors.offset < head.offset:
            frames: list[Outgoing] = []
            page = channel.after(self.cursors.offset) if channel.epoch == self.cursors.epoch else None
            if page is None:
                page = await self._broker.read_log(
                    self._user, Position(self.cursors.epoch, self.cursors.offset)
                )
            if page is None:
                await self._reset(channel)
                return
            self.cursors.take(page, channel, frames)
            await self._send(frames)
        await self._send_states(channel)

    async def run(self, channel: Channel) -> None:
        """Deliver until the transport closes, or until the turn asked for has ended.

        Raises:
            TransportClosed
        """
        self._news.set()
        while not (self.cursors.only and self.cursors.only.done):
            await self._news.wait()
            self._news.clear()
            try:
                await self._deliver(channel)
            except BrokerUnavailable:
                # the store is away: what is missing waits there
                await asyncio.sleep(_RETRY_SECONDS)
                self._news.set()

    async def _deliver(self, channel: Channel) -> None:
        while True:
            if self._sync:
                self._sync = False
                await self._send_states(channel)
            frames = self.cursors.collect(channel)
            if frames is Need.RESET:
                await self._reset(channel)
                continue
            if frames is Need.LOG:
                frames = await self._read_page(channel)
            if not frames:
                break
            moved = self.cursors.offset
            await self._send(frames)
            if moved:
                channel.forget_delivered()
        while self._shown:
            body = self._shown.popleft()
            await self._outlet.send(Outgoing(kind_of(body), body))

    async def _read_page(self, channel: Channel) -> list[Outgoing]:
        position = Position(self.cursors.epoch, self.cursors.offset)
        page = await self._broker.read_log(self._user, position)
        frames: list[Outgoing] = []
        if page is None:
            await self._reset(channel)
        else:
            self.cursors.take(page, channel, frames)
        return frames

    async def _reset(self, channel: Channel) -> None:
        self.cursors.restart(channel.position)
        head = str(channel.position)
        await self._outlet.tell(Reset(position=head), head)
        await self._send_states(channel)

    async def show_states(self, channel: Channel) -> None:
        """The state of every running generation and the text beyond its cursor.

        Raises:
            TransportClosed
        """
        await self._send(self.cursors.states(channel, self._wall_ms()))
        for live in channel.running():
            full = True
            while full:
                frames: list[Outgoing] = []
                full = not self.cursors.take_text(live, frames)
                await self._send(frames)

    async def _send_states(self, channel: Channel) -> None:
        await self.show_states(channel)
        position = str(Position(self.cursors.epoch, self.cursors.offset))
        await self._outlet.tell(Synced(position=position), position)

    async def _send(self, frames: list[Outgoing]) -> None:
        for frame in frames:
            await self._outlet.send(frame)
