"""Leases: by the server's clock, one winner, given up to whoever sweeps first."""

from __future__ import annotations

import asyncio

import pytest

from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.leases import RedisLeaseStore
from tests.adapters.redis.support import a_client, an_adapter, answered, begun, eventually, new_id


def test_of_many_sweepers_that_claim_an_expired_lease_one_gets_it(clean_redis_url: str) -> None:
    """Architecture §4: every node sweeps expired ones; the winner goes on."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as one, an_adapter(clean_redis_url) as two:
            lease = (new_id(), new_id())
            await one.leases.hold([lease], seconds=0)
            assert await two.leases.expired(limit=10) == [lease]
            won = await asyncio.gather(
                *((one, two)[number % 2].leases.claim(*lease, seconds=30) for number in range(20))
            )
            assert won.count(True) == 1
            assert await two.leases.expired(limit=10) == []

    asyncio.run(scenario())


def test_asking_for_expired_leases_claims_none_of_them(clean_redis_url: str) -> None:
    """The lease port: nothing is claimed by asking."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter:
            lease = (new_id(), new_id())
            await adapter.leases.hold([lease], seconds=0)
            for _ in range(3):
                assert await adapter.leases.expired(limit=10) == [lease]
            assert await adapter.leases.claim(*lease, seconds=30)

    asyncio.run(scenario())


