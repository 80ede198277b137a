"""The port to the archive: finished assessments, and which conversation belongs to one.

Sans-I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.assessments.results import AssessmentResult

NOT_THERE_SECONDS = 120.0
"""How long after its event a result may still be on its way into the archive."""


class NotThere(Exception):  # noqa: N818 - a state of the world, named as one
    """There is no such thing, or not yet."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not there")
        self.what = what


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """One of a user's results, as lists show it."""

    id: str
    user: str
    name: str | None
    created_at: datetime | None


class Archive(Protocol):
    """Where results are kept. It shows any result to any service: whose it is must be checked here.

    Every method raises `NeighbourUnavailable` or `NeighbourRefused` (`neighbours.py`) as well.
    """

    async def result(self, result_id: str) -> AssessmentResult:
        """One result.

        Raises:
            NotThere: soon after its event it may only be late; see `NOT_THERE_SECONDS`.
            ResultMalformed: what the archive holds cannot be used.
        """
        ...

    async def latest(self, user: str) -> ResultSummary | None:
        """The user's newest completed result, `None` where there is none."""
        ...

    async def link(self, result_id: str, conversation: str | None) -> None:
        """Note in the archive which conversation belongs to a result. Idempotent.

        Raises:
            NotThere
        """
        ...
