"""The port to write marks: how far a replica must have come before it may answer a user.

Sans-I/O. A mark is a position in the primary's write-ahead log, as a number, at or after the user's last
write. It is kept for a short time where all nodes see it.
"""

from __future__ import annotations

from typing import Protocol


class WriteMarks(Protocol):
    """Marks of users, shared by all nodes; both methods raise `BrokerUnavailable` when they cannot be had."""

    async def note(self, user_id: str, position: int) -> None:
        """Keep a mark for some seconds (a minute is plenty). A greater one that is there stays."""
        ...

    async def last(self, user_id: str) -> int | None:
        """The mark, or `None` where none is kept: then nothing is known."""
        ...
