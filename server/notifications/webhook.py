"""The port to the notification service: a copy of what is pushed, for clients that listen there.

Sans-I/O. The user's own channel is the truth; this is a courtesy, so its failure changes nothing.
"""

from __future__ import annotations

from typing import Protocol

from protocol.frames import NotificationBody


class NotTold(Exception):  # noqa: N818 - a state of the world, named as one
    """The service could not be told now; the reason is for logs."""


class NotificationWebhook(Protocol):
    """The notification service."""

    async def tell(self, user: str, body: NotificationBody, *, once_key: str) -> bool:
        """Pass a notification on. `False`: the service has its own way for this stage, or knows none.

        Raises:
            NotTold
        """
        ...
