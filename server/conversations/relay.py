"""Outbox rows for the ecosystem, passed on one by one: to the broker, and to the notification service."""

from __future__ import annotations

import logging

import msgspec

from protocol.frames import NotificationBody
from server.conversations.store import OutboxRow
from server.notifications.publishing import BrokerEvent, EventPublisher, NotPublished
from server.notifications.webhook import NotificationWebhook, NotTold

log = logging.getLogger(__name__)

_MOST_TRIES = 8  # a courtesy: about ten minutes long


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


class WebhookRelay:
    """Fulfils the custodian's `Relay` for copies of notifications. What is not taken for long is let go."""

    def __init__(self, webhook: NotificationWebhook) -> None:
        self._webhook = webhook

    async def publish(self, row: OutboxRow) -> bool:
        """Pass one on; `False`: not now, the row stays due."""
        try:
            body = msgspec.convert(row.payload["notification"], NotificationBody)
            await self._webhook.tell(row.user_id, body, once_key=str(row.payload["key"]))
        except NotTold as error:
            if row.attempts < _MOST_TRIES:
                return False
            log.warning("the notification service was not told", extra={"reason": str(error)})
        return True
