"""The port to all of a user's data: erase it, or hand it out.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from server.conversations.audit import Caller


@dataclass(frozen=True, slots=True)
class Erased:
    """How much was removed, and which generations were running: they are the caller's to stop."""

    conversations: int
    messages: int
    generations: int
    usage: int
    outbox: int
    running: tuple[str, ...] = ()


class UserData(Protocol):
    """All of a user's rows."""

    async def erase(self, user_id: str, *, caller: Caller) -> Erased:
        """Remove everything of a user, and keep out whatever comes later. Audited.

        A tombstone is set first: from its commit on nothing of the user is accepted, finished or told any
        more, also by writers that began before. A second time there is nothing left to count. After
        `StoreUnavailable` in the middle, calling again goes on.

        Raises:
            StoreUnavailable
        """
        ...

    def export(self, user_id: str, *, caller: Caller) -> AsyncIterator[bytes]:
        """Everything of a user as JSON lines, each an object with a `kind`, deleted conversations too.

        Audited before the first line. Texts whose key is gone are `null` with `unavailable: true`.

        Raises:
            StoreUnavailable: also between two lines.
        """
        ...
