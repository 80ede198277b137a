"""The port of whoever acts on events, and how it says what becomes of one.

Sans-I/O. A handler that returns has done what the event asks, durably: only then is the message let go
of. The same event may come again at any time, so handling one twice must do nothing the second time.
"""

from __future__ import annotations

from typing import Protocol

from server.assessments.events import AnalysisEvent


class Retry(Exception):  # noqa: N818 - what is to happen, named as that
    """It cannot be done now: try again later.

    Without `window_seconds` the number of attempts is limited. With it only time is: the event is tried
    until it is that old, counted from its first attempt, however many attempts that takes.
    """

    def __init__(self, reason: str, *, window_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.window_seconds = window_seconds


class Reject(Exception):  # noqa: N818
    """It can never be done: put the event aside, with this reason, for a person to look at."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EventHandler(Protocol):
    """Acts on what happened to assessments. Events of one user come to it one after the other."""

    async def handle(self, event: AnalysisEvent) -> None:
        """Do what the event asks.

        Raises:
            Retry, Reject
        """
        ...
