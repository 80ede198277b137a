"""Places for sessions: over all nodes, freed by leaving, replacing, and the death of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import Arrival, BrokerUnavailable, Place, Replaced
from tests.adapters.cancelling import cancelled_at_every_await
from tests.adapters.redis.support import a_client, an_adapter, new_id
from tests.scripted.waiting import eventually
from tests.services import own_services


@asynccontextmanager
async def a_living_adapter(url: str) -> AsyncIterator[RedisAdapter]:
    async with an_adapter(url) as adapter:
        await adapter.presence.beat()
        yield adapter


async def taken(url: str, user: str) -> set[str]:
    async with a_client(url) as client:
        return {session.decode() for session in await client.hkeys(keys.places(user))}


def test_places_are_counted_over_all_nodes_and_the_last_is_given_once(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as one, a_living_adapter(redis_url) as two:
            told = await asyncio.gather(
                *(
                    (one, two)[number % 2].presence.take(user, f"s{number}", limit=5, replaces=None)
                    for number in range(20)
                )
            )
            assert sum(place.granted for place in told) == 5
            assert {place.taken for place in told if not place.granted} == {5}
            assert sorted(place.taken for place in told if place.granted) == [1, 2, 3, 4, 5]
            assert (await two.presence.take(new_id(), "s", limit=5, replaces=None)).granted

    asyncio.run(scenario())


def test_a_session_that_replaces_another_needs_no_place_more(redis_url: str) -> None:
    """Protocol: a client that comes back, on any node, does not keep itself out."""

    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as one, a_living_adapter(redis_url) as two:
            for session in ("a", "b"):
                assert (await one.presence.take(user, session, limit=2, replaces=None)).granted
            assert not (await two.presence.take(user, "c", limit=2, replaces=None)).granted
            assert await two.presence.take(user, "c", limit=2, replaces="a") == Place(granted=True, taken=2)
            assert await taken(redis_url, user) == {"b", "c"}
            assert not (await one.presence.take(user, "d", limit=2, replaces="a")).granted, "a is gone"
            assert not (await one.presence.take(user, "d", limit=1, replaces="b")).granted
            assert await taken(redis_url, user) == {"b", "c"}, "whoever was not replaced keeps its place"
            assert (await one.presence.take(user, "c", limit=2, replaces=None)).granted, "it has a place"

    asyncio.run(scenario())


def test_who_is_replaced_is_told_on_every_node(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as one, a_living_adapter(redis_url) as two:
            told: list[Arrival] = []
            one.subscription.on_arrival(told.append)
            await one.subscription.subscribe(user)
            await one.presence.take(user, "a", limit=2, replaces=None)

            await two.presence.take(user, "b", limit=2, replaces="nobody")
            await two.presence.take(user, "c", limit=2, replaces="a")

            await eventually(lambda: told)
            assert told == [Replaced(user, "a")]

    asyncio.run(scenario())


def test_a_place_left_is_free_at_once_and_leaving_twice_frees_no_other(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as one, a_living_adapter(redis_url) as two:
            for session in ("a", "b"):
                await one.presence.take(user, session, limit=2, replaces=None)
            for _ in range(2):
                await one.presence.leave(user, "a")
            assert (await two.presence.take(user, "c", limit=2, replaces=None)).granted
            assert not (await two.presence.take(user, "d", limit=2, replaces=None)).granted
            await two.presence.leave(user, "c")
            await one.presence.leave(user, "b")
            assert await taken(redis_url, user) == set()

    asyncio.run(scenario())


def test_a_dead_process_keeps_nobody_out_and_a_living_one_keeps_its_places(redis_url: str) -> None:
    """Architecture §7.11: places count only while their process's liveness key lives."""

    async def scenario() -> None:
        user = new_id()
        async with (
            a_living_adapter(redis_url) as killed,
            a_living_adapter(redis_url) as alive,
            a_living_adapter(redis_url) as other,
        ):
            for number in range(3):
                await killed.presence.take(user, f"killed-{number}", limit=4, replaces=None)
            await alive.presence.take(user, "alive", limit=4, replaces=None)
            assert not (await other.presence.take(user, "new", limit=4, replaces=None)).granted
            async with a_client(redis_url) as client:
                # What happens by itself some seconds after the last beat.
                assert 0 < await client.pttl(keys.process(killed.process)) <= 15_000
                await client.delete(keys.process(killed.process))
            assert await other.presence.take(user, "new", limit=4, replaces=None) == Place(
                granted=True, taken=2
            )
            assert await taken(redis_url, user) == {"alive", "new"}
            assert not (await other.presence.take(user, "newer", limit=2, replaces=None)).granted

    asyncio.run(scenario())


