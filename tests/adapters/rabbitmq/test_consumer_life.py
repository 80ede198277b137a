"""A consumer's life: killed, closed, beside others, and with the queues taken from under it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from server.adapters.rabbitmq.consumer import ConsumerLimits, RabbitConsumer
from server.assessments.events import AnalysisEvent
from server.assessments.handling import Retry
from tests.adapters.rabbitmq.support import (
    QUICK,
    Handler,
    a_completed,
    a_consumer,
    a_topology,
    an_outsider,
    json_of,
    run,
    until,
)
from tests.scripted.waiting import eventually

_STUCK = Path(__file__).with_name("stuck_consumer.py")
_ROOT = Path(__file__).parents[3]


def test_after_sigkill_of_a_consumer_another_one_gets_what_it_held(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler, message = a_topology(), Handler(), a_completed()
        killed = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_STUCK),
            rabbitmq_url,
            topology.queue,
            topology.exchange,
            topology.dead_exchange,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env={"PYTHONPATH": str(_ROOT)},
        )
        assert killed.stdout is not None
        try:
            assert await killed.stdout.readline() == b"ready\n"
            async with an_outsider(rabbitmq_url) as out:
                await out.send(topology, message)
                assert await killed.stdout.readline() == b"handling\n"
                async with a_consumer(rabbitmq_url, handler, topology) as consumer:
                    # it is unacknowledged there, so nobody else has it
                    assert handler.events == []
                    killed.send_signal(signal.SIGKILL)
                    await eventually(lambda: consumer.outcomes["handled"] == 1)
                    await out.empty(topology)
        finally:
            with contextlib.suppress(ProcessLookupError):
                killed.kill()
            await killed.communicate()
        assert [event.correlation for event in handler.events] == [message.message_id]

    run(scenario())


def test_what_is_being_handled_when_it_closes_is_finished_first(rabbitmq_url: str):
    async def scenario() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def act(event: AnalysisEvent, count: int) -> None:
            begun.set()
            await go.wait()

        topology, handler = a_topology(), Handler(act)
        async with an_outsider(rabbitmq_url) as out:
            async with a_consumer(rabbitmq_url, handler, topology, drain=10.0) as consumer:
                await out.send(topology, a_completed())
                await begun.wait()
                closing = asyncio.create_task(consumer.aclose())
                await out.send(topology, a_completed())
                go.set()
                await closing
                assert consumer.outcomes["handled"] == 1
            assert handler.finished == 1
            await until(lambda: out.depth(topology.queue))
            assert not consumer.connected

    run(scenario())


def test_what_cannot_be_finished_when_it_closes_goes_back(rabbitmq_url: str):
    async def scenario() -> None:
        begun = asyncio.Event()

        async def act(event: AnalysisEvent, count: int) -> None:
            begun.set()
            await asyncio.Event().wait()

        topology, message, other = a_topology(), a_completed(), Handler()
        async with an_outsider(rabbitmq_url) as out:
            async with a_consumer(rabbitmq_url, Handler(act), topology, drain=0.05):
                await out.send(topology, message)
                await begun.wait()
            async with a_consumer(rabbitmq_url, other, topology):
                await eventually(lambda: other.finished == 1)
        assert [event.correlation for event in other.events] == [message.message_id]

    run(scenario())


def test_no_more_are_taken_than_the_prefetch_allows(rabbitmq_url: str):
    async def scenario() -> None:
        go = asyncio.Event()

        async def act(event: AnalysisEvent, count: int) -> None:
            await go.wait()

        topology, handler = a_topology(), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology, prefetch=2), an_outsider(rabbitmq_url) as out:
            for _ in range(5):
                await out.send(topology, a_completed())

            async def three_wait() -> bool:
                return len(handler.events) == 2 and await out.depth(topology.queue) == 3

            await until(three_wait)
            go.set()
            await eventually(lambda: handler.finished == 5)

    run(scenario())


def test_a_message_that_is_delivered_too_often_is_put_aside_by_the_broker(rabbitmq_url: str):
    async def scenario() -> None:
        topology = a_topology(delivery_limit=2)
        message = a_completed()
        async with an_outsider(rabbitmq_url) as out:
            async with a_consumer(rabbitmq_url, Handler(), topology):
                pass
            await out.send(topology, message)
            for _ in range(3):  # whoever takes it dies
                async with out.connection.channel() as channel:
                    queue = await channel.get_queue(topology.queue, ensure=False)
                    await until(partial(queue.get, fail=False))
            dead = await out.take(topology.dead_queue)
        assert dead.message_id == message.message_id
        deaths: Any = dead.headers["x-death"]
        assert deaths[0]["reason"] == "delivery_limit"

    run(scenario())


def test_a_queue_that_is_something_else_is_left_alone_and_said_so(rabbitmq_url: str):
    async def scenario() -> None:
        topology = a_topology()
        async with an_outsider(rabbitmq_url) as out:
            async with out.connection.channel() as channel:
                await channel.declare_queue(topology.queue, durable=True)
            await out.publish("", topology.queue, b"somebody else's")
            consumer = RabbitConsumer(
                rabbitmq_url, handler=Handler(), topology=topology, limits=ConsumerLimits(), link=QUICK
            )
            consumer.start()
            await eventually(lambda: "TopologyConflict" in (consumer.problem or ""))
            assert not consumer.connected
            assert await out.depth(topology.queue) == 1
            await consumer.aclose()

    run(scenario())


def test_when_its_queue_is_deleted_it_makes_it_again_and_goes_on(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler, message = a_topology(), Handler(), a_completed()
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            async with out.connection.channel() as channel:
                await channel.queue_delete(topology.queue)
            await eventually(lambda: not consumer.connected)
            await eventually(lambda: consumer.connected)
            await out.send(topology, message)
            await eventually(lambda: handler.finished == 1)

    run(scenario())


def test_when_a_retry_queue_is_deleted_nothing_is_lost(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            if count < 3:
                raise Retry("not yet")

        topology, handler = a_topology(retry_seconds=(0.05,)), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            async with out.connection.channel() as channel:
                await channel.queue_delete(topology.retry_queue(0.05))
            await out.send(topology, a_completed())
            await eventually(lambda: handler.finished == 1)

    run(scenario())


def test_an_exchange_that_is_there_already_is_used_as_it_is(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler = a_topology(), Handler()
        async with an_outsider(rabbitmq_url) as out:
            async with out.connection.channel() as channel:
                await channel.declare_exchange(topology.exchange, "direct", durable=True)
            async with a_consumer(rabbitmq_url, handler, topology):
                await out.send(topology, a_completed())
                await eventually(lambda: handler.finished == 1)

    run(scenario())


def test_two_nodes_may_declare_at_once_and_share_the_work(rabbitmq_url: str):
    async def scenario() -> None:
        topology, one, two = a_topology(), Handler(), Handler()
        async with (
            a_consumer(rabbitmq_url, one, topology, prefetch=1),
            a_consumer(rabbitmq_url, two, topology, prefetch=1),
            an_outsider(rabbitmq_url) as out,
        ):
            messages = [a_completed() for _ in range(20)]
            for message in messages:
                await out.send(topology, message)
            await eventually(lambda: one.finished + two.finished == 20)
        assert sorted(one.seen() + two.seen()) == sorted(json_of(each)["resultId"] for each in messages)

    run(scenario())


def test_other_delays_after_a_restart_leave_nothing_behind(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Retry("not yet")

        topology, handler, later = a_topology(retry_seconds=(0.6,)), Handler(act), Handler()
        async with an_outsider(rabbitmq_url) as out:
            async with a_consumer(rabbitmq_url, handler, topology) as consumer:
                await out.send(topology, a_completed())
                await eventually(lambda: consumer.outcomes["retried"] == 1)
            changed = dataclasses.replace(topology, retry_seconds=(0.1,))
            async with a_consumer(rabbitmq_url, later, changed):
                await eventually(lambda: later.finished == 1)

    run(scenario())
