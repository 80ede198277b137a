"""The notification service behind `server.notifications.webhook.NotificationWebhook`.

`POST /notifications/<stage with dashes>`, beside the paths it has for others. The stages of the analysis
it hears from the broker by itself: told twice, its clients would show them twice.
"""

from __future__ import annotations

from typing import Final

import msgspec

from protocol.frames import NotificationBody, Stage
from server.adapters.atma.neighbour import Neighbour
from server.assessments.neighbours import NeighbourFailure
from server.notifications.webhook import NotTold

_OURS: Final[frozenset[Stage]] = frozenset({"assessment_submitted", "chatbot_ready"})
_NOT_TAKEN = frozenset({400, 404, 405, 422})


class NotificationService:
    """`NotificationWebhook` over HTTP. It is asked once: whoever calls decides whether to call again."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def tell(self, user: str, body: NotificationBody, *, once_key: str) -> bool:
        """See `NotificationWebhook.tell`."""
        if body.stage not in _OURS:
            return False
        try:
            answer = await self._neighbour.ask(
                "POST",
                f"/notifications/{body.stage.replace('_', '-')}",
                json={"userId": user, **msgspec.to_builtins(body)},
                headers={"Idempotency-Key": once_key},
                expected=_NOT_TAKEN,
                attempts=1,
            )
        except NeighbourFailure as error:
            raise NotTold(str(error)) from error
        return answer.status not in _NOT_TAKEN