def test_a_process_that_retires_gives_all_its_places_back(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as leaving, a_living_adapter(redis_url) as staying:
            await leaving.presence.take(user, "old", limit=1, replaces=None)
            assert not (await staying.presence.take(user, "new", limit=1, replaces=None)).granted
            await leaving.presence.retire()
            assert (await staying.presence.take(user, "new", limit=1, replaces=None)).granted

    asyncio.run(scenario())


def test_a_processs_own_places_count_before_its_first_beat(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            assert (await adapter.presence.take(user, "a", limit=1, replaces=None)).granted
            assert not (await adapter.presence.take(user, "b", limit=1, replaces=None)).granted

    asyncio.run(scenario())


def test_without_a_limit_everybody_gets_a_place_and_the_dead_are_cleared_away(redis_url: str) -> None:
    """A limit of 0 is none; a user's hash still does not grow for ever (invariant I8)."""

    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as killed, a_living_adapter(redis_url) as alive:
            for number in range(70):
                told = await killed.presence.take(user, f"killed-{number}", limit=0, replaces=None)
                assert told == Place(granted=True, taken=number + 1)
            await killed.presence.retire()
            assert await alive.presence.take(user, "new", limit=0, replaces=None) == Place(
                granted=True, taken=1
            )

    asyncio.run(scenario())


def test_places_are_taken_again_when_the_store_has_lost_them(redis_url: str) -> None:
    """What the store lost the process still knows; it says so with its next beat."""

    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as one, a_living_adapter(redis_url) as two:
            await one.presence.take(user, "a", limit=2, replaces=None)
            await one.presence.take(user, "gone", limit=2, replaces=None)
            await one.presence.take(user, "b", limit=2, replaces="gone")
            async with a_client(redis_url) as client:
                await client.delete(keys.places(user), keys.process(one.process))
            await one.presence.beat()
            assert await taken(redis_url, user) == {"a", "b"}
            assert not (await two.presence.take(user, "c", limit=2, replaces=None)).granted
            await one.presence.beat()
            await one.presence.leave(user, "a")
            await one.presence.leave(user, "b")
            async with a_client(redis_url) as client:
                await client.delete(keys.process(one.process))
            await one.presence.beat()
            assert await taken(redis_url, user) == set()

    asyncio.run(scenario())


def test_a_place_left_while_places_are_taken_again_stays_left(clean_redis_url: str) -> None:
    """The beat takes all places in one go; whoever leaves meanwhile must not come back with it."""

    async def scenario() -> None:
        async with a_living_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            users = [new_id() for _ in range(600)]
            for user in users:
                await adapter.presence.take(user, "s", limit=1, replaces=None)
            await client.delete(keys.process(adapter.process))
            beat = asyncio.ensure_future(adapter.presence.beat())
            while not beat.done():
                await adapter.presence.leave(users.pop(), "s")
            await beat
            held = {name async for name in client.scan_iter(match="chat:{*}:places", count=1000)}
            assert held == {keys.places(user).encode() for user in users}

    asyncio.run(scenario())


def test_a_place_left_while_the_store_is_away_is_given_back_with_the_next_beat() -> None:
    """The presence port: `leave` never raises."""

    async def scenario() -> None:
        user = new_id()
        async with own_services(postgres=False) as services:
            url = str(services.urls.redis_url)
            async with a_living_adapter(url) as adapter:
                for session in ("a", "b", "c"):
                    await adapter.presence.take(user, session, limit=3, replaces=None)
                await services.valkey.stop()
                await adapter.presence.leave(user, "a")
                with pytest.raises(BrokerUnavailable):
                    await adapter.presence.take(user, "d", limit=3, replaces="b")
                with pytest.raises(BrokerUnavailable):
                    await adapter.presence.beat()
                await services.valkey.start()
                await adapter.presence.beat()
                assert await taken(url, user) == {"b", "c"}

    asyncio.run(scenario())


def test_a_place_whose_taking_was_cancelled_is_given_back_with_the_next_beat(redis_url: str) -> None:
    """Invariant I8: a client gone in the middle of its hello leaves nothing behind."""

    async def scenario() -> None:
        user = new_id()
        async with a_living_adapter(redis_url) as adapter:
            steps = 0
            async for _ in cancelled_at_every_await(
                lambda: adapter.presence.take(user, "s", limit=3, replaces=None)
            ):
                steps += 1
                await adapter.presence.beat()
                assert await taken(redis_url, user) == set()
            assert steps > 0
            assert await taken(redis_url, user) == {"s"}
            async for _ in cancelled_at_every_await(lambda: adapter.presence.leave(user, "s")):
                pass
            await adapter.presence.beat()
            assert await taken(redis_url, user) == set()

    asyncio.run(scenario())
