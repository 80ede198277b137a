"""A reader that waits for one generation's end: what a plain POST is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from protocol.frames import GenerationFinished
from protocol.position import Position
from server.channels.broker import Broker, BrokerUnavailable
from server.channels.channel import Channel, kind_of
from server.gateway.front import Front

_RETRY_SECONDS = 0.5
_decoder = msgspec.json.Decoder(GenerationFinished)


class EndWaiter:
    """Reads a channel's events and nothing else."""

    def __init__(self, user: str, broker: Broker) -> None:
        self.offset = 0
        self._user = user
        self._broker = broker
        self._news = asyncio.Event()

    def wake(self) -> None:
        """The channel has something new."""
        self._news.set()

    def show(self, body: bytes) -> None:
        """Notices are not for somebody who waits."""

    def revoked(self) -> None:
        """An accepted request is answered all the same."""

    def replaced(self, session: str) -> None:
        """It is no session."""

    async def wait(self, channel: Channel, head: Position, generation: str) -> GenerationFinished:
        """The end of `generation`, once it comes; `head` is where to read from."""
        epoch, self.offset = head
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            if channel.epoch != epoch:
                # the end of a running generation is told in the new epoch
                epoch, self.offset = channel.epoch, 0
            entries = channel.after(self.offset)
            if entries is None:
                try:
                    entries = await self._broker.read_log(self._user, Position(epoch, self.offset))
                except BrokerUnavailable:
                    await asyncio.sleep(_RETRY_SECONDS)
                    self._news.set()
                    continue
                if entries is None:
                    entries = list(channel.entries)
                if entries:
                    self._news.set()
            for entry in entries:
                self.offset = max(self.offset, entry.offset)
                if kind_of(entry.body) == "generation.finished" and generation.encode() in entry.body[:160]:
                    return _decoder.decode(entry.body)


async def in_time(
    front: Front, waiting: Coroutine[Any, Any, GenerationFinished]
) -> GenerationFinished | None:
    """The end, or `None` where it takes too long, or the node goes away meanwhile."""
    ending = asyncio.create_task(waiting)
    leaving = asyncio.create_task(front.drained.wait())
    try:
        await asyncio.wait(
            {ending, leaving},
            timeout=front.limits.rest_wait_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return ending.result() if ending.done() else None
    finally:
        ending.cancel()
        leaving.cancel()
