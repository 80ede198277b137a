"""Nodes that die in the middle of an answer: another one goes on, nothing shown is taken back (I1 to I5, I7)."""

from __future__ import annotations

import asyncio
import os
import random
import time

from websockets.exceptions import WebSocketException

from server.adapters.redis import keys
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.cluster.nodes import Cluster
from tests.running import new_uuid, of_type
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

KILLS = int(os.environ.get("KILLS", "6"))


def answer(rng: random.Random, words: int = 120) -> str:
    parts = ("karier", "naïve", "職業", "👩🏽‍🚀", "skills", "—", "\n\n- ", "**bold**", "ß")
    return "".join(f"{number} {rng.choice(parts)} " for number in range(words))


async def follow_to_the_end(client: RecordingClient, cluster: Cluster, generation: str) -> None:
    """Stay connected to whichever node is alive until the end is heard."""
    async with asyncio.timeout(60):
        while generation not in client.held.finished:
            try:
                if not client.connected:
                    alive = [node for node in cluster.nodes if node.alive]
                    await client.connect(random.choice(alive).ws_url)
                await client.wait_for(of_type("generation.finished", generation=generation), 60)
            except (OSError, WebSocketException, ConnectionEndedError):
                continue  # the node has just died


def test_every_kill_of_the_writing_node_leaves_one_exact_answer(
    services: EmbeddedServices, database: Database, seed: int
):
    rng = random.Random(seed)
    moved: list[float] = []

    async def one_answer(cluster: Cluster, text: str) -> None:
        sender, reader = rng.sample(cluster.nodes, 2)
        client = await cluster.client(sender)
        tab = await cluster.client(reader, client.recording.user)
        ack = await client.send("message.send", content="Tell me all", client_message_id=new_uuid())
        generation = ack["generation"]
        await asyncio.sleep(rng.random() * 1.2)
        if generation not in tab.held.finished:
            owner = await cluster.owner_of(client.recording.user, generation)
            died = time.monotonic()
            owner.kill()
            await owner.process.wait()
            await asyncio.gather(
                follow_to_the_end(client, cluster, generation), follow_to_the_end(tab, cluster, generation)
            )
            after = [
                heard.at - died
                for heard in tab.recording.heard + client.recording.heard
                if heard.at > died and heard.frame["type"] in {"delta", "generation.finished"}
            ]
            moved.append(min(after))
            await cluster.replace(owner)
        else:
            await follow_to_the_end(client, cluster, generation)
        assert client.text(generation) == tab.text(generation) == text
        finished = client.held.finished[generation]
        assert finished["status"] == "completed"
        switches = [f["cause"] for f in client.recording.of_type("generation.switched")]
        assert set(switches) <= {"node_lost"}
        await client.cut()
        await tab.cut()

    async def go() -> None:
        async with Cluster(services, database, count=2) as cluster:
            text = answer(rng)
            cluster.simulator.script(Behaviour(text=text, interval_ms=3.0), repeat=True)
            # an answer may be over before its node is killed
            for _ in range(4 * KILLS):
                if len(moved) < KILLS:
                    await one_answer(cluster, text)
            recorded = [client for client in cluster.clients if isinstance(client, RecordingClient)]
            await cluster.assert_holds(*recorded, intended=_intended(recorded, text))

    asyncio.run(go())
    assert len(moved) == KILLS
    print(f"{KILLS} kills, text moved again after {min(moved):.2f} to {max(moved):.2f} s")  # noqa: T201


def test_a_node_that_is_gone_is_missed_before_its_leases_are_over(
    services: EmbeddedServices, database: Database
):
    """The kernel closes what a killed process had open, and nobody hears its orders any more."""

    async def go() -> None:
        async with Cluster(services, database, count=2, settings={"LEASE_SECONDS": "12"}) as cluster:
            text = answer(random.Random(3), 150)
            cluster.simulator.script(Behaviour(text=text, interval_ms=5.0), repeat=True)
            owner, other = cluster.nodes
            client = await cluster.client(owner)
            tab = await cluster.client(other, client.recording.user)
            ack = await client.send("message.send", content="Tell me all", client_message_id=new_uuid())
            generation = ack["generation"]
            await tab.wait_for(of_type("delta"))

            owner.kill()
            await owner.process.wait()
            deadline = await cluster.redis.zscore(keys.LEASES, f"{client.recording.user} {generation}")
            await tab.wait_for(of_type("generation.switched", cause="node_lost"), 60)
            seconds, micros = await cluster.redis.time()
            await follow_to_the_end(tab, cluster, generation)

            assert deadline is not None
            assert seconds * 1000 + micros / 1000 < deadline
            assert tab.text(generation) == text
            await client.cut()
            await cluster.assert_holds(tab, intended={generation: text})

    asyncio.run(go())


def test_a_drained_node_hands_its_answer_over_and_ends_with_0(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with Cluster(services, database, count=2, settings={"DRAIN_SECONDS": "0.3"}) as cluster:
            text = answer(random.Random(1), 150)
            cluster.simulator.script(Behaviour(text=text, interval_ms=5.0), repeat=True)
            client = await cluster.client(cluster.nodes[0])
            ack = await client.send("message.send", content="Tell me all", client_message_id=new_uuid())
            generation = ack["generation"]
            await client.wait_for(of_type("delta"))
            owner = await cluster.owner_of(client.recording.user, generation)
            assert owner is cluster.nodes[0]

            code = await owner.drain()
            farewell = await client.wait_for(of_type("drain"))
            cluster.nodes.remove(owner)
            await follow_to_the_end(client, cluster, generation)

            assert code == 0
            assert client.recording.heard, farewell
            switched = client.recording.of_type("generation.switched")
            assert [frame["cause"] for frame in switched] == ["node_drained"]
            assert client.text(generation) == text
            await cluster.assert_holds(client, intended={generation: text})

    asyncio.run(go())


def test_a_frozen_node_that_wakes_up_cannot_write(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with Cluster(services, database, count=2) as cluster:
            text = answer(random.Random(2), 200)
            cluster.simulator.script(Behaviour(text=text, interval_ms=5.0), repeat=True)
            zombie, other = cluster.nodes
            client = await cluster.client(zombie)
            ack = await client.send("message.send", content="Tell me all", client_message_id=new_uuid())
            generation = ack["generation"]
            await client.wait_for(of_type("delta"))

            zombie.freeze()
            tab = await cluster.client(other, client.recording.user)
            finished = await tab.wait_for(of_type("generation.finished", generation=generation), 60)
            zombie.thaw()

            assert finished["status"] == "completed"
            assert tab.text(generation) == text
            late = await client.wait_for(of_type("generation.finished", generation=generation), 60)
            assert late == finished
            await cluster.assert_holds(client, tab, intended={generation: text})

    asyncio.run(go())


def _intended(clients: list[RecordingClient], text: str) -> dict[str, str]:
    return {generation: text for client in clients for generation in client.held.finished}
