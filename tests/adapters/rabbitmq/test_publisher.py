"""Publishing with confirmation: what `publish` returned from is with the broker."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from server.adapters.rabbitmq.publisher import RabbitPublisher
from server.embedded.ports import free_port
from server.notifications.publishing import BrokerEvent, NotPublished
from tests.adapters.rabbitmq.support import QUICK, an_outsider, json_of, new_id, run
from tests.scripted.waiting import eventually

_NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def an_event(**other: str) -> BrokerEvent:
    payload = {"eventType": "chatbot.ready", "userId": new_id(), "assessmentId": new_id()}
    return BrokerEvent(id=new_id(), kind="chatbot.ready", payload=payload, **other)


@asynccontextmanager
async def a_publisher(url: str, exchange: str, *, seconds: float = 5.0) -> AsyncIterator[RabbitPublisher]:
    publisher = RabbitPublisher(
        url, exchange=exchange, publish_seconds=seconds, limits=QUICK, clock=lambda: _NOON
    )
    publisher.start()
    try:
        yield publisher
    finally:
        await publisher.aclose()


def test_what_is_published_arrives_persistent_with_its_ids(rabbitmq_url: str):
    async def scenario() -> None:
        exchange, event = f"x-{new_id()}", an_event(correlation="request-7")
        async with a_publisher(rabbitmq_url, exchange) as publisher, an_outsider(rabbitmq_url) as out:
            await eventually(lambda: publisher.connected)
            ear = await out.bound_queue(exchange, "chatbot.*")
            await publisher.publish(event)
            # confirmed means there: it is not waited for
            assert await out.depth(ear) == 1
            message = await out.take(ear)
        assert json_of(message) == event.payload
        assert message.routing_key == "chatbot.ready"
        assert message.message_id == event.id
        assert message.correlation_id == "request-7"
        assert message.content_type == "application/json"
        assert message.content_encoding == "utf-8"
        assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
        assert message.type == "chatbot.ready"
        assert message.app_id == "chatbot-service"
        assert message.timestamp == _NOON

    run(scenario())


def test_an_event_that_nobody_listens_to_is_published_all_the_same(rabbitmq_url: str):
    async def scenario() -> None:
        async with a_publisher(rabbitmq_url, f"x-{new_id()}") as publisher:
            await publisher.publish(an_event())

    run(scenario())


def test_the_same_event_again_has_the_same_id(rabbitmq_url: str):
    async def scenario() -> None:
        exchange, event = f"x-{new_id()}", an_event()
        async with a_publisher(rabbitmq_url, exchange) as publisher, an_outsider(rabbitmq_url) as out:
            await eventually(lambda: publisher.connected)
            ear = await out.bound_queue(exchange)
            await publisher.publish(event)
            await publisher.publish(event)
            assert {(await out.take(ear)).message_id, (await out.take(ear)).message_id} == {event.id}

    run(scenario())


def test_events_published_at_once_keep_their_order(rabbitmq_url: str):
    async def scenario() -> None:
        exchange, events = f"x-{new_id()}", [an_event() for _ in range(50)]
        async with a_publisher(rabbitmq_url, exchange) as publisher, an_outsider(rabbitmq_url) as out:
            await eventually(lambda: publisher.connected)
            ear = await out.bound_queue(exchange)
            await asyncio.gather(*(publisher.publish(event) for event in events))
            taken = [(await out.take(ear)).message_id for _ in events]
        assert taken == [event.id for event in events]

    run(scenario())


def test_what_the_broker_refuses_is_not_published(rabbitmq_url: str):
    async def scenario() -> None:
        exchange = f"x-{new_id()}"
        async with a_publisher(rabbitmq_url, exchange) as publisher, an_outsider(rabbitmq_url) as out:
            await eventually(lambda: publisher.connected)
            full = {"x-max-length": 1, "x-overflow": "reject-publish"}
            ear = await out.bound_queue(exchange, "#", **full)
            await publisher.publish(an_event())
            with pytest.raises(NotPublished, match="Nack"):
                await publisher.publish(an_event())
            await out.take(ear)
            await publisher.publish(an_event())

    run(scenario())


def test_an_exchange_that_was_deleted_is_made_again(rabbitmq_url: str):
    async def scenario() -> None:
        exchange, event = f"x-{new_id()}", an_event()
        async with a_publisher(rabbitmq_url, exchange) as publisher, an_outsider(rabbitmq_url) as out:
            await eventually(lambda: publisher.connected)
            async with out.connection.channel() as channel:
                await channel.exchange_delete(exchange)
            with pytest.raises(NotPublished):
                await publisher.publish(event)
            await publisher.publish(event)

    run(scenario())


def test_without_a_broker_it_fails_in_bounded_time_and_says_why():
    async def scenario() -> None:
        nobody = f"amqp://guest:secret@127.0.0.1:{free_port()}/"
        async with a_publisher(nobody, "x", seconds=0.3) as publisher:
            async with asyncio.timeout(10):
                with pytest.raises(NotPublished) as failure:
                    await publisher.publish(an_event())
            assert "Connect" in str(failure.value)
            assert "secret" not in str(failure.value)
            assert not publisher.connected

    run(scenario())


def test_a_wrong_password_is_a_problem_that_can_be_read_but_not_the_password(rabbitmq_url: str):
    async def scenario() -> None:
        wrong = rabbitmq_url.replace("guest:guest", "guest:mistaken")
        async with a_publisher(wrong, "x", seconds=0.1) as publisher:
            await eventually(lambda: "Authentication" in (publisher.problem or ""))
            assert "mistaken" not in (publisher.problem or "")

    run(scenario())


def test_what_is_being_published_when_it_closes_fails():
    async def scenario() -> None:
        async with a_publisher(f"amqp://guest:guest@127.0.0.1:{free_port()}/", "x", seconds=0.5) as publisher:
            publishing = asyncio.create_task(publisher.publish(an_event()))
            await asyncio.sleep(0)
        with pytest.raises(NotPublished):
            await publishing

    run(scenario())
