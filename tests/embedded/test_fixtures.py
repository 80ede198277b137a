"""What the fixtures promise: every database migrated, empty, and nobody else's."""

import asyncio
from functools import partial

import aio_pika
import asyncpg
import psutil
import pytest

from tests.embedded.test_starter import at_work
from tests.rabbitmq import RabbitMQ, running_rabbitmq
from tests.scripted.waiting import eventually

pytestmark = pytest.mark.node


async def fetch(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_a_fresh_database_is_migrated_and_alone(fresh_database):
    first, second = fresh_database(), fresh_database()
    migrated = "SELECT count(*) > 0 FROM chat.schema_migrations"
    assert asyncio.run(fetch(first.admin_url, migrated)) is True
    asyncio.run(fetch(first.admin_url, "CREATE TABLE public.mine AS SELECT 1"))
    assert asyncio.run(fetch(second.admin_url, "SELECT to_regclass('public.mine')")) is None


def test_the_login_role_reaches_the_fresh_database(database, database_url, database_admin_url):
    assert database == (database_admin_url, database_url)
    assert asyncio.run(fetch(database_url, "SELECT current_user::text")) == "chat_app"


async def broker_queue(channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractQueue:
    return await channel.declare_queue("said", arguments={"x-queue-type": "quorum"}, durable=True)


def test_a_killed_broker_comes_back_with_what_it_confirmed_and_leaves_nothing():
    """Erlang's name server makes itself a daemon, in a session nobody signals."""

    async def say(url: str) -> None:
        connection = await aio_pika.connect(url, timeout=20)
        async with connection, connection.channel(publisher_confirms=True) as channel:
            await broker_queue(channel)
            await channel.default_exchange.publish(aio_pika.Message(b"hello"), routing_key="said", timeout=20)

    async def hear(url: str) -> bytes:
        connection = await aio_pika.connect(url, timeout=20)
        async with connection, connection.channel() as channel:
            message = await (await broker_queue(channel)).get(timeout=20)
            await message.ack()
        return message.body

    async def scenario(broker: RabbitMQ) -> None:
        url = broker.url
        await say(url)
        await eventually(partial(broker.would_keep, "said"))
        await broker.kill()
        await broker.start()
        assert broker.url == url
        assert await hear(url) == b"hello"

    with running_rabbitmq() as broker:
        asyncio.run(scenario(broker))
        assert broker.port is not None
        ours = [process for process in psutil.process_iter(["name"]) if names_broker(process, broker.port)]
        assert {process.info["name"] for process in ours} >= {"beam.smp", "epmd"}
    assert not any(at_work(process) for process in ours)


def names_broker(process: psutil.Process, port: int) -> bool:
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return environment.get("RABBITMQ_NODE_PORT") == str(port)
