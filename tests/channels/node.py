"""A node's hub on a real store, behind a line that can lose arrivals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from server.adapters.redis.adapter import RedisAdapter
from server.channels.channel import Channel, kind_of
from server.channels.hub import Hub, HubLimits
from tests.adapters.redis.support import an_adapter
from tests.channels.readers import ReaderThatCounts
from tests.scripted.lossy_subscription import SubscriptionThatLoses
from tests.scripted.waiting import eventually


def seldom(**other: float) -> HubLimits:
    """Limits by which what a test does not ask for happens seldom, and what it asks for happens soon."""
    fields: dict[str, Any] = {
        "running_check_seconds": 600.0,
        "idle_check_seconds": 600.0,
        "linger_seconds": 600.0,
        "retry_seconds": 0.02,
    }
    return HubLimits(**{**fields, **other})


@dataclass
class Node:
    adapter: RedisAdapter
    line: SubscriptionThatLoses
    hub: Hub

    async def read(self, user: str) -> tuple[Channel, ReaderThatCounts]:
        reader = ReaderThatCounts()
        channel, snapshot = await self.hub.attach(user, reader)
        # what arrived meanwhile is there as well
        assert channel.position >= snapshot.head
        assert channel.epoch == snapshot.head.epoch
        return channel, reader


@asynccontextmanager
async def a_node(
    url: str,
    limits: HubLimits | None = None,
    *,
    runs: bool = True,
    now: Callable[[], float] = time.monotonic,
    **other: Any,
) -> AsyncIterator[Node]:
    async with an_adapter(url, **other) as adapter:
        line = SubscriptionThatLoses(adapter.subscription)
        hub = Hub(
            adapter.broker,
            line,
            now=now,
            wall_ms=lambda: int(time.time() * 1000),
            limits=limits or seldom(),
        )
        task = asyncio.create_task(hub.run()) if runs else None
        try:
            yield Node(adapter, line, hub)
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def kinds(channel: Channel) -> list[str]:
    return [kind_of(entry.body) for entry in channel.entries]


def text_of(channel: Channel, generation: str) -> str | None:
    live = channel.texts.get(generation)
    return None if live is None else live.text.whole()


async def reaches(channel: Channel, offset: int) -> None:
    await eventually(lambda: channel.offset >= offset)


async def shows(channel: Channel, generation: str, text: str) -> None:
    await eventually(lambda: text_of(channel, generation) == text)
