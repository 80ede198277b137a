"""Publishing facts, with the broker's confirmation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import orjson
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractExchange

from server.adapters.rabbitmq.link import Attachment, Link, LinkLimits, describe
from server.adapters.rabbitmq.topology import declare_exchange
from server.notifications.publishing import BrokerEvent, NotPublished

_APP: Final = "chatbot-service"


class RabbitPublisher:
    """`server.notifications.publishing.EventPublisher` on RabbitMQ.

    Args:
        url: where the broker is.
        exchange: the events exchange; made, durable and of type topic, where it is missing.
        publish_seconds: how long `publish` may take, waiting for the connection included.
        limits: times of the connection.
        rng: jitter, in [0, 1).
        clock: wall time, for the property `timestamp`.
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str,
        publish_seconds: float = 5.0,
        limits: LinkLimits | None = None,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._exchange = exchange
        self._publish_seconds = publish_seconds
        self._clock = clock
        self._link = Link(url, name="chatbot publisher", attach=self._attach, limits=limits, rng=rng)
        self._place: tuple[Attachment, AbstractChannel, AbstractExchange] | None = None

    def start(self) -> None:
        """Begin to connect, and stay connected."""
        self._link.start()

    async def aclose(self) -> None:
        """Close; what is being published fails."""
        await self._link.aclose()

    @property
    def connected(self) -> bool:
        """Whether publishing can work now."""
        return self._link.connected

    @property
    def problem(self) -> str | None:
        """Why it cannot, for logs."""
        return self._link.problem

    async def publish(self, event: BrokerEvent) -> None:
        """See the port. Calls at the same time are published in their order, and wait together.

        Raises:
            NotPublished
        """
        message = Message(
            orjson.dumps(dict(event.payload)),
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=event.id,
            correlation_id=event.correlation or event.id,
            type=event.kind,
            app_id=_APP,
            timestamp=self._clock(),
        )
        try:
            async with asyncio.timeout(self._publish_seconds):
                exchange = await self._ready()
                await exchange.publish(message, event.kind, mandatory=False)
        except TimeoutError as error:
            raise NotPublished(self._link.problem or "no confirmation in time") from error
        except Exception as error:
            # refused by the broker, or the connection ended under it: a client library has many names for it
            raise NotPublished(describe(error)) from error

    async def _ready(self) -> AbstractExchange:
        """The exchange, on a channel that is open."""
        while True:
            await self._link.up()
            assert self._place is not None
            attachment, channel, exchange = self._place
            if not channel.is_closed:
                return exchange
            # the library knows it a moment before it tells
            attachment.lose("the channel was closed")

    async def _attach(self, attachment: Attachment) -> None:
        await declare_exchange(attachment.connection, self._exchange, "topic")
        channel = await attachment.connection.channel(publisher_confirms=True)
        channel.close_callbacks.add(
            lambda _, reason=None: attachment.lose(reason or "the channel was closed")
        )
        self._place = attachment, channel, await channel.get_exchange(self._exchange, ensure=False)
