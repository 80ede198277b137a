"""`make soak`: a fault every few seconds on a cluster whose clients never stop asking.

    python -m tests.cluster.soak --minutes 10 --nodes 3

Prints each fault as it strikes, and at the end a table; exits with 1 if anything was lost, shown twice, or
stood still for too long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from server.embedded.openrouter.behaviour import Behaviour
from tests.cluster.faults import FAULTS, Fault, Scene
from tests.cluster.faulty import FaultyCluster, faulty_cluster
from tests.cluster.follower import Answer, Door, Follower
from tests.cluster.striking import WITHIN_SECONDS, Outcome, Strikes, parting, silence, table

_DOORS: tuple[Door, ...] = ("ws", "sse")
_WORDS = 200
_INTERVAL_MS = 40.0
_MAY_FAIL = {fault.name for fault in FAULTS if fault.may_fail}
_ENDS_WITHIN_SECONDS = 150.0
_BETWEEN_SECONDS = (1.0, 4.0)
_SCRIPTED_SECONDS = 5.0
"""How long the upstream fails, where that is the fault."""


@dataclass
class InFlight:
    """An answer that a fault found under way."""

    outcome: Outcome
    follower: Follower
    answer: Answer
    struck: float
    healed: float
    until: float = float("inf")
    """When the next fault struck."""


@dataclass
class Soak:
    """A cluster under fire. `fault` is the one that strikes now; `counted` what had come of the followers then."""

    cluster: FaultyCluster
    rng: random.Random
    clients: int
    strikes: Strikes
    fault: Fault | None = None
    flown: list[InFlight] = field(default_factory=list)
    answered: int = 0
    enough: bool = False
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def run(self, seconds: float) -> list[str]:
        """Strike for so long; what was found wrong at the end, besides what the outcomes say."""
        scene = Scene(self.cluster, self.rng, [], marker="end of it.", questions="[soak", long=True)
        for number in range(self.clients):
            follower = Follower(self.cluster, _DOORS[number % 2], self.rng, name=f"client {number}")
            scene.followers.append(follower)
            await follower.start()
        self.strikes.everybody += scene.followers
        talking = [asyncio.create_task(self._converse(follower)) for follower in scene.followers]
        until = time.monotonic() + seconds
        left: list[Fault] = []
        while time.monotonic() < until:
            left = left or self.rng.sample(FAULTS, len(FAULTS))
            await self._strike(left.pop(), scene)
            await asyncio.sleep(self.rng.uniform(*_BETWEEN_SECONDS))
        self.enough = True
        self._close_the_last(scene)
        found = [repr(error) for error in await asyncio.gather(*talking, return_exceptions=True) if error]
        everybody = [*scene.followers, *scene.more]
        await asyncio.gather(*(tab.until_ended(answer) for tab in scene.more for answer in tab.answers))
        await asyncio.gather(*(follower.close() for follower in everybody))
        self.strikes.everybody += scene.more
        self._look_back()
        found += [f"{follower.name}: {wrong}" for follower in everybody for wrong in follower.wrong]
        return found + await self.strikes.settle()

    async def _converse(self, follower: Follower) -> None:
        while not self.enough:
            text, question = _text(self.rng), f"[soak {secrets.token_hex(6)}] tell me all"
            good = Behaviour(text=text, interval_ms=_INTERVAL_MS)
            script = self.fault.script if self.fault is not None else None
            calls = script(self.rng, good) if script is not None else (good,)
            self.cluster.simulator.script(*calls, match=question, repeat=True)
            async with asyncio.timeout(_ENDS_WITHIN_SECONDS):
                answer = await follower.ask(question, text)
                self.strikes.intended[answer.generation] = text
                if self.rng.random() < 0.1:
                    await asyncio.sleep(self.rng.random() * 5)
                    await follower.stop(answer)
                await follower.until_ended(answer)
            self.answered += 1
            status, content = follower.content(answer)
            if content != (text if status == "completed" else text[: len(content)]):
                follower.wrong.append(f"I2: not the answer: {parting(content, text)}")

    async def _strike(self, fault: Fault, scene: Scene) -> None:
        self._close_the_last(scene)
        outcome = Outcome(fault.name, self.cluster.count, fault.name)
        self.strikes.outcomes.append(outcome)
        for follower in scene.followers:
            outcome.doors[follower.door] = outcome.doors.get(follower.door, 0) + 1
        in_flight, struck, self.fault = scene.open_answers(), time.monotonic(), fault
        outcome.in_flight = len(in_flight)
        heal = await fault.inject(scene)
        await asyncio.sleep(
            _SCRIPTED_SECONDS if fault.script is not None else self.rng.uniform(*(fault.long or fault.holds))
        )
        if heal is not None:
            await heal()
        await self.cluster.heal()
        self.fault = None
        self.flown += [InFlight(outcome, f, a, struck, time.monotonic()) for f, a in in_flight]
        print(f"{time.strftime('%H:%M:%S')} {fault.name}: {len(in_flight)} in flight", flush=True)  # noqa: T201

    def _close_the_last(self, scene: Scene) -> None:
        """What comes from here on is of the next fault."""
        for each in self.flown:
            each.until = min(each.until, time.monotonic())
        for follower in scene.followers:
            now = (follower.connections, len(follower.client.recording.of_type("reset")))
            connections, resets = self.counted.get(follower.name, now)
            self.counted[follower.name] = now
            if self.strikes.outcomes:
                self.strikes.outcomes[-1].connections += now[0] - connections
                self.strikes.outcomes[-1].resets += now[1] - resets

    def _look_back(self) -> None:
        """What became of the answers that were in flight."""
        for each in self.flown:
            follower, answer = each.follower, each.answer
            if not follower.has_ended(answer):
                each.outcome.violations.append(f"I3: {follower.name}: {answer.generation} did not end")
                continue
            each.outcome.silences.append(silence(follower, answer, each.struck, each.until))
            moves = follower.moves(answer)
            after = [at for at in moves if at > each.healed]
            if answer.told is None and after and after[0] - each.healed > WITHIN_SECONDS:
                each.outcome.violations.append(f"I3: {follower.name}: {after[0] - each.healed:.1f} s")
            status, _ = follower.content(answer)
            each.outcome.statuses.append(status)
            met = {other.outcome.fault for other in self.flown if other.answer is answer}
            if status not in {"completed", "cancelled"} and not (met & _MAY_FAIL and status == "failed"):
                each.outcome.violations.append(f"I3: {follower.name}: {answer.generation} {status}")


def _text(rng: random.Random) -> str:
    parts = ("karier", "naïve", "職業", "👩🏽‍🚀", "skills", "—", "\n\n- ", "**bold**", "ß")
    return "".join(f"{number} {rng.choice(parts)} " for number in range(_WORDS)) + "end of it."


async def soak(minutes: float, nodes: int, clients: int, seed: int) -> int:
    """The number of violations; everything is printed."""
    async with faulty_cluster(count=nodes) as cluster:
        strikes = Strikes(cluster, str(seed), long=True)
        run = Soak(cluster, random.Random(seed), clients, strikes)
        found = await run.run(minutes * 60)
        statuses = [status for outcome in strikes.outcomes for status in outcome.statuses]
        found += [violation for outcome in strikes.outcomes for violation in outcome.violations]
        ended = {status: statuses.count(status) for status in sorted(set(statuses))}
        print(  # noqa: T201
            f"\n{table(strikes.outcomes)}\n\nseed {seed}, {nodes} nodes, {clients} clients, {minutes:g} minutes:"
            f" {len(strikes.outcomes)} faults, {run.answered} answers to their end; of those in flight {ended};"
            f" {len(found)} violations"
        )
        said = Counter(json.loads(line)["event"].partition("\n")[0] for line in cluster.complaints())
        for line in [
            *found,
            *(f"logged as an error {count} times: {event}" for event, count in said.items()),
        ]:
            print(line)  # noqa: T201
        return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    sys.exit(1 if asyncio.run(soak(given.minutes, given.nodes, given.clients, given.seed)) else 0)


if __name__ == "__main__":
    main()
