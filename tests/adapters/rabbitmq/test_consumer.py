"""Events from the real broker: what is handled is gone, what is not comes again or is put aside."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from pathlib import Path

import aio_pika
import pytest

from server.assessments.events import AnalysisEvent
from server.assessments.handling import Reject, Retry
from server.embedded.neighbours import worker
from tests.adapters.rabbitmq.support import (
    ISO,
    MS,
    Handler,
    a_completed,
    a_consumer,
    a_topology,
    an_outsider,
    json_of,
    new_id,
    run,
)
from tests.scripted.waiting import eventually

_STUCK = Path(__file__).with_name("stuck_consumer.py")
_ROOT = Path(__file__).parents[3]


def test_what_the_worker_publishes_is_handled_and_gone(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler, user, result, job = a_topology(), Handler(), new_id(), new_id(), new_id()
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            message = worker.completed(user=user, job=job, result=result, iso=ISO, ms=MS)
            await out.send(topology, message)
            await eventually(lambda: consumer.outcomes["handled"] == 1)
            await out.empty(topology)
        assert handler.events == [
            AnalysisEvent(
                stage="analysis_complete",
                user=user,
                assessment=result,
                result=result,
                job=job,
                name="AI-Driven Talent Mapping",
                occurred_at=dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC),
                correlation=message.message_id,
            )
        ]

    run(scenario())


@pytest.mark.parametrize("routing_key", ["analysis_complete", "assessment_complete"])
def test_the_plans_names_arrive_too(rabbitmq_url: str, routing_key: str):
    async def scenario() -> None:
        topology, handler, user, assessment = a_topology(), Handler(), new_id(), new_id()
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            body = f'{{"user_id": "{user}", "assessment_id": "{assessment}"}}'.encode()
            await out.publish(topology.exchange, routing_key, body)
            await eventually(lambda: handler.finished == 1)
        assert [(event.user, event.result) for event in handler.events] == [(user, assessment)]

    run(scenario())


def test_a_poisoned_message_goes_aside_with_its_reason_and_the_rest_flows_on(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler = a_topology(), Handler()
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            before, after = a_completed(), a_completed()
            await out.send(topology, before)
            await out.publish(topology.exchange, "analysis.completed", b"{ not json", message_id="poison")
            await out.send(topology, after)
            dead = await out.take(topology.dead_queue)
            await eventually(lambda: handler.finished == 2)
            await out.empty(topology)
        assert dead.body == b"{ not json"
        assert str(dead.headers["x-reason"]).startswith("malformed: not JSON")
        assert dead.headers["x-original-routing-key"] == "analysis.completed"
        assert dead.headers["x-original-exchange"] == topology.exchange
        assert dead.message_id == "poison"
        assert dead.delivery_mode is aio_pika.DeliveryMode.PERSISTENT

    run(scenario())


def test_what_is_put_off_comes_again_after_each_configured_delay(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            if count < 4:
                raise Retry("not yet")

        topology, handler = a_topology(retry_seconds=(0.2, 0.5)), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            await out.send(topology, a_completed())
            await eventually(lambda: consumer.outcomes["handled"] == 1)
            await out.empty(topology)
            assert await out.depth(topology.dead_queue) == 0
        gaps = [later - earlier for earlier, later in zip(handler.times, handler.times[1:], strict=False)]
        # the last delay stays; none is cut short
        assert [gap >= delay for gap, delay in zip(gaps, (0.2, 0.5, 0.5), strict=True)] == [True] * 3
        assert consumer.outcomes == {"retried": 3, "handled": 1}
        assert len(set(handler.events)) == 1

    run(scenario())


def test_after_the_last_attempt_it_goes_aside_with_the_last_reason(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Retry(f"reason {count}")

        topology, handler, message = a_topology(retry_seconds=(0.05,)), Handler(act), a_completed()
        async with (
            a_consumer(rabbitmq_url, handler, topology, max_attempts=3) as consumer,
            an_outsider(rabbitmq_url) as out,
        ):
            await out.send(topology, message)
            dead = await out.take(topology.dead_queue)
            await eventually(lambda: consumer.outcomes["dead"] == 1)
        assert len(handler.events) == 3
        assert dead.headers["x-reason"] == "given up after 3 attempts: reason 3"
        assert dead.headers["x-attempt"] == 3
        assert dead.body == message.body
        assert dead.message_id == message.message_id

    run(scenario())


def test_a_window_is_tried_for_its_time_and_not_for_a_number_of_attempts(rabbitmq_url: str):
    async def scenario() -> None:
        now = time.time()

        async def act(event: AnalysisEvent, count: int) -> None:
            nonlocal now
            now += 25.0
            raise Retry("not there", window_seconds=60.0)

        topology, handler = a_topology(retry_seconds=(0.1, 0.2)), Handler(act)
        async with (
            a_consumer(rabbitmq_url, handler, topology, clock=lambda: now, max_attempts=2),
            an_outsider(rabbitmq_url) as out,
        ):
            await out.send(topology, a_completed())
            dead = await out.take(topology.dead_queue)
        assert len(handler.events) == 3
        assert "not there" in str(dead.headers["x-reason"])

    run(scenario())


@pytest.mark.parametrize("failure", [ValueError("a bug"), TimeoutError(), asyncio.CancelledError()])
def test_a_handler_that_breaks_is_tried_again(rabbitmq_url: str, failure: BaseException):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            if count == 1:
                raise failure

        topology, handler = a_topology(), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            await out.send(topology, a_completed())
            await eventually(lambda: consumer.outcomes["handled"] == 1)
        assert len(handler.events) == 2

    run(scenario())


def test_a_handler_that_hangs_is_cut_off_and_tried_again(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            if count == 1:
                await asyncio.Event().wait()

        topology, handler = a_topology(), Handler(act)
        async with (
            a_consumer(rabbitmq_url, handler, topology, handle=0.2) as consumer,
            an_outsider(rabbitmq_url) as out,
        ):
            await out.send(topology, a_completed())
            await eventually(lambda: consumer.outcomes["handled"] == 1)
        assert len(handler.events) == 2

    run(scenario())


def test_what_is_rejected_goes_aside_at_once(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Reject("the result belongs to somebody else")

        topology, handler = a_topology(), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            await out.send(topology, a_completed())
            dead = await out.take(topology.dead_queue)
            await eventually(lambda: consumer.outcomes["dead"] == 1)
        assert len(handler.events) == 1
        assert dead.headers["x-reason"] == "the result belongs to somebody else"

    run(scenario())


def test_the_dead_letter_can_be_read_as_it_came(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler = a_topology(), Handler()
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            await out.publish(topology.exchange, "analysis.failed", b'{"errorMessage": "unparsable job"}')
            dead = await out.take(topology.dead_queue)
        assert json_of(dead) == {"errorMessage": "unparsable job"}
        assert dead.headers["x-reason"] == "malformed: userId is missing"
        assert dead.message_id

    run(scenario())
