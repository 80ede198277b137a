"""The port to the broker: facts for whoever else listens in the ecosystem.

Sans-I/O. Delivery is at least once; the message id is the outbox row's, so a listener can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class NotPublished(Exception):  # noqa: N818 - a state of the world, named as one
    """The broker did not confirm. It may have the message all the same: publish the same one again."""


@dataclass(frozen=True, slots=True)
class BrokerEvent:
    """A fact to publish. `kind` is its routing key, `id` its message id, stable over retries.

    `correlation` is the id of the request that caused it; may be empty.
    """

    id: str
    kind: str
    payload: Mapping[str, Any]
    correlation: str = ""


class EventPublisher(Protocol):
    """Publishes to the events exchange."""

    async def publish(self, event: BrokerEvent) -> None:
        """Return once the broker has taken it over; whether anybody listens is not asked.

        Raises:
            NotPublished: within bounded time, also while the broker is away.
        """
        ...
