"""Nodes killed at random moments of the assessment flow: every student has one adviser, told of once (I1 to I5).

KILLS=20 pytest -s tests/cluster/test_assessment_kills.py
"""

from __future__ import annotations

import asyncio
import os
import random
import time

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.cluster.nodes import Cluster, NodeProcess
from tests.cluster.pauses import spread
from tests.cluster.test_takeover import answer
from tests.node.flow import PATIENT, Flow, a_flow, stages, welcomed
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

KILLS = int(os.environ.get("KILLS", "2"))
FLOW_SECONDS = 1.5
"""About what it takes from the event to the adviser who waits, with a welcome that is streamed."""
STAGES = ("analysis_started", "analysis_complete", "chatbot_ready")


def environment(flow: Flow) -> dict[str, str]:
    """The flow's surroundings, for nodes that are processes."""
    pauses = ",".join(map(str, flow.settings["consumer_retry_seconds"]))
    urls = {name.upper(): str(url) for name, url in flow.settings.items() if name.endswith("_url")}
    return {
        **urls,
        "CONSUMER_RETRY_SECONDS": pauses,
        "EVENTS_EXCHANGE_NAME": flow.exchange,
        "CHAT_QUEUE_NAME": flow.queue,
    }


async def listening(cluster: Cluster, node: NodeProcess) -> None:
    """Wait until events flow to a node: what is published before there is a queue is nobody's."""
    probe = cluster.sse(node)

    async def healthy() -> bool:
        health = (await probe.rest("GET", "/health")).json()
        return bool(health["dependencies"]["rabbitmq"]["status"] == "healthy")

    await eventually(healthy, PATIENT, what="events flow")


def test_a_node_killed_anywhere_in_the_flow_leaves_every_student_one_adviser(
    services: EmbeddedServices, database: Database, rabbitmq_url: str, seed: int
):
    rng = random.Random(seed)
    took: list[float] = []

    async def student(flow: Flow, cluster: Cluster) -> tuple[RecordingClient, str]:
        """One of them, with a node that dies at some moment, and their result."""
        dying, staying = rng.sample(cluster.nodes, 2)
        client = await cluster.client(staying)
        result = flow.neighbours.add_result(client.recording.user)
        published = time.monotonic()
        await flow.publish(
            flow.started(client.recording.user, result), flow.completed(client.recording.user, result)
        )
        await asyncio.sleep(rng.random() * FLOW_SECONDS)
        dying.kill()
        await dying.process.wait()
        await welcomed(client, result)
        took.append(time.monotonic() - published)
        await cluster.replace(dying)
        await client.cut()  # its node may be the next
        return client, result

    async def go() -> None:
        async with (
            a_flow(services, database, rabbitmq_url) as flow,
            Cluster(services, database, count=2, settings=environment(flow)) as cluster,
        ):
            await asyncio.gather(*(listening(cluster, node) for node in cluster.nodes))
            text = answer(rng, 60)
            cluster.simulator.script(Behaviour(text=text, interval_ms=3.0), repeat=True)
            students = [await student(flow, cluster) for _ in range(KILLS)]
            await cluster.settled(PATIENT)
            for client, result in students:
                user = client.recording.user
                (started,) = client.recording.of_type("generation.started")
                assert client.text(started["generation"]) == text
                assert {f["cause"] for f in client.recording.of_type("generation.switched")} <= {"node_lost"}
                assert len(await flow.conversations(user)) == await flow.welcomes(user) == 1
                assert stages(client) == dict.fromkeys(((stage, result) for stage in STAGES), 1)
                await cluster.assert_holds(client, intended={started["generation"]: text})

    asyncio.run(go())
    print(f"{KILLS} kills, from the event to the adviser {spread(took)}")  # noqa: T201 - a measurement
