"""What must be there before events flow, and how it is declared.

    events exchange ──5 keys──▶ queue ──handled──▶ gone
                                 │ ▲
                        put off  │ │ when its time is over
                                 ▼ │
                          queue.retry.<ms>     (one per delay, nobody consumes)
                                 │
             queue ──put aside, or delivered too often──▶ chatbot_dlx ──▶ queue.dead

All queues are durable quorum queues, and each hands on only what its next one has confirmed
(`x-dead-letter-strategy: at-least-once`), which RabbitMQ 3.10 and later know. Nothing here is transient,
shared as exclusive, or limited by a global prefetch: RabbitMQ 4 has none of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from server.assessments.events import STAGE_OF

_HANDS_ON: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


class TopologyConflict(Exception):  # noqa: N818 - a state of the world, named as one
    """Something of that name is there already, and is something else."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of things, and their numbers.

    `retry_seconds` are the delays before the second, third, … attempt. `delivery_limit` is for messages
    that kill whoever takes them: so often they are delivered again before the broker puts them aside.

    Raises:
        ValueError: a delay is not a sensible number of seconds.
    """

    exchange: str = "atma_events_exchange"
    queue: str = "chatbot_analysis_events"
    retry_seconds: tuple[float, ...] = (1.0, 5.0, 15.0, 60.0)
    routing_keys: tuple[str, ...] = tuple(STAGE_OF)
    dead_exchange: str = "chatbot_dlx"
    delivery_limit: int = 20

    def __post_init__(self) -> None:
        if not all(0 <= seconds <= 86400 for seconds in self.retry_seconds):  # noqa: PLR2004 - a day
            raise ValueError("delays of retries are between nothing and a day")

    @property
    def dead_queue(self) -> str:
        """Where messages lie that nobody could handle."""
        return f"{self.queue}.dead"

    def retry_queue(self, seconds: float) -> str:
        """Where messages wait that long."""
        return f"{self.queue}.retry.{round(seconds * 1000)}"


async def declare(connection: AbstractConnection, topology: Topology) -> None:
    """Make sure that everything is there.

    Raises:
        TopologyConflict: a queue of that name has other properties. It is left alone: it may be another
            service's.
    """
    await declare_exchange(connection, topology.exchange, "topic")
    await declare_exchange(connection, topology.dead_exchange, "direct")
    dead, queue = topology.dead_queue, topology.queue
    channel = await connection.channel()
    try:
        grave = await channel.declare_queue(dead, durable=True, arguments={"x-queue-type": "quorum"})
        # bound by the queue's name: services with other queues may share the exchange
        await grave.bind(topology.dead_exchange, queue)
        for seconds in topology.retry_seconds:
            back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
            waiting = {**_HANDS_ON, **back, "x-message-ttl": round(seconds * 1000)}
            await channel.declare_queue(topology.retry_queue(seconds), durable=True, arguments=waiting)
        buried = {"x-dead-letter-exchange": topology.dead_exchange, "x-dead-letter-routing-key": queue}
        main = await channel.declare_queue(
            queue,
            durable=True,
            arguments={**_HANDS_ON, **buried, "x-delivery-limit": topology.delivery_limit},
        )
        for key in topology.routing_keys:
            await main.bind(topology.exchange, key)
    except ChannelPreconditionFailed as error:
        raise TopologyConflict(str(error)) from error
    finally:
        await channel.close()


async def declare_exchange(connection: AbstractConnection, name: str, kind: str) -> None:
    """Make sure that an exchange is there: as it is, whoever made it, or durable and of that kind."""
    # a passive declaration that fails closes its channel
    channel = await connection.channel()
    try:
        await channel.declare_exchange(name, passive=True)
    except ChannelNotFoundEntity:
        pass
    else:
        await channel.close()
        return
    channel = await connection.channel()
    try:
        await channel.declare_exchange(name, kind, durable=True)
    except ChannelPreconditionFailed:
        # somebody made it in between; how it is made is its maker's business
        return
    finally:
        await channel.close()
