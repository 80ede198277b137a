"""The archive service behind `server.assessments.archive.Archive`."""

from __future__ import annotations

from server.adapters.atma.documents import data_of, text_of
from server.adapters.atma.neighbour import Neighbour
from server.assessments.archive import NotThere, ResultSummary
from server.assessments.events import is_uuid, read_time
from server.assessments.neighbours import NeighbourUnavailable
from server.assessments.results import AssessmentResult, read_result

_NOT_FOUND = 404
_LATEST: dict[str, str | int] = {
    "page": 1,
    "limit": 1,
    "status": "completed",
    "sort": "created_at",
    "order": "desc",
}


class ArchiveService:
    """`Archive` over HTTP."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def result(self, result_id: str) -> AssessmentResult:
        """See `Archive.result`."""
        path = _path(result_id)
        answer = await self._neighbour.ask("GET", path, expected={_NOT_FOUND})
        if answer.status == _NOT_FOUND:
            raise NotThere(f"result {result_id}")
        data = data_of(answer.document)
        if data is None:
            raise NeighbourUnavailable(self._neighbour.name, "a result without data")
        return read_result(data, asked=result_id)

    async def latest(self, user: str) -> ResultSummary | None:
        """See `Archive.latest`."""
        answer = await self._neighbour.ask(
            "GET", "/archive/results", params=_LATEST, headers={"X-User-ID": user}
        )
        rows = (data_of(answer.document) or {}).get("results")
        if not isinstance(rows, list):
            raise NeighbourUnavailable(self._neighbour.name, "a list without results")
        for row in rows:
            # it is asked for one user's, and what it gives of another's must not be shown
            if not isinstance(row, dict) or not is_uuid(row.get("id")) or not is_uuid(row.get("user_id")):
                continue
            if row["user_id"].lower() == user.lower():
                return ResultSummary(
                    id=row["id"].lower(),
                    user=user.lower(),
                    name=text_of(row.get("assessment_name")),
                    created_at=read_time(row.get("created_at")),
                )
        return None

    async def link(self, result_id: str, conversation: str | None) -> None:
        """See `Archive.link`."""
        answer = await self._neighbour.ask(
            "PUT", _path(result_id), json={"chatbot_id": conversation}, expected={_NOT_FOUND}
        )
        if answer.status == _NOT_FOUND:
            raise NotThere(f"result {result_id}")


def _path(result_id: str) -> str:
    """Only an id becomes part of a path."""
    if not is_uuid(result_id):
        raise NotThere("a result whose id is no UUID")
    return f"/archive/results/{result_id}"
