"""A store that lost what it held, or went back in time, and owners who were away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

from server.adapters.redis import keys
from server.channels.broker import BrokerUnavailable
from server.conversations.custodian import CustodyPace
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.adapters.redis.support import a_start
from tests.running import RunningNode, new_uuid, of_type, running_node
from tests.scripted.fault_proxy import FaultProxy
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database, own_services


@dataclass
class OwnStore:
    """A Redis of the test's own: its address, one that leads over a cable, and a client."""

    url: str
    cable: FaultProxy
    client: redis.asyncio.Redis

    @property
    def over_cable(self) -> str:
        return self.cable.url(self.url)


@contextlib.asynccontextmanager
async def an_own_store() -> AsyncIterator[OwnStore]:
    async with own_services(postgres=False) as own:
        url, port = str(own.urls.redis_url), own.valkey.port
        assert port is not None
        async with FaultProxy("127.0.0.1", port) as cable, redis.asyncio.Redis.from_url(url) as client:
            yield OwnStore(url, cable, client)


async def asked(client: RecordingClient) -> str:
    """The generation of a question."""
    ack = await client.send("message.send", content="hi", client_message_id=new_uuid())
    return str(ack["generation"])


async def answer_kept(node: RunningNode, generation: str) -> str:
    """The answer the database holds."""
    async with node.admin() as connection:
        return str(
            await connection.fetchval(
                "SELECT content FROM chat.messages WHERE id ="
                " (SELECT message_id FROM chat.generations WHERE id = $1)",
                generation,
            )
        )


def test_an_answer_whose_model_is_silent_is_not_begun_again_by_others(
    services: EmbeddedServices, database: Database
) -> None:
    """Architecture §2: a Redis that lost its data is a new epoch; the owner writes its state again."""

    async def scenario() -> None:
        async with an_own_store() as store:
            pace = CustodyPace(patience_seconds=3, unstarted_seconds=0.1)
            node: dict[str, Any] = {"redis_url": store.url, "lease_seconds": 3, "pace": pace}
            async with (
                running_node(services, database, **node) as one,
                running_node(services, database, simulator=one.simulator, **node),
            ):
                one.simulator.script(Behaviour(text="The first answer.", gate="later"))
                one.simulator.script(Behaviour(text="Another answer, of another call."))
                client = await one.client()
                generation = await asked(client)
                await eventually(lambda: len(one.simulator.calls()) == 1)

                async def overdue() -> bool:
                    async with one.admin() as connection:
                        return bool(
                            await connection.fetchval(
                                "SELECT clock_timestamp() - created_at > interval '4 seconds'"
                                " FROM chat.generations WHERE id = $1",
                                generation,
                            )
                        )

                await eventually(overdue, what="it is old enough to be taken for never begun")
                await store.client.flushall()
                state = keys.generation(client.recording.user, generation)
                await eventually(lambda: store.client.exists(state), what="its state is written again")
                one.simulator.release("later")
                finished = await client.wait_for(of_type("generation.finished", generation=generation))
                assert finished["message"]["content"] == "The first answer."
                assert len(one.simulator.calls()) == 1
                await one.assert_holds(client, resets=None)

    asyncio.run(scenario())


def test_an_end_that_a_failover_took_back_is_told_again_and_no_model_is_asked(
    services: EmbeddedServices, database: Database
) -> None:
    """Architecture §7.1: a replica that is promoted lacks the tail; the end was written down and told."""

    async def scenario() -> None:
        async with (
            an_own_store() as store,
            running_node(services, database, redis_url=store.url, lease_seconds=1) as one,
        ):
            one.simulator.script(Behaviour(tokens=("All ", "of ", "it."), gate="end", gate_at=2))
            one.simulator.script(Behaviour(text="Something else altogether."))
            client = await one.client()
            user, generation = client.recording.user, await asked(client)
            await client.wait_for(of_type("delta", generation=generation))
            held = (keys.generation(user, generation), keys.text(user, generation), keys.active(user))
            before = {key: await store.client.dump(key) for key in held}
            one.simulator.release("end")
            await client.wait_for(of_type("generation.finished", generation=generation))
            await one.settled()

            await store.client.delete(keys.finished(user, generation))
            for key, value in before.items():
                assert value is not None
                await store.client.restore(key, 0, value, replace=True)
            await store.client.zadd(keys.LEASES, {f"{user} {generation}": 1})

            async def over() -> bool:
                return await store.client.hget(held[0], "status") == b"concluded"

            assert await eventually(over, what="its end is told again")
            assert not await store.client.sismember(keys.active(user), generation)
            ends = client.recording.of_type("generation.finished")
            assert {end["message"]["content"] for end in ends} == {"All of it."}
            assert await answer_kept(one, generation) == "All of it."
            assert len(one.simulator.calls()) == 1

    asyncio.run(scenario())


