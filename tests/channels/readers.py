"""A reader of a channel that only notes what it is told."""

from __future__ import annotations


class ReaderThatCounts:
    """A reader that only notes what it is told."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.woken = 0
        self.notices: list[bytes] = []
        self.revocations = 0
        self.replacements: list[str] = []

    def wake(self) -> None:
        self.woken += 1

    def show(self, body: bytes) -> None:
        self.notices.append(body)

    def revoked(self) -> None:
        self.revocations += 1

    def replaced(self, session: str) -> None:
        self.replacements.append(session)
