"""The port to the assessment service: from a job to its result.

Sans-I/O. Needed where an event names a job and no result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """An analysis under way or done. `status` is the service's own word, for example `completed`."""

    id: str
    user: str
    status: str
    result: str | None


class Jobs(Protocol):
    """The assessment service. Every method raises `NeighbourUnavailable` or `NeighbourRefused`."""

    async def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotThere (`archive.py`)
        """
        ...
