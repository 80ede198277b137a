"""A deploy nobody notices: every node restarted in turn while answers stream through the balancer (I1 to I5, I7).

ROLLS=20 STREAMS=100 NODES=3 DRAIN=6 RATE=2 ANSWER=30 pytest -s tests/cluster/test_rolling.py
"""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.cluster.balanced import BalancedCluster
from tests.cluster.pauses import longest_within, pauses, spread
from tests.cluster.returning import Returning
from tests.scripted.sse_client import SseClient
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

ROLLS = int(os.environ.get("ROLLS", "1"))
STREAMS = int(os.environ.get("STREAMS", "8"))
NODES = int(os.environ.get("NODES", "2"))
DRAIN_SECONDS = float(os.environ.get("DRAIN", "1"))
TOKENS_PER_SECOND = float(os.environ.get("RATE", "10"))
ANSWER_SECONDS = float(os.environ.get("ANSWER", "4"))
"""How long an answer streams: longer than a node drains, so that some are handed over."""

AFTERWARDS_SECONDS = 2.0
LIMIT_SECONDS = 120 + ROLLS * NODES * (DRAIN_SECONDS + 30)


def answer(rng: random.Random, words: int) -> str:
    parts = ("karier", "naïve", "職業", "👩🏽‍🚀", "skills", "—", "\n\n- ", "**bold**", "ß")
    # no white space at its end: whoever dies before it leaves an answer that is whole to a reader, and the model
    # that is asked to go on says all of it again
    return " ".join(f"{number} {rng.choice(parts)}" for number in range(words))


async def restart_all(cluster: BalancedCluster) -> list[tuple[float, float]]:
    """Every node in turn, so many times; when each was being restarted."""
    windows = []
    for _ in range(ROLLS):
        for node in list(cluster.nodes):
            began = time.monotonic()
            assert await cluster.roll(node) == 0
            windows.append((began, time.monotonic() + AFTERWARDS_SECONDS))
    return windows


@pytest.mark.timeout(LIMIT_SECONDS + 60)
def test_restarting_every_node_in_turn_loses_nothing_shows_nothing_twice_and_ends_every_answer_once(
    services: EmbeddedServices, database: Database, seed: int
):
    rng = random.Random(seed)
    text = answer(rng, round(ANSWER_SECONDS * TOKENS_PER_SECOND / 2))

    async def go() -> None:
        settings = {"DRAIN_SECONDS": str(DRAIN_SECONDS), "LEASE_SECONDS": "6", "SEAM_HOLD_SECONDS": "0.7"}
        async with BalancedCluster(services, database, count=NODES, settings=settings) as cluster:
            interval = 1000 / TOKENS_PER_SECOND
            cluster.simulator.script(Behaviour(text=text, interval_ms=interval, jitter=0.2), repeat=True)
            guests = [Returning.at(cluster, number, seed) for number in range(STREAMS)]
            enough = asyncio.Event()
            async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as talking:
                for each in guests:
                    talking.create_task(each.converse(enough, 3 * ANSWER_SECONDS + 60))
                await eventually(
                    lambda: all(each.client.held.texts for each in guests), 90, what="every stream has begun"
                )
                windows = await restart_all(cluster)
                enough.set()

            told(guests, windows)
            clients = [each.client for each in guests]
            intended = {generation: text for each in guests for generation in each.answers}
            assert len(intended) >= STREAMS
            await cluster.settled(120)
            await cluster.assert_holds(*clients, intended=intended, settle=False)
            finished = [frame for client in clients for frame in client.held.finished.values()]
            assert {frame["generation"] for frame in finished} == set(intended)
            assert {frame["status"] for frame in finished} == {"completed"}
            switches = [
                frame for client in clients for frame in client.recording.of_type("generation.switched")
            ]
            assert "node_drained" in {frame["cause"] for frame in switches}
            assert all(client.recording.of_type("drain") for client in clients)

    asyncio.run(go())


def told(guests: list[Returning], windows: list[tuple[float, float]]) -> None:
    """Say how long texts stood still: of each stream the longest silence of each restart."""
    print(f"{len(windows)} restarts, {STREAMS} streams, {sum(len(each.answers) for each in guests)} answers")  # noqa: T201
    for kind in (RecordingClient, SseClient):
        found = [list(pauses(each.client.recording)) for each in guests if isinstance(each.client, kind)]
        longest = [pause for each in found for pause in longest_within(each, windows) if pause is not None]
        handed = [pause for each in found for pause in each if pause.announced is not None]
        asked = [span for each in guests if isinstance(each.client, kind) for span in each.asked]
        lines = {
            "until accepted": [
                end - begin
                for begin, end in asked
                if any(begin < until and end > since for since, until in windows)
            ],
            "silences": [pause.seconds for pause in longest],
            "moved": [pause.seconds for each in found for pause in each if pause.connections],
            "handed over": [pause.seconds for pause in handed],
            "- until announced": [pause.announced - pause.begin for pause in handed if pause.announced],
            "- from there to text": [pause.end - pause.announced for pause in handed if pause.announced],
        }
        for name, values in lines.items():
            print(f"{kind.__name__:16} {name:20} {spread(values)}")  # noqa: T201
