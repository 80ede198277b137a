"""Nodes killed at random moments of running answers, as clients behind the balancer see it (I1 to I5, I7).

KILLS=200 STREAMS=10 NODES=3 LEASE=6 ANSWER=25 RATE=4 pytest -s tests/cluster/test_kills.py
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.cluster.balanced import BalancedCluster
from tests.cluster.nodes import NodeProcess
from tests.cluster.pauses import spread
from tests.cluster.returning import LONGEST_SECONDS, Returning
from tests.cluster.test_rolling import answer
from tests.scripted.recording import Recorded
from tests.scripted.waiting import NeverHappenedError, eventually
from tests.services import Database

KILLS = int(os.environ.get("KILLS", "1"))
STREAMS = int(os.environ.get("STREAMS", "6"))
NODES = int(os.environ.get("NODES", "2"))
LEASE_SECONDS = float(os.environ.get("LEASE", "1.5"))
TOKENS_PER_SECOND = float(os.environ.get("RATE", "20"))
ANSWER_SECONDS = float(os.environ.get("ANSWER", "4"))
BETWEEN_SECONDS = float(os.environ.get("BETWEEN", "1"))
"""The longest that is waited before another kill, once everything moves again."""

WITHIN_SECONDS = 15.0 + LEASE_SECONDS
HEARD_SECONDS = WITHIN_SECONDS + LONGEST_SECONDS
"""Readers of the dead node come back in their own time."""
LIMIT_SECONDS = 120 + KILLS * (HEARD_SECONDS + BETWEEN_SECONDS + 30)


@dataclass
class Toll:
    """What the kills hit. `deaths` says when the owner of a generation died, the last time.

    `whole` counts answers that lacked nothing but their end: the model, asked to go on, says all of it again, so
    that nothing moves for as long as the answer took. `moved` says how long it took until text moved for readers
    at other nodes, `cut` for those of the dead one, their back-off in it.
    """

    deaths: dict[str, float] = field(default_factory=dict)
    moved: list[float] = field(default_factory=list)
    idle: int = 0
    whole: int = 0
    cut: list[float] = field(default_factory=list)


async def written_by(
    cluster: BalancedCluster, node: NodeProcess, guests: list[Returning]
) -> dict[str, Returning]:
    """The generations a node writes now, by id."""
    written = {}
    for each in guests:
        for generation in each.client.held.texts:
            key = f"chat:{{{each.client.recording.user}}}:gen:{generation}"
            owner = await cluster.redis.hget(key, "owner")
            if isinstance(owner, bytes) and owner.decode().startswith(f"{node.name}-"):
                written[generation] = each
    return written


def moved_again(guest: Returning, generation: str, mark: int) -> Recorded | None:
    """The first text of another attempt, or the end, heard after `mark`; `None` while neither was."""
    attempt = math.inf
    for heard in guest.client.recording.heard[mark:]:
        frame = heard.frame
        if frame.get("generation") != generation:
            continue
        if frame["type"] == "generation.switched":
            attempt = min(attempt, frame["attempt"])
        if frame["type"] == "generation.finished" or (
            frame["type"] == "delta" and frame["attempt"] >= attempt and frame["text"]
        ):
            return heard
    return None


async def _length(cluster: BalancedCluster, guest: Returning, generation: str) -> int:
    """How much of a text was written."""
    key = f"chat:{{{guest.client.recording.user}}}:gen:{generation}"
    return int(await cluster.redis.hget(key, "length") or 0)


async def _moved(cluster: BalancedCluster, guest: Returning, generation: str, mark: int) -> Recorded:
    """Wait until it has; what is known of it, where it does not."""
    try:
        again = await eventually(partial(moved_again, guest, generation, mark), HEARD_SECONDS)
    except NeverHappenedError as error:
        recording = guest.client.recording
        state = await cluster.redis.hgetall(f"chat:{{{recording.user}}}:gen:{generation}")
        state.pop(b"plan", None)
        leases = await cluster.redis.zrange("chat:leases", 0, -1, withscores=True)
        raise AssertionError(
            f"{recording.name}: {generation} does not move; {state=} {leases=} last {recording.heard[-3:]}"
        ) from error
    assert again is not None
    return again


async def kill_some(
    cluster: BalancedCluster, guests: list[Returning], rng: random.Random, *, whole: int
) -> Toll:
    """Kill one node after the other; each time wait until everything it wrote moves again.

    `whole` is the length of an answer, but for white space at its end.
    """
    toll = Toll()
    for _ in range(KILLS):
        await asyncio.sleep(rng.random() * BETWEEN_SECONDS)
        marks = {each.client.recording.user: each.client.mark() for each in guests}
        for node in rng.sample(cluster.nodes, NODES):
            hit = await written_by(cluster, node, guests)
            if hit:
                break
        node.kill()
        died = time.monotonic()
        await node.process.wait()
        left = {generation: await _length(cluster, guest, generation) for generation, guest in hit.items()}
        starting = asyncio.create_task(cluster.replace(node))
        for generation, guest in hit.items():
            if left[generation] >= whole:
                toll.whole += 1
                continue
            mark = marks[guest.client.recording.user]
            again = await _moved(cluster, guest, generation, mark)
            if again.at > died:  # else it had ended just before
                toll.deaths[generation] = died
                cut = again.connection != guest.client.recording.heard[mark - 1].connection
                (toll.cut if cut else toll.moved).append(again.at - died)
        toll.idle += not hit
        await starting
    return toll


@pytest.mark.timeout(LIMIT_SECONDS + 60)
def test_every_answer_of_a_killed_node_goes_on_elsewhere_ends_once_and_is_billed_by_the_attempt(
    services: EmbeddedServices, database: Database, seed: int
):
    rng = random.Random(seed)
    text = answer(rng, round(ANSWER_SECONDS * TOKENS_PER_SECOND / 2))

    async def go() -> None:
        settings = {"LEASE_SECONDS": str(LEASE_SECONDS), "SEAM_HOLD_SECONDS": "0.7"}
        async with BalancedCluster(services, database, count=NODES, settings=settings) as cluster:
            interval = 1000 / TOKENS_PER_SECOND
            cluster.simulator.script(Behaviour(text=text, interval_ms=interval, jitter=0.2), repeat=True)
            guests = [Returning.at(cluster, number, seed) for number in range(STREAMS)]
            enough = asyncio.Event()
            async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as talking:
                for each in guests:
                    talking.create_task(each.converse(enough, ANSWER_SECONDS + 120))
                await eventually(
                    lambda: all(each.client.held.texts for each in guests), 60, what="every stream has begun"
                )
                toll = await kill_some(cluster, guests, rng, whole=len(text.rstrip()))
                enough.set()

            print(  # noqa: T201
                f"{KILLS} kills, {toll.idle} of nodes that wrote nothing, {toll.whole} answers lacked only their end"
                f"\ntext moved again, for readers elsewhere {spread(toll.moved)}"
                f"\nfor those of the dead node, with their back-off {spread(toll.cut)}"
            )
            clients = [each.client for each in guests]
            intended = {generation: text for each in guests for generation in each.answers}
            await cluster.settled(120)
            rows = await cluster.rows()
            states = Counter(row["state"] for row in rows["usage"])
            print(f"{len(intended)} answers, {len(rows['usage'])} attempts, usage {dict(states)}")  # noqa: T201
            for each in guests:
                deaths = {key: when for key, when in toll.deaths.items() if key in each.answers}
                await cluster.assert_holds(
                    each.client, intended=intended, deaths=deaths, within=HEARD_SECONDS, settle=False
                )
            finished = [frame for client in clients for frame in client.held.finished.values()]
            assert {frame["generation"] for frame in finished} == set(intended)
            # whose node dies three times without new text is given up; only what lacked nothing has none
            statuses = Counter(frame["status"] for frame in finished)
            assert statuses["interrupted"] <= toll.whole // 3
            assert statuses.keys() <= {"completed", "interrupted"}
            assert toll.moved or toll.cut or toll.whole
            assert max(toll.moved, default=0.0) <= WITHIN_SECONDS
            for client in clients:
                for frame in client.recording.of_type("generation.switched"):
                    assert frame["cause"] == "node_lost"

    asyncio.run(go())
