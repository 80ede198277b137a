"""A cluster of several servers: every user at the one that has their slot, also after it moved or came back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from server.adapters.redis import keys
from server.adapters.redis.limits import Window
from server.channels.broker import BrokerUnavailable
from tests.adapters.cancelling import cancelled_at_every_await
from tests.adapters.redis.servers import Cluster, a_cluster
from tests.adapters.redis.support import (
    Listener,
    a_client,
    an_adapter,
    answered,
    at_last,
    begun,
    eventually,
    held_text,
    new_id,
    switch,
)
from tests.adapters.redis.test_append import heard_by
from tests.adapters.redis.test_flusher import appended, appended_at_last, many_begun


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    """One for the file: servers take seconds to agree that they are a cluster."""
    with asyncio.Runner() as runner:
        made = a_cluster()
        yield runner.run(made.__aenter__())
        runner.run(made.__aexit__(None, None, None))


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    asyncio.run(shared_cluster.complete())
    return shared_cluster


async def users_of(cluster: Cluster, number: int, count: int = 1) -> list[str]:
    """Users whose slots this server has."""
    found: list[str] = []
    while len(found) < count:
        user = new_id()
        if await cluster.number_of(keys.head(user)) == number:
            found.append(user)
    return found


def test_every_verb_works_for_users_on_every_server(cluster: Cluster) -> None:
    """Architecture §7.15: a user's keys share a slot, sharded pub/sub, one flusher and listener per server."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as one, an_adapter(cluster.url) as two:
            listener = Listener()
            listener.hear(two)
            await eventually(lambda: one.subscription.connected and two.subscription.connected)
            starts = await many_begun(one, 60)
            users = [start.user for start in starts]
            assert {await cluster.number_of(keys.head(user)) for user in users} == {0, 1, 2}
            await asyncio.gather(*map(two.subscription.subscribe, users))
            for at in range(3):
                told = await asyncio.gather(*(appended(one, start, at, "x") for start in starts))
                assert {each.length for each in told} == {at + 1}
            for start in starts:
                await switch(one, start, 1)
                await one.broker.publish_frame(start.user, b"{}")
                await one.generations.seal(start.user, start.generation, expected=2, record=b"end")
                await one.generations.conclude(start.user, start.generation, event=b"{}", persisted=True)
            await eventually(lambda: len(listener.arrivals) == 60 * 6)
            for start in starts:
                texts = [each for each in listener.texts if each.user == start.user]
                assert heard_by(texts) == "xxx"
                assert await held_text(two, start) == "xxx"
            heads = await two.broker.heads([*users, *(new_id() for _ in range(300))])
            assert [head.offset for head in heads] == [4] * 60 + [0] * 300
            assert one.flusher.calls == 180
            assert listener.gaps == 0
            assert await one.reachable()

    asyncio.run(scenario())


def test_what_concerns_all_nodes_is_heard_whichever_server_it_is_said_to(cluster: Cluster) -> None:
    """Stops and wakes are on plain channels, which every server of a cluster passes on."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as one, an_adapter(cluster.url) as two:
            stops: set[tuple[str, str]] = set()
            woken: list[int] = []
            one.subscription.on_stop(lambda user, generation: stops.add((user, generation)))
            one.subscription.on_wake(lambda: woken.append(1))
            await eventually(lambda: one.subscription.connected)
            starts = await many_begun(one, 12)
            for start in starts:
                assert await two.generations.request_stop(start.user, start.generation) == "running"
            await eventually(lambda: stops == {(start.user, start.generation) for start in starts})
            await two.presence.beat()
            leases = [(start.user, start.generation) for start in starts]
            await two.leases.hold(leases, seconds=0)
            await eventually(lambda: bool(woken))
            assert sorted(await one.leases.expired(limit=20)) == sorted(leases)
            for user in {start.user for start in starts}:
                assert (await two.presence.take(user, "s", limit=1, replaces=None)).granted
                assert not (await one.presence.take(user, "t", limit=1, replaces=None)).granted
                assert (await one.limits.reserve(user, [Window("w", 1, 60), Window("v", 1, 60)])).allowed
                assert not (await two.limits.reserve(user, [Window("w", 1, 60)])).allowed
                await one.users.revoke(user)
                assert await two.users.erase(user) > 3
                assert await two.users.revoked_at_ms(user) is not None
            ticket = await one.tickets.issue(b"payload", 30)
            assert await two.tickets.redeem(ticket) == b"payload"

    asyncio.run(scenario())


def test_an_owner_that_is_gone_is_missed_at_every_server(cluster: Cluster) -> None:
    """A server counts its own listeners only, and a process listens at all of them."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as other:
            async with an_adapter(cluster.url) as owner:
                await eventually(lambda: owner.subscription.connected)
                starts = await many_begun(owner, 12)
                leases = sorted((start.user, start.generation) for start in starts)
                await owner.leases.hold(leases, seconds=30)

                async def nobody() -> bool:
                    # a connection is there before the subscription over it is confirmed
                    return await other.leases.orphaned(left=60, limit=20) == []

                await answered(nobody)

            async def all_of_them() -> bool:
                return sorted(await other.leases.orphaned(left=60, limit=20)) == leases

            await answered(all_of_them)

    asyncio.run(scenario())


