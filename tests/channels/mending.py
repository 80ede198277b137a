"""What the hub does with a channel, in one step: no awaits, so no arrivals in between.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.position import Position
from server.channels.broker import Arrival
from server.channels.channel import Channel
from tests.channels.story import USER, Story

NODE_MS = 4_000  # the node's clock is a second behind the store's


def a_channel(story: Story | None = None) -> Channel:
    """A channel, current with the story if there is one."""
    channel = Channel(USER, lambda: NODE_MS)
    if story is not None:
        mend(channel, story)
    return channel


def mend(channel: Channel, story: Story) -> None:
    """Read the truth."""
    snapshot = story.snapshot()
    if snapshot.head.epoch != channel.epoch:
        channel.begin_epoch(Position(snapshot.head.epoch, 0) if channel.epoch else snapshot.head)
    while channel.offset < snapshot.head.offset:
        page = story.read_log(channel.position)
        if page:
            channel.fill(page)
        else:
            channel.skip_to(snapshot.head.offset)
    channel.merge(snapshot, snapshot.now_ms - NODE_MS)
    channel.stale = False


def hear(channel: Channel, arrivals: Iterable[Arrival], now: float = 1.0) -> None:
    """Arrivals come in."""
    for arrival in arrivals:
        channel.receive(arrival, now)
