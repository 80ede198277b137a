"""Calls cancelled at any await, and calls given up: nothing of them reaches whoever comes next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.limits import Window
from server.channels.broker import BrokerUnavailable
from server.generations.store import GenerationStart
from tests.adapters.cancelling import cancelled_at_every_await
from tests.adapters.redis.support import a_client, a_record, a_start, an_adapter, begun, new_id, switch
from tests.services import own_services

Call = Callable[[RedisAdapter, GenerationStart], Coroutine[Any, Any, object]]


async def append(adapter: RedisAdapter, start: GenerationStart) -> object:
    return await adapter.generations.append(start.user, start.generation, 1, 0, "text")


CALLS: dict[str, Call] = {
    "publish_event": lambda adapter, start: adapter.broker.publish_event(
        start.user, b"{}", kind="notification", key="k"
    ),
    "publish_frame": lambda adapter, start: adapter.broker.publish_frame(start.user, b"{}"),
    "snapshot": lambda adapter, start: adapter.broker.snapshot(start.user),
    "heads": lambda adapter, start: adapter.broker.heads([start.user] * 3),
    "start": lambda adapter, start: adapter.generations.start(a_start(user=start.user)),
    "append": append,
    "switch": lambda adapter, start: switch(adapter, start, 1),
    "note": lambda adapter, start: adapter.generations.note(start.user, start.generation, 1, b"{}"),
    "request_stop": lambda adapter, start: adapter.generations.request_stop(start.user, start.generation),
    "read": lambda adapter, start: adapter.generations.read(start.user, start.generation),
    "restore": lambda adapter, start: adapter.generations.restore(a_record(start)),
    "unpersisted": lambda adapter, start: adapter.generations.unpersisted(start.user),
    "hold": lambda adapter, start: adapter.leases.hold([(start.user, start.generation)], seconds=0),
    "take": lambda adapter, start: adapter.presence.take(start.user, "s", limit=1, replaces=None),
    "reserve": lambda adapter, start: adapter.limits.reserve(start.user, [Window("w", 10_000, 60)]),
    "issue": lambda adapter, start: adapter.tickets.issue(b"payload", 30),
    "revoke": lambda adapter, start: adapter.users.revoke(start.user),
    "erase": lambda adapter, start: adapter.users.erase(start.user),
}


async def all_is_well(adapter: RedisAdapter, other: GenerationStart) -> None:
    """Every kind of answer is the one to its own question."""
    snapshot = await adapter.broker.snapshot(other.user)
    assert [each.generation for each in snapshot.running] == [other.generation]
    record = await adapter.generations.read(other.user, other.generation)
    assert record is not None
    told = await adapter.generations.append(other.user, other.generation, 1, record.length, "y")
    assert told.length == record.length + 1
    assert await adapter.generations.request_stop(new_id(), new_id()) is None
    assert await adapter.users.revoked_at_ms(other.user) is None


@pytest.mark.parametrize("name", CALLS)
def test_a_call_cancelled_at_any_await_leaves_nothing_for_another_user(redis_url: str, name: str) -> None:
    """Invariant I6: a reply that still comes is nobody else's answer."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start, other = await begun(adapter), await begun(adapter)
            await all_is_well(adapter, other)
            steps = 0
            async for _ in cancelled_at_every_await(lambda: CALLS[name](adapter, start)):
                steps += 1
                await all_is_well(adapter, other)
            assert steps > 0

    asyncio.run(scenario())


def test_thousands_of_cancelled_calls_keep_no_connection_from_the_others(redis_url: str, seed: int) -> None:
    """Invariant I8: as many can call at once afterwards as before, and the server holds no more of ours."""

    async def scenario() -> None:
        draw = random.Random(seed)
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            other = await begun(adapter)
            start = await begun(adapter)
            calls = list(CALLS.values())
            for _ in range(20):
                running = [asyncio.ensure_future(draw.choice(calls)(adapter, start)) for _ in range(100)]
                for _ in range(draw.randint(0, 8)):
                    await asyncio.sleep(0)
                for each in running:
                    each.cancel()
                await asyncio.wait(running)
                await all_is_well(adapter, other)
            users = [new_id() for _ in range(300)]
            heads = await asyncio.gather(*(adapter.broker.heads([user]) for user in users))
            assert [head[0].offset for head in heads] == [0] * 300
            assert int((await client.info("clients"))["connected_clients"]) < 64 + 40

    asyncio.run(scenario())


def test_a_call_to_a_server_that_does_not_answer_ends_in_time_and_its_answer_is_nobodys() -> None:
    """Every verb raises `BrokerUnavailable`; the answers that come later are not taken for others'."""

    async def scenario() -> None:
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url), call_seconds=2.0) as adapter,
        ):
            start, other = await begun(adapter), await begun(adapter)
            await services.valkey.pause()
            told = await asyncio.gather(
                *(call(adapter, start) for name, call in CALLS.items() if name != "erase"),
                return_exceptions=True,
            )
            assert {type(each) for each in told} == {BrokerUnavailable}
            await services.valkey.resume()
            for _ in range(5):
                snapshot = await adapter.broker.snapshot(other.user)
                assert [each.generation for each in snapshot.running] == [other.generation]
                assert await adapter.users.revoked_at_ms(other.user) is None

    asyncio.run(scenario())


def test_a_server_that_is_gone_is_said_to_be_unavailable_by_every_verb() -> None:
    async def scenario() -> None:
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url)) as adapter,
        ):
            start = await begun(adapter)
            await services.valkey.kill()
            for call in CALLS.values():
                with pytest.raises(BrokerUnavailable):
                    await call(adapter, start)
            assert not await adapter.reachable()
            await services.valkey.start()
            assert await adapter.reachable()
            assert (await adapter.broker.snapshot(new_id())).head.offset == 0

    asyncio.run(scenario())