def test_a_slot_that_moves_takes_its_users_along_and_tells_a_gap(cluster: Cluster) -> None:
    """Resharding under load: no text is lost, and who listens is told to look."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            (user,), (other,) = await users_of(cluster, 0), await users_of(cluster, 1)
            start, beside = await begun(adapter, user=user), await begun(adapter, user=other)
            for each in (user, other):
                await adapter.subscription.subscribe(each)
            await appended(adapter, start, 0, "before ")
            before = (await adapter.broker.snapshot(user)).head
            await cluster.move(keys.head(user), 2)
            await appended_at_last(adapter, start, 7, "after")
            await appended_at_last(adapter, beside, 0, "untouched")
            await eventually(lambda: listener.gaps > 0)
            assert await at_last(lambda: held_text(adapter, start)) == "before after"
            head = (await at_last(lambda: adapter.broker.snapshot(user))).head
            assert head.epoch != before.epoch, "another server is another epoch"

            async def heard() -> bool:
                await adapter.broker.publish_frame(user, b"moved")
                return any(getattr(each, "body", b"") == b"moved" for each in listener.arrivals)

            await answered(heard)
            await adapter.subscription.unsubscribe(user)
            await adapter.subscription.subscribe(user)
            assert await cluster.number_of(keys.head(user)) == 2

    asyncio.run(scenario())


def test_a_server_that_is_gone_takes_only_its_own_users_away_until_it_is_back(cluster: Cluster) -> None:
    async def scenario() -> None:
        async with an_adapter(cluster.url, call_seconds=1.0) as adapter:
            listener = Listener()
            listener.hear(adapter)
            (user,), (other,) = await users_of(cluster, 1), await users_of(cluster, 2)
            start, beside = await begun(adapter, user=user), await begun(adapter, user=other)
            for each in (user, other):
                await adapter.subscription.subscribe(each)
            await cluster.servers[1].stop()
            with pytest.raises(BrokerUnavailable):
                await adapter.broker.snapshot(user)
            with pytest.raises(BrokerUnavailable):
                await appended(adapter, start, 0, "x")
            await eventually(lambda: not adapter.subscription.connected)
            for at in range(5):
                assert await appended_at_last(adapter, beside, at, "y") < 500
            await cluster.servers[1].start()
            await appended_at_last(adapter, start, 0, "x")
            await eventually(lambda: listener.gaps > 0 and adapter.subscription.connected)
            assert await at_last(lambda: held_text(adapter, start)) == "x"
            assert await at_last(lambda: held_text(adapter, beside)) == "yyyyy"
            await eventually(lambda: heard_by([t for t in listener.texts if t.user == other]) == "yyyyy")

    asyncio.run(scenario())


def test_a_cluster_that_is_away_is_unavailable_and_works_when_it_appears() -> None:
    async def scenario() -> None:
        async with a_cluster(1) as cluster:
            url = cluster.url
            await cluster.servers[0].stop()
            async with an_adapter(url, call_seconds=1.0) as adapter:
                user = new_id()
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.snapshot(user)
                with pytest.raises(BrokerUnavailable):
                    await adapter.generations.append(user, "g", 1, 0, "x")
                with pytest.raises(BrokerUnavailable):
                    await adapter.subscription.subscribe(user)
                assert not await adapter.reachable()
                assert not adapter.subscription.connected
                waiting = asyncio.ensure_future(adapter.subscription.subscribe(user))
                await cluster.servers[0].start()
                try:
                    await waiting
                except BrokerUnavailable:
                    await eventually(lambda: adapter.subscription.connected)
                listener = Listener()
                listener.hear(adapter)

                async def heard() -> bool:
                    try:
                        await adapter.broker.publish_frame(user, b"{}")
                    except BrokerUnavailable:
                        return False
                    return bool(listener.arrivals)

                await answered(heard, "the wish to read the user has stayed")

                async def begins() -> bool:
                    try:
                        await appended_at_last(adapter, await begun(adapter), 0, "x")
                    except BrokerUnavailable:
                        return False
                    return True

                await answered(begins)

    asyncio.run(scenario())


def test_many_users_of_one_server_are_subscribed_again_after_its_connection_was_cut(cluster: Cluster) -> None:
    """Channels of different slots cannot be asked for in one command."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            users = [new_id() for _ in range(150)]
            await asyncio.gather(*map(adapter.subscription.subscribe, users))
            for server in cluster.servers:
                async with a_client(server.url) as client:
                    await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda: adapter.subscription.reconnects == 3 and listener.gaps >= 3)
            for user in users:
                await adapter.broker.publish_frame(user, b"{}")
            await eventually(lambda: len(listener.arrivals) == 150)
            await asyncio.gather(*map(adapter.subscription.unsubscribe, users))
            await adapter.broker.publish_frame(users[0], b"{}")
            assert len(listener.arrivals) == 150

    asyncio.run(scenario())


def test_a_cancelled_call_leaves_nothing_for_another_user_of_the_same_server(cluster: Cluster) -> None:
    """Invariant I6, with the cluster's own pools."""

    async def scenario() -> None:
        async with an_adapter(cluster.url) as adapter:
            start, other = await begun(adapter), await begun(adapter)
            for call in (
                lambda: adapter.broker.snapshot(start.user),
                lambda: adapter.broker.heads([start.user, start.user]),
                lambda: adapter.generations.read(start.user, start.generation),
                lambda: adapter.subscription.subscribe(start.user),
            ):
                async for _ in cancelled_at_every_await(call):
                    snapshot = await adapter.broker.snapshot(other.user)
                    assert [each.generation for each in snapshot.running] == [other.generation]
            heads = await asyncio.gather(*(adapter.broker.heads([new_id()]) for _ in range(300)))
            assert {head.offset for (head,) in heads} == {0}

    asyncio.run(scenario())
