"""Outbox rows for the ecosystem, published one by one."""

from __future__ import annotations

from server.conversations.store import OutboxRow
from server.notifications.publishing import BrokerEvent, EventPublisher, NotPublished


class BrokerRelay:
    """Fulfils the custodian's `Relay`. A row's id is the message id, so a listener can tell a repetition."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def publish(self, row: OutboxRow) -> bool:
        """Publish one; `False`: the broker did not take it, the row stays due."""
        correlation = str(row.payload.get("generationId") or row.payload.get("assessmentId") or "")
        try:
            await self._publisher.publish(BrokerEvent(row.id, row.kind, row.payload, correlation))
        except NotPublished:
            return False
        return True
