"""The port to retention: what is older than so many days goes.

Sans-I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Retained:
    """What one run removed: whole months by the names of their tables, the rest row by row."""

    partitions: tuple[str, ...]
    messages: int
    usage: int
    generations: int
    conversations: int


class Retention(Protocol):
    """Removes what is too old."""

    async def retain(self, *, before: datetime) -> Retained | None:
        """Remove what is from before a moment.

        That is messages, usage and ended generations, and conversations whose last activity is older. Of
        several nodes that call this at once one works; for the others it is `None`. Audited where it removed
        anything. After `StoreUnavailable` in the middle, calling again goes on.

        Raises:
            StoreUnavailable
        """
        ...


def keep_from(now: datetime, *, days: int) -> datetime:
    """The moment from which things are kept.

    Raises:
        ValueError: fewer days than one would remove what is being written.
    """
    if days < 1:
        raise ValueError("retention is one day at least")
    return now - timedelta(days=days)