def test_expired_leases_come_oldest_first_and_no_more_than_asked_for(clean_redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            leases = [(new_id(), new_id()) for _ in range(5)]
            await adapter.leases.hold(leases, seconds=30)
            now = (await client.time())[0] * 1000
            for age, (user, generation) in enumerate(leases):
                await client.zadd(keys.LEASES, {f"{user} {generation}": now - 1000 * age})
            assert await adapter.leases.expired(limit=3) == leases[:1:-1]
            assert await adapter.leases.expired(limit=10) == leases[::-1]

    asyncio.run(scenario())


def test_a_lease_that_is_held_cannot_be_claimed_until_its_time_is_over(clean_redis_url: str) -> None:
    """A renewal moves the deadline; a lease nobody holds is nobody's to take."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as owner, an_adapter(clean_redis_url) as other:
            lease = (new_id(), new_id())
            assert not await other.leases.claim(*lease, seconds=30)
            await owner.leases.hold([lease], seconds=30)
            assert not await other.leases.claim(*lease, seconds=30)
            await owner.leases.hold([lease], seconds=0.05)

            async def claimed() -> bool:
                return await other.leases.claim(*lease, seconds=30)

            await answered(claimed)
            assert not await owner.leases.claim(*lease, seconds=30)
            await owner.leases.hold([lease], seconds=0)
            await owner.leases.hold([lease], seconds=30)
            assert await other.leases.expired(limit=10) == []

    asyncio.run(scenario())


def test_deadlines_are_by_the_servers_clock(clean_redis_url: str) -> None:
    """Architecture §7.2: nodes' clocks may be anywhere."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            lease = (new_id(), new_id())

            async def clock_ms() -> int:
                seconds, microseconds = await client.time()
                return int(seconds) * 1000 + int(microseconds) // 1000

            for take in (
                lambda: adapter.leases.hold([lease], seconds=7.5),
                lambda: adapter.leases.claim(*lease, seconds=7.5),
            ):
                before = await clock_ms()
                await take()
                deadline = await client.zscore(keys.LEASES, " ".join(lease))
                assert before + 7500 <= deadline <= await clock_ms() + 7500
                await client.zadd(keys.LEASES, {" ".join(lease): 1})

    asyncio.run(scenario())


def test_a_dropped_lease_is_gone_however_often_it_is_dropped(clean_redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            lease, other = (new_id(), new_id()), (new_id(), new_id())
            await adapter.leases.hold([lease, other], seconds=0)
            for _ in range(2):
                await adapter.leases.drop(*lease)
                assert await adapter.leases.expired(limit=10) == [other]
            assert not await adapter.leases.claim(*lease, seconds=30)
            await adapter.leases.drop(*other)
            assert await client.exists(keys.LEASES) == 0

    asyncio.run(scenario())


def test_a_lease_is_an_orphans_once_its_owner_is_late_with_it_and_is_heard_no_more(
    clean_redis_url: str,
) -> None:
    """Whoever was killed is noticed before the lease is over, and who is only late is left alone."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as other:
            async with an_adapter(clean_redis_url) as owner:
                start = await begun(owner)
                lease, unwritten = (start.user, start.generation), (new_id(), new_id())
                await owner.leases.hold([lease, unwritten], seconds=30)

                async def heard() -> bool:
                    return await other.leases.orphaned(left=60, limit=10) == []

                await answered(heard)

            async def missed() -> bool:
                return await other.leases.orphaned(left=60, limit=10) == [lease]

            await answered(missed)
            unheard = RedisLeaseStore(other.scripts, process=new_id())
            assert await unheard.orphaned(left=60, limit=10) == []  # nobody may be, for all it knows
            assert await other.leases.orphaned(left=10, limit=10) == []  # it was renewed in time
            assert await other.leases.orphaned(left=60, limit=0) == []
            assert not await other.leases.claim(*lease, seconds=30, left=10)
            assert await other.leases.claim(*lease, seconds=90, left=60)
            assert not await other.leases.claim(*lease, seconds=90, left=60)
            await other.leases.hold([lease], seconds=0)
            assert await other.leases.orphaned(left=60, limit=10) == []  # it is over, and anybody's

    asyncio.run(scenario())


def test_leases_given_up_wake_every_sweeper(clean_redis_url: str) -> None:
    """Architecture §7.12: leases are set to now, sweepers woken by PUBLISH; a renewal wakes nobody."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as leaving, an_adapter(clean_redis_url) as other:
            woken: list[str] = []
            told: list[str] = []
            for adapter in (leaving, other):
                hear(adapter, woken, told)
                await eventually(lambda each=adapter: each.subscription.connected)  # type: ignore[misc]
            leases = [(new_id(), new_id()) for _ in range(3)]
            await leaving.leases.hold([], seconds=0)
            await leaving.leases.hold(leases, seconds=30)
            await leaving.leases.hold(leases, seconds=0)
            async with a_client(clean_redis_url) as client:
                # Arrives after all that was published before it.
                for adapter in (leaving, other):
                    await client.publish(keys.node(adapter.process), "stop user generation")
            await eventually(lambda: len(told) == 2)
            assert sorted(woken) == sorted([leaving.process, other.process])
            assert sorted(await other.leases.expired(limit=10)) == sorted(leases)

    asyncio.run(scenario())


def hear(adapter: RedisAdapter, woken: list[str], told: list[str]) -> None:
    adapter.subscription.on_wake(lambda: woken.append(adapter.process))
    adapter.subscription.on_stop(lambda *_: told.append(adapter.process))


def test_who_may_have_had_a_lease_that_was_lost_is_waited_for(clean_redis_url: str) -> None:
    """Architecture §7.2: nobody died while the store was away, nor when it lost what it held."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            user, generation = new_id(), new_id()
            assert await adapter.leases.held(user, generation, seconds=30)
            now = (await client.time())[0] * 1000
            long_ago = {"since": now - 31_000, "swept": now}
            await client.hset(keys.LEASES_WATCH, mapping=long_ago)
            assert not await adapter.leases.held(user, generation, seconds=30)
            await adapter.leases.hold([(user, generation)], seconds=20)
            assert await adapter.leases.held(user, generation, seconds=30)
            await client.zadd(keys.LEASES, {f"{user} {generation}": 1})
            assert not await adapter.leases.held(user, generation, seconds=30)
            # whoever sweeps notes since when there are leases, once
            await client.delete(keys.LEASES_WATCH)
            await adapter.leases.expired(limit=1)
            noted = await client.hget(keys.LEASES_WATCH, "since")
            await adapter.leases.expired(limit=1)
            assert noted is not None
            assert await client.hget(keys.LEASES_WATCH, "since") == noted

    asyncio.run(scenario())


@pytest.mark.parametrize("first", ["who sweeps", "who asks"])
def test_a_store_that_was_away_gives_owners_time_again(clean_redis_url: str, first: str) -> None:
    """It lost the leases, and stopped before their owners had renewed them: its clock went on."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            user, generation = new_id(), new_id()
            now = (await client.time())[0] * 1000
            before_it_stopped = {"since": now - 90_000, "swept": now - 60_000}
            await client.hset(keys.LEASES_WATCH, mapping=before_it_stopped)
            if first == "who sweeps":
                await adapter.leases.expired(limit=1)
            assert await adapter.leases.held(user, generation, seconds=30)
            assert await adapter.leases.held(user, generation, seconds=30)
            since = await client.hget(keys.LEASES_WATCH, "since")
            assert since is not None
            assert int(since) >= now

    asyncio.run(scenario())
