"""The broker stopped, started, killed and frozen under a consumer and a publisher."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest

from server.adapters.rabbitmq.consumer import ConsumerLimits, RabbitConsumer
from server.adapters.rabbitmq.publisher import RabbitPublisher
from server.adapters.rabbitmq.topology import Topology
from server.assessments.events import AnalysisEvent
from server.assessments.handling import Retry
from server.notifications.publishing import BrokerEvent, NotPublished
from tests.adapters.rabbitmq.support import (
    QUICK,
    Handler,
    a_completed,
    a_consumer,
    a_topology,
    an_outsider,
    json_of,
    new_id,
    run,
)
from tests.rabbitmq import RabbitMQ, running_rabbitmq
from tests.scripted.waiting import eventually

pytestmark = [pytest.mark.node, pytest.mark.xdist_group("rabbitmq of its own")]

_START_SECONDS = 40.0


@pytest.fixture
def broker() -> Iterator[RabbitMQ]:
    with running_rabbitmq() as own:
        yield own


def an_event() -> BrokerEvent:
    return BrokerEvent(id=new_id(), kind="chatbot.ready", payload={"userId": new_id()})


def test_a_broker_that_is_away_at_the_start_is_waited_for_and_what_it_kept_is_handled(broker: RabbitMQ):
    async def scenario() -> None:
        topology, early = a_topology(), a_completed()
        async with a_consumer(broker.url, Handler(), topology):
            pass
        async with an_outsider(broker.url) as out:
            await out.send(topology, early)
        await broker.stop()

        handler = Handler()
        consumer = RabbitConsumer(
            broker.url, handler=handler, topology=topology, limits=ConsumerLimits(), link=QUICK
        )
        publisher = RabbitPublisher(broker.url, exchange=topology.exchange, publish_seconds=0.2, limits=QUICK)
        consumer.start()
        publisher.start()
        try:
            await eventually(lambda: "Connect" in (consumer.problem or ""))
            assert not consumer.connected
            with pytest.raises(NotPublished):
                await publisher.publish(an_event())
            await broker.start()
            await eventually(lambda: handler.finished == 1, _START_SECONDS)
            assert consumer.problem is None
            await eventually(lambda: publisher.connected)
            await publisher.publish(an_event())
        finally:
            await consumer.aclose()
            await publisher.aclose()
        assert handler.seen() == [json_of(early)["resultId"]]

    run(scenario())


def test_a_broker_that_stops_or_dies_and_comes_back_loses_nothing(broker: RabbitMQ):
    async def scenario() -> None:
        topology = a_topology(retry_seconds=(0.5,))
        # The order matters: 3.10 forgets a quorum queue if it is killed within a second of its making.
        for goes in (broker.stop, broker.kill):
            await one_loss(topology, goes)

    async def one_loss(topology: Topology, goes: Callable[[], Awaitable[None]]) -> None:
        waits, held, interrupted = a_completed(), a_completed(), asyncio.Event()
        held_id, waits_id = json_of(held)["resultId"], json_of(waits)["resultId"]

        async def act(event: AnalysisEvent, count: int) -> None:
            if event.assessment == held_id and count == 1:
                await interrupted.wait()
            if event.assessment == waits_id and count == 1:
                raise Retry("later")

        handler = Handler(act)
        async with a_consumer(broker.url, handler, topology) as consumer:
            async with an_outsider(broker.url) as out:
                await out.send(topology, held)
                await out.send(topology, waits)
                await eventually(lambda: consumer.outcomes["retried"] == 1)
            # one is being handled, one waits in a retry queue
            await goes()
            await eventually(lambda: not consumer.connected)
            interrupted.set()
            await eventually(lambda: handler.finished == 1)
            await broker.start()
            await eventually(lambda: consumer.connected, _START_SECONDS)
            await eventually(lambda: consumer.outcomes["handled"] == 2)
            async with an_outsider(broker.url) as out:
                await out.empty(topology)
                assert await out.depth(topology.dead_queue) == 0
        # what was being handled came again, since its acknowledgement found nobody
        assert sorted(handler.seen()) == sorted([held_id, held_id, waits_id, waits_id])

    run(scenario())


def test_a_broker_that_is_frozen_makes_publishing_fail_in_bounded_time_and_goes_on_when_it_thaws(
    broker: RabbitMQ,
):
    async def scenario() -> None:
        topology = a_topology()
        publisher = RabbitPublisher(broker.url, exchange=topology.exchange, publish_seconds=0.3, limits=QUICK)
        publisher.start()
        try:
            await eventually(lambda: publisher.connected)
            os.killpg(broker.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(10):
                    for _ in range(3):
                        with pytest.raises(NotPublished):
                            await publisher.publish(an_event())
                async with asyncio.timeout(10):
                    await publisher.aclose()
            finally:
                os.killpg(broker.pid, signal.SIGCONT)
            again = RabbitPublisher(broker.url, exchange=topology.exchange, publish_seconds=5.0, limits=QUICK)
            again.start()
            await eventually(lambda: again.connected)
            await again.publish(an_event())
            await again.aclose()
        finally:
            await publisher.aclose()

    run(scenario())


def test_a_consumer_that_hears_nothing_more_gives_the_connection_up(broker: RabbitMQ):
    async def scenario() -> None:
        topology, handler = a_topology(), Handler()
        consumer = RabbitConsumer(
            broker.url,
            handler=handler,
            topology=topology,
            link=dataclasses.replace(QUICK, heartbeat=1),
        )
        consumer.start()
        try:
            await eventually(lambda: consumer.connected)
            os.killpg(broker.pid, signal.SIGSTOP)
            try:
                await eventually(lambda: not consumer.connected, 20)
            finally:
                os.killpg(broker.pid, signal.SIGCONT)
            await eventually(lambda: consumer.connected, 20)
            async with an_outsider(broker.url) as out:
                await out.send(topology, a_completed())
                await eventually(lambda: handler.finished == 1)
        finally:
            await consumer.aclose()

    run(scenario())
