"""Ids a node proposes: UUIDv7 like the database's own (`uuid_v7`), by the database's clock.

What is sealed is bound to its row's id, so the id must be known before the row is written, and one round
trip should be enough. The database takes an id that is of about now and follows its conversation's newest;
else it names others, and its clock's reading, from which this learns how far this node's clock is off.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from uuid import UUID

_RANDOM_BITS = 62


class ProposedIds:
    """Makes ids. `clock` is nanoseconds since 1970."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._offset = 0

    def next(self, after: UUID | None = None) -> UUID:
        """A new id, greater than `after`."""
        ticks = self._ticks() + self._offset
        if after is not None:
            ticks = max(ticks, ticks_of(after) + 1)
        random = secrets.randbits(_RANDOM_BITS)
        return UUID(
            int=(ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << _RANDOM_BITS | random
        )

    def learn(self, reading: UUID) -> None:
        """Go by a clock that has just made this id."""
        self._offset = ticks_of(reading) - self._ticks()

    def _ticks(self) -> int:
        return self._clock() * 4096 // 1_000_000


def ticks_of(uuid: UUID) -> int:
    """The time in a UUIDv7, in 1/4096 ms since 1970."""
    return (uuid.int >> 80) << 12 | (uuid.int >> 64) & 0xFFF
