"""A server that restarted is another epoch, with its data or without; owners write their text again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import BrokerUnavailable
from server.embedded.services import EmbeddedServices
from server.generations.store import Gone
from tests.adapters.redis.support import (
    Listener,
    a_client,
    an_adapter,
    answered,
    begun,
    eventually,
    held_text,
    new_id,
    switch,
)
from tests.services import own_services


@asynccontextmanager
async def a_server() -> AsyncIterator[tuple[EmbeddedServices, RedisAdapter]]:
    async with own_services(postgres=False) as services, an_adapter(str(services.urls.redis_url)) as adapter:
        yield services, adapter


async def ready(adapter: RedisAdapter) -> None:
    """The adapter has found the server again by itself."""

    async def appends() -> bool:
        try:
            await adapter.generations.append(new_id(), new_id(), 1, 0, "")
        except Gone:
            return True
        except BrokerUnavailable:
            return False
        raise AssertionError("there is no such generation")

    await answered(appends)
    await eventually(lambda: adapter.subscription.connected)


@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_with_its_data_begins_a_new_epoch_and_keeps_what_runs(crash: bool) -> None:
    """Architecture §7.1: offsets that were seen once are never given out again; the text goes on."""

    async def scenario() -> None:
        async with a_server() as (services, adapter):
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            name = (start.user, start.generation)
            await adapter.subscription.subscribe(start.user)
            await adapter.generations.append(*name, 1, 0, "before ")
            await adapter.leases.hold([name], seconds=0)
            before = await adapter.broker.publish_event(start.user, b"old", kind="notification", key="k")
            await (services.valkey.kill() if crash else services.valkey.stop())
            await services.valkey.start()
            await ready(adapter)
            await eventually(lambda: listener.gaps > 0)
            snapshot = await adapter.broker.snapshot(start.user)
            assert snapshot.head.epoch != before.epoch
            assert (snapshot.head.offset, snapshot.oldest) == (0, None)
            assert await adapter.broker.heads([start.user]) == [snapshot.head]
            assert await adapter.broker.read_log(start.user, before) is None
            assert await adapter.broker.read_log(start.user, before._replace(offset=0)) is None
            (running,) = snapshot.running
            assert (running.generation, running.text) == (start.generation, "before ")
            assert await adapter.leases.expired(limit=5) == [name]
            assert (await adapter.generations.append(*name, 1, 7, "after")).length == 12
            assert await held_text(adapter, start) == "before after"
            told = await switch(adapter, start, 1)
            assert told == snapshot.head._replace(offset=1)
            assert (await adapter.broker.publish_event(start.user, b"new", kind="notification")).offset == 2
            assert await adapter.broker.publish_event(start.user, b"again", kind="notification", key="k") == (
                before
            ), "what was published once is not published again"

    asyncio.run(scenario())


def test_a_restart_without_its_data_is_told_and_the_owner_writes_its_text_again() -> None:
    """Architecture §2 and §7.4: a Redis that lost its data gets a new epoch; nothing shown is taken back."""

    async def scenario() -> None:
        async with a_server() as (services, adapter):
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            name = (start.user, start.generation)
            await adapter.subscription.subscribe(start.user)
            await adapter.generations.append(*name, 1, 0, "shown 👋🏽 ")
            memory = await adapter.generations.read(*name)
            assert memory is not None
            before = (await adapter.broker.snapshot(start.user)).head
            await services.valkey.kill()
            await services.valkey.start(lose_data=True)
            await ready(adapter)
            await eventually(lambda: listener.gaps > 0)
            with pytest.raises(Gone) as gone:
                await adapter.generations.append(*name, 1, memory.length, "more")
            assert gone.value.length == -1
            assert await adapter.generations.read(*name) is None
            assert await adapter.leases.expired(limit=5) == []
            assert await adapter.generations.restore(memory)
            snapshot = await adapter.broker.snapshot(start.user)
            assert snapshot.head.epoch != before.epoch
            assert snapshot.head.offset == 0
            assert [each.text for each in snapshot.running] == ["shown 👋🏽 "]
            listener.arrivals.clear()
            await adapter.generations.append(*name, 1, memory.length, "more")
            await adapter.generations.seal(*name, expected=1, record=b"end")
            told = await adapter.generations.conclude(*name, event=b"{}", persisted=True)
            assert told == snapshot.head._replace(offset=1)
            await eventually(lambda: len(listener.arrivals) == 2)
            assert [each.text for each in listener.texts] == ["more"]

    asyncio.run(scenario())


def test_several_restarts_are_as_many_epochs_and_clients_of_each_are_told() -> None:
    async def scenario() -> None:
        async with a_server() as (services, adapter):
            user = new_id()
            heads = [await adapter.broker.publish_event(user, b"{}", kind="notification")]
            for _ in range(2):
                await services.valkey.stop()
                await services.valkey.start()
                heads.append(await adapter.broker.publish_event(user, b"{}", kind="notification"))
            assert len({head.epoch for head in heads}) == 3
            assert {head.offset for head in heads} == {1}
            for head in heads[:-1]:
                assert await adapter.broker.read_log(user, head) is None
            assert await adapter.broker.read_log(user, heads[-1]) == []

    asyncio.run(scenario())


def test_a_cut_connection_is_no_restart(redis_url: str) -> None:
    """The epoch stays when it was only the way to the server that was away."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            before = await adapter.broker.publish_event(user, b"{}", kind="notification")
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await ready(adapter)
            assert (await adapter.broker.snapshot(user)).head == before

    asyncio.run(scenario())


def test_a_head_written_by_another_server_begins_a_new_epoch_for_every_verb_that_meets_it(
    redis_url: str,
) -> None:
    """A promoted replica has the head of the primary that is gone, and perhaps not its last events."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            for meet in (
                adapter.broker.snapshot,
                lambda user: adapter.broker.heads([user]),
                lambda user: adapter.broker.publish_event(user, b"{}", kind="notification"),
                lambda user: begun(adapter, user=user),
            ):
                user = new_id()
                before = await adapter.broker.publish_event(user, b"{}", kind="notification")
                await client.hset(keys.head(user), "run", "another")
                await meet(user)
                after = (await adapter.broker.snapshot(user)).head
                assert after.epoch != before.epoch
                assert after.offset < 3
                assert await adapter.broker.read_log(user, before) is None

    asyncio.run(scenario())
