"""The assessment service behind `server.assessments.jobs.Jobs`."""

from __future__ import annotations

from server.adapters.atma.documents import data_of, text_of
from server.adapters.atma.neighbour import Neighbour
from server.assessments.archive import NotThere
from server.assessments.events import is_uuid
from server.assessments.jobs import Job
from server.assessments.neighbours import NeighbourUnavailable

_NOT_FOUND = 404


class AssessmentService:
    """`Jobs` over HTTP."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def job(self, job_id: str) -> Job:
        """See `Jobs.job`."""
        if not is_uuid(job_id):
            raise NotThere("a job whose id is no UUID")
        answer = await self._neighbour.ask("GET", f"/assessment/status/{job_id}", expected={_NOT_FOUND})
        if answer.status == _NOT_FOUND:
            raise NotThere(f"job {job_id}")
        data = data_of(answer.document) or {}
        user, result, status = data.get("userId"), data.get("resultId"), text_of(data.get("status"))
        if not is_uuid(user) or status is None:
            raise NeighbourUnavailable(self._neighbour.name, "a job without user or status")
        return Job(
            id=job_id.lower(),
            user=user.lower(),
            status=status,
            result=result.lower() if is_uuid(result) else None,
        )
