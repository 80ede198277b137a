"""Assessments on demand, of the stand-in that development servers run for the assessment service."""

from __future__ import annotations

from server.adapters.atma.documents import data_of, text_of
from server.adapters.atma.neighbour import Neighbour
from server.assessments.events import is_uuid
from server.assessments.neighbours import NeighbourUnavailable


class DemoAssessments:
    """Has users finish assessments. A real assessment service refuses: it has no such path."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def finish(self, user: str, address: str, language: str) -> dict[str, str]:
        """Let a user have finished one; the stand-in tells the node at `address` how it goes on.

        Asked once: asked twice, it would be two assessments.

        Raises:
            NeighbourUnavailable, NeighbourRefused
        """
        answer = await self._neighbour.ask(
            "POST",
            "/demo/assessments",
            json={"user": user, "chat_url": address, "language": language},
            attempts=1,
        )
        identity = text_of((data_of(answer.document) or {}).get("resultId"))
        if identity is None or not is_uuid(identity):
            raise NeighbourUnavailable(self._neighbour.name, "an assessment without an id")
        return {"assessment_id": identity}