def test_an_owner_who_comes_back_does_not_begin_again_what_another_one_ended(
    services: EmbeddedServices, database: Database
) -> None:
    """Architecture §7.4: restoring is for where PostgreSQL knows no end."""

    async def scenario() -> None:
        async with (
            an_own_store() as store,
            running_node(services, database, redis_url=store.over_cable, lease_seconds=1) as away,
            running_node(
                services, database, redis_url=store.url, lease_seconds=1, simulator=away.simulator
            ) as heir,
        ):
            away.simulator.script(Behaviour(tokens=("One ", "two ", "three."), gate="back", gate_at=1))
            away.simulator.script(Behaviour(text="two, and an end of its own."))
            asking = await away.client()
            client = await heir.client(asking.recording.user)
            user, generation = client.recording.user, await asked(asking)
            await client.wait_for(of_type("delta", generation=generation))
            store.cable.refuse()
            store.cable.reset()
            finished = await client.wait_for(of_type("generation.finished", generation=generation))
            # its state's time is over, and the mark of its end too
            await store.client.delete(
                keys.generation(user, generation),
                keys.text(user, generation),
                keys.finished(user, generation),
            )
            await store.cable.allow()
            away.simulator.release("back")

            await eventually(lambda: len(away.node.generations) == 0, what="it has let go")
            assert not await store.client.exists(keys.generation(user, generation))
            assert client.recording.of_type("generation.finished") == [finished]
            assert await answer_kept(heir, generation) == finished["message"]["content"]

    asyncio.run(scenario())


def test_an_owner_whose_model_is_silent_notices_that_another_one_went_on(
    services: EmbeddedServices, database: Database
) -> None:
    async def scenario() -> None:
        async with (
            an_own_store() as store,
            running_node(services, database, redis_url=store.url, lease_seconds=1) as node,
        ):
            node.simulator.script(Behaviour(text="Never said.", gate="never"))
            client = await node.client()
            generation = await asked(client)
            await eventually(lambda: len(node.simulator.calls()) == 1)
            state = keys.generation(client.recording.user, generation)
            await store.client.hset(state, mapping={"owner": "another", "attempt": 2})

            await eventually(lambda: len(node.node.generations) == 0, what="it has let go")

    asyncio.run(scenario())


def test_a_state_that_cannot_be_read_keeps_nothing_else_from_going_on(
    services: EmbeddedServices, database: Database
) -> None:
    """What another version wrote, say: the node lives, and takes over what it can."""

    async def scenario() -> None:
        async with (
            an_own_store() as store,
            running_node(services, database, redis_url=store.url, lease_seconds=1) as node,
        ):
            strange = [a_start(new_uuid(), generation=new_uuid(), plan=b'{"odd":1}') for _ in range(3)]
            for each in strange:
                await node.node.redis.generations.start(each)
                await node.node.redis.leases.miss(each.user, each.generation)
            client = await node.client()
            node.simulator.script(Behaviour(text="Here."), repeat=True)
            node.node.generations.wake()

            async def all_claimed() -> bool:
                held = [
                    await node.node.redis.leases.held(each.user, each.generation, seconds=0)
                    for each in strange
                ]
                return all(held)

            await eventually(all_claimed, what="each was tried")
            generation = await asked(client)
            finished = await client.wait_for(of_type("generation.finished", generation=generation))
            assert finished["message"]["content"] == "Here."
            assert node.node.front.ready() is None

    asyncio.run(scenario())


def test_renewals_do_not_wait_for_a_connection_that_is_silent(
    services: EmbeddedServices, database: Database
) -> None:
    """Two renewals a lease apart would be a healthy node's death."""

    async def scenario() -> None:
        async with (
            an_own_store() as store,
            running_node(services, database, redis_url=store.over_cable) as node,
        ):
            leases, mine = node.node.redis.leases, [(new_uuid(), new_uuid())]
            await leases.hold(mine, seconds=30, within=5)
            store.cable.black_hole()
            with pytest.raises(BrokerUnavailable):
                await leases.hold(mine, seconds=30, within=0.2)
            async with asyncio.timeout(3):  # the silence would be noticed after five seconds
                await leases.hold(mine, seconds=30, within=3)

    asyncio.run(scenario())
