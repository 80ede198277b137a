"""Builders and small tools for the tests of the RabbitMQ adapter."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from server.adapters.rabbitmq.consumer import ConsumerLimits, RabbitConsumer
from server.adapters.rabbitmq.link import LinkLimits
from server.adapters.rabbitmq.topology import Topology
from server.assessments.events import AnalysisEvent
from server.embedded.neighbours import worker
from tests.scripted.waiting import eventually

T = TypeVar("T")

QUICK = LinkLimits(connect=5.0, attach=10.0, close=1.0, first_pause=0.05, longest_pause=0.3, healthy=2.0)
ISO = "2026-03-01T08:30:00.000Z"
MS = 1_772_353_800_000


def new_id() -> str:
    return str(uuid.uuid4())


def a_topology(**other: Any) -> Topology:
    name = f"t{uuid.uuid4().hex[:12]}"
    fields: dict[str, Any] = {
        "exchange": f"{name}-events",
        "queue": name,
        "retry_seconds": (0.1, 0.3),
        "dead_exchange": f"{name}-dlx",
    }
    return Topology(**(fields | other))


def a_completed(user: str = "", result: str = "") -> worker.WorkerMessage:
    return worker.completed(user=user or new_id(), job=new_id(), result=result or new_id(), iso=ISO, ms=MS)


@dataclass
class Handler:
    """Records what it is given; `act` decides what becomes of it, by the event and its count so far."""

    act: Callable[[AnalysisEvent, int], Awaitable[None]] | None = None
    events: list[AnalysisEvent] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    finished: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    async def handle(self, event: AnalysisEvent) -> None:
        self.events.append(event)
        self.times.append(time.monotonic())
        self._counts[event.assessment] += 1
        if self.act is not None:
            await self.act(event, self._counts[event.assessment])
        self.finished += 1

    def seen(self) -> list[str]:
        return [event.assessment for event in self.events]


@asynccontextmanager
async def a_consumer(
    url: str,
    handler: Handler,
    topology: Topology,
    *,
    clock: Callable[[], float] = time.time,
    **limits: Any,
) -> AsyncIterator[RabbitConsumer]:
    consumer = RabbitConsumer(
        url,
        handler=handler,
        topology=topology,
        limits=ConsumerLimits(**({"drain": 1.0} | limits)),
        link=QUICK,
        clock=clock,
    )
    consumer.start()
    try:
        await eventually(lambda: consumer.connected, what="the consumer is connected")
        yield consumer
    finally:
        await consumer.aclose()


class Outsider:
    """Somebody else at the same broker: publishes as the worker does, and looks into queues."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> None:
        async with self.connection.channel() as channel:
            target = await channel.get_exchange(exchange, ensure=False)
            message = aio_pika.Message(
                body,
                headers=headers,
                message_id=message_id,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await target.publish(message, routing_key, mandatory=False)

    async def send(self, topology: Topology, message: worker.WorkerMessage) -> None:
        await self.publish(
            topology.exchange, message.routing_key, message.body, message_id=message.message_id
        )

    async def take(self, queue: str) -> AbstractIncomingMessage:
        """The next message of a queue, taken out of it, as soon as there is one."""

        async def get() -> AbstractIncomingMessage | None:
            async with self.connection.channel() as channel:
                place = await channel.get_queue(queue, ensure=False)
                return await place.get(no_ack=True, fail=False)

        message = await until(get, what=f"a message in {queue}")
        assert message is not None
        return message

    async def depth(self, queue: str) -> int:
        """How many messages are ready in a queue."""
        async with self.connection.channel() as channel:
            declared = (await channel.declare_queue(queue, passive=True)).declaration_result
        return declared.message_count or 0

    async def empty(self, topology: Topology) -> None:
        """Wait until nothing is left anywhere but among the dead."""
        for queue in (topology.queue, *map(topology.retry_queue, topology.retry_seconds)):
            await until(partial(self._is_empty, queue), what=f"{queue} is empty")

    async def _is_empty(self, queue: str) -> bool:
        return await self.depth(queue) == 0

    async def bound_queue(self, exchange: str, key: str = "#", **arguments: Any) -> str:
        """A queue of our own that hears what is published."""
        async with self.connection.channel() as channel:
            place = await channel.declare_queue(f"ear-{new_id()}", durable=True, arguments=arguments)
            await place.bind(exchange, key)
            return place.name


@asynccontextmanager
async def an_outsider(url: str) -> AsyncIterator[Outsider]:
    connection = await aio_pika.connect(url, timeout=10)
    try:
        yield Outsider(connection)
    finally:
        await connection.close()


async def until(ask: Callable[[], Awaitable[T]], *, what: str = "") -> T:
    """Ask, with a question that has to be awaited, until the answer is true."""
    answer: T = await eventually(cast("Callable[[], Any]", ask), what=what)
    return answer


def run(scenario: Awaitable[None]) -> None:
    """A scenario of a test, and proof that it left no task behind."""

    async def watched() -> None:
        async with asyncio.timeout(100):
            await scenario
        me = asyncio.current_task()
        # the library ends some of its own on a later turn of the loop
        await eventually(lambda: asyncio.all_tasks() == {me}, 5, what="no task is left")

    asyncio.run(watched())


def json_of(message: AbstractIncomingMessage | worker.WorkerMessage) -> Any:
    return json.loads(message.body)
