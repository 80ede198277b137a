"""Messages of every kind: duplicates, neighbours in the queue, foreign headers, and what cannot be read."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import struct
from pathlib import Path
from typing import Any

import pytest

from server.assessments.events import AnalysisEvent
from server.assessments.handling import Reject, Retry
from server.embedded.neighbours import worker
from tests.adapters.rabbitmq.raw_publisher import RawPublisher
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
    until,
)
from tests.scripted.waiting import eventually

_STUCK = Path(__file__).with_name("stuck_consumer.py")
_ROOT = Path(__file__).parents[3]


def test_duplicates_are_delivered_as_duplicates(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler, message = a_topology(), Handler(), a_completed()
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            for _ in range(3):
                await out.send(topology, message)
            await eventually(lambda: handler.finished == 3)
        assert len(set(handler.events)) == 1

    run(scenario())


def test_duplicates_that_fail_together_are_all_put_aside(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Reject("never")

        topology, handler, message = a_topology(), Handler(act), a_completed()
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            for _ in range(4):
                await out.send(topology, message)
            dead = [await out.take(topology.dead_queue) for _ in range(4)]
            await out.empty(topology)
        assert {each.message_id for each in dead} == {message.message_id}

    run(scenario())


def test_events_of_one_user_are_handled_in_order_and_other_users_do_not_wait(rabbitmq_url: str):
    async def scenario() -> None:
        slow, quick, job, result = new_id(), new_id(), new_id(), new_id()
        go = asyncio.Event()

        async def act(event: AnalysisEvent, count: int) -> None:
            if event.user == slow:
                await go.wait()

        topology, handler = a_topology(), Handler(act)
        async with a_consumer(rabbitmq_url, handler, topology), an_outsider(rabbitmq_url) as out:
            await out.send(topology, worker.started(user=slow, job=job, result=None, iso=ISO, ms=MS))
            await out.send(topology, worker.completed(user=slow, job=job, result=result, iso=ISO, ms=MS))
            await out.send(topology, a_completed(user=quick))
            await eventually(lambda: handler.finished == 1, what="the other user's is handled")
            assert [event.user for event in handler.events] == [slow, quick]
            go.set()
            await eventually(lambda: handler.finished == 3)
        assert [event.stage for event in handler.events if event.user == slow] == [
            "analysis_started",
            "analysis_complete",
        ]

    run(scenario())


def test_a_message_with_another_routing_key_is_let_go_of(rabbitmq_url: str):
    async def scenario() -> None:
        topology, handler = a_topology(), Handler()
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            await out.publish("", topology.queue, b"{}")
            await eventually(lambda: consumer.outcomes["ignored"] == 1)
            await out.empty(topology)
            assert await out.depth(topology.dead_queue) == 0
        assert handler.events == []

    run(scenario())


def test_the_publishers_own_headers_survive_a_retry_and_the_grave(rabbitmq_url: str):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Retry("not yet")

        given: dict[str, Any] = {
            "userId": "ü",
            "n": 7,
            "big": 2**40,
            "yes": True,
            "no": None,
            "price": decimal.Decimal("1.5"),
            "ratio": 0.5,
            "raw": bytearray(b"\xff\x00"),
            "when": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
            "list": [1, "two", {"three": 3}],
            "x-attempt": "many",
        }
        topology, handler, message = a_topology(retry_seconds=(0.05,)), Handler(act), a_completed()
        async with (
            a_consumer(rabbitmq_url, handler, topology, max_attempts=3),
            an_outsider(rabbitmq_url) as out,
        ):
            await out.publish(topology.exchange, message.routing_key, message.body, headers=given)
            dead = await out.take(topology.dead_queue)
        assert {name: dead.headers[name] for name in given if name != "x-attempt"} == {
            name: value for name, value in given.items() if name != "x-attempt"
        }
        assert len(handler.events) == 3

    run(scenario())


def test_a_message_with_the_workers_own_timestamp_and_odd_headers_is_retried_like_any_other(
    rabbitmq_url: str,
):
    async def scenario() -> None:
        async def act(event: AnalysisEvent, count: int) -> None:
            raise Retry("not yet")

        topology, handler, message = a_topology(retry_seconds=(0.05,)), Handler(act), a_completed()
        # a long string that is no UTF-8, and a double too large for a float
        table = b"\x03badS\x00\x00\x00\x02\xff\xfe" + b"\x04huged" + struct.pack(">d", 1e300)
        async with (
            a_consumer(rabbitmq_url, handler, topology, max_attempts=2),
            an_outsider(rabbitmq_url) as out,
        ):
            raw = await RawPublisher.connect(rabbitmq_url)
            raw.publish(
                topology.exchange,
                message.routing_key,
                message.body,
                timestamp=MS,
                message_id="raw",
                table=table,
            )
            await raw.aclose()
            dead = await out.take(topology.dead_queue)
        assert len(handler.events) == 2
        assert dead.headers["bad"] == bytearray(b"\xff\xfe")
        assert dead.headers["huge"] == "1e+300"
        assert dead.timestamp is not None
        assert dead.timestamp.timestamp() == MS // 1000

    run(scenario())


def test_a_message_that_cannot_even_be_read_is_put_aside_by_the_broker_and_the_rest_flows_on(
    rabbitmq_url: str, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        topology, handler, before, after = (
            a_topology(delivery_limit=3),
            Handler(),
            a_completed(),
            a_completed(),
        )
        async with a_consumer(rabbitmq_url, handler, topology) as consumer, an_outsider(rabbitmq_url) as out:
            await out.send(topology, before)
            await eventually(lambda: consumer.outcomes["handled"] == 1)
            raw = await RawPublisher.connect(rabbitmq_url)
            raw.publish(topology.exchange, "analysis.completed", b"{}", timestamp=2**63, message_id="killer")
            await raw.aclose()
            await out.send(topology, after)
            # the link is lost and made again as often as the broker delivers it
            await eventually(lambda: handler.finished == 2, 60)
            await until(lambda: out.depth(topology.dead_queue))
            await out.empty(topology)
        assert handler.seen() == [json_of(before)["resultId"], json_of(after)["resultId"]]

    run(scenario())
