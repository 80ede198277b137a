"""Where a client that comes back goes on.

Sans-I/O. The rule of `welcome.resume` (protocol README, "Connecting").
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.frames import Resume
from protocol.position import Position
from server.channels.broker import Snapshot


@dataclass(frozen=True, slots=True)
class Continuation:
    """What `welcome` says, and the position held before any replay."""

    resume: Resume
    held: Position


def continue_from(presented: str | None, snapshot: Snapshot) -> Continuation:
    """Place a presented position against the log.

    `reset` for a position of another epoch, from the future, older than the log's window, or not one.
    An empty log under a live head is no loss for a client that is at the head.
    """
    head = snapshot.head
    if presented is None:
        return Continuation("fresh", head)
    position = Position.parse(presented)
    if position is None or position.epoch != head.epoch or position.offset > head.offset:
        return Continuation("reset", head)
    if position.offset == head.offset:
        return Continuation("live", head)
    if snapshot.oldest is None or snapshot.oldest > position.offset + 1:
        return Continuation("reset", head)
    return Continuation("replay", position)
