"""One fault struck while answers stream, and what became of them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from server.embedded.openrouter.behaviour import Behaviour
from tests import oracle
from tests.cluster.faults import Fault, Scene
from tests.cluster.faulty import FaultyCluster
from tests.cluster.follower import Answer, Door, Follower
from tests.oracle_wire import Violation

WITHIN_SECONDS = 15.0
_ENDS_WITHIN_SECONDS = 60.0
_WORDS = 60
_INTERVAL_MS = 6.0
_ANSWER_SECONDS = 0.9
"""About how long an answer takes that nothing disturbs."""


@dataclass
class Outcome:
    """What one strike did. `silences`: of each answer in flight, the longest until its text moved again."""

    fault: str
    nodes: int
    what: str
    doors: dict[Door, int] = field(default_factory=dict)
    in_flight: int = 0
    connections: int = 0
    resets: int = 0
    silences: list[float] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


@dataclass
class Strikes:
    """Strikes on one cluster, one after the other; `everybody` who ever followed is judged at the end."""

    cluster: FaultyCluster
    seed: str
    long: bool = False
    everybody: list[Follower] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    intended: dict[str, str] = field(default_factory=dict)

    async def strike(self, fault: Fault, doors: Iterable[Door]) -> Outcome:
        """Ask, strike at a random moment, heal, wait for every end, and judge what clients saw."""
        number = len(self.outcomes)
        what = f"{fault.name}, {self.cluster.count} node(s), seed {self.seed}:{number}"
        outcome = Outcome(fault.name, self.cluster.count, what)
        self.outcomes.append(outcome)
        rng = random.Random(f"{self.seed}:{self.cluster.count}:{fault.name}")
        scene = Scene(
            self.cluster,
            rng,
            [Follower(self.cluster, door, rng, name=f"{what}, {door} {n}") for n, door in enumerate(doors)],
            marker=f"end of {number}.",
            questions=f"[{number}]",
            long=self.long,
        )
        for follower in scene.followers:
            outcome.doors[follower.door] = outcome.doors.get(follower.door, 0) + 1
        try:
            async with asyncio.timeout(_ENDS_WITHIN_SECONDS + (fault.long or fault.holds)[1]):
                await asyncio.gather(*(follower.start() for follower in scene.followers))
                await self._play(fault, scene, outcome)
        except TimeoutError:
            outcome.violations.append(f"I3: not over in time: {_state(scene)}")
        finally:
            everybody = [*scene.followers, *scene.more]
            self.everybody += everybody
            await self.cluster.heal()
            await asyncio.gather(*(follower.close() for follower in everybody))
        self._judge(fault, scene, outcome)
        return outcome

    async def _play(self, fault: Fault, scene: Scene, outcome: Outcome) -> None:
        rng = scene.rng
        asked = asyncio.gather(
            *(self._ask(fault, scene, follower, n) for n, follower in enumerate(scene.followers))
        )
        moment = rng.random() if fault.moment is None else fault.moment
        if fault.moment != 0.0:
            await asyncio.sleep(moment * _ANSWER_SECONDS)
        struck = time.monotonic()
        in_flight = scene.open_answers()
        heal = await fault.inject(scene)
        await asyncio.sleep(rng.uniform(*(fault.long if self.long and fault.long else fault.holds)))
        if heal is not None:
            await heal()
        healed = time.monotonic()
        still = scene.open_answers()
        answers = await asked
        followed = [(f, a) for f, answer in zip(scene.followers, answers, strict=True) for a in [answer]]
        followed += [(tab, answer) for tab in scene.more for answer in tab.answers]
        await asyncio.gather(*(follower.until_ended(answer) for follower, answer in followed))
        outcome.in_flight = len(in_flight)
        outcome.silences = [silence(follower, answer, struck) for follower, answer in in_flight]
        for follower, answer in still:
            if answer.told is None:
                moved = [at for at in follower.moves(answer) if at > healed]
                ended = follower.moves(answer)[-1] <= healed
                if not ended and (not moved or moved[0] - healed > WITHIN_SECONDS):
                    outcome.violations.append(f"I3: {follower.name}: neither moved nor ended in time")
        for follower, answer in followed:
            status, content = follower.content(answer)
            outcome.statuses.append(status)
            whole = status == "completed"
            if status not in {"completed", "cancelled"} and not (fault.may_fail and status == "failed"):
                outcome.violations.append(f"I3: {follower.name}: {status}")
            if content != (answer.text if whole else answer.text[: len(content)]):
                outcome.violations.append(
                    f"I2: {follower.name}: not the answer: {parting(content, answer.text)}"
                )

    async def _ask(self, fault: Fault, scene: Scene, follower: Follower, number: int) -> Answer:
        rng = random.Random(f"{self.seed}:{scene.questions}:{number}")
        question = f"{scene.questions} {number}: tell me all"
        behaviour = _long(rng, scene.marker) if fault.name == "reader stopped" else _plain(rng, scene.marker)
        calls = fault.script(rng, behaviour) if fault.script is not None else (behaviour,)
        self.cluster.simulator.script(*calls, match=question, repeat=True)
        text = behaviour.text if behaviour.text is not None else "".join(behaviour.tokens or ())
        stops = rng.random() < 0.15
        await asyncio.sleep(rng.random() * 0.2)
        answer = await follower.ask(question, text)
        self.intended[answer.generation] = text
        if stops:
            await asyncio.sleep(rng.random() * _ANSWER_SECONDS)
            await follower.stop(answer)
        return answer

    def _judge(self, fault: Fault, scene: Scene, outcome: Outcome) -> None:
        for follower in (*scene.followers, *scene.more):
            found = violations(follower, resets=None if fault.resets else 0)
            outcome.violations += [f"{follower.name}: {violation}" for violation in found]
            outcome.violations += [f"{follower.name}: {wrong}" for wrong in follower.wrong]
            outcome.violations += [
                f"{follower.name}: {fault}" for fault in getattr(follower.client, "faults", [])
            ]
            outcome.connections += follower.connections
            outcome.resets += len(follower.client.recording.of_type("reset"))

    async def settle(self) -> list[str]:
        """Wait until everything is settled; what the rows and the upstream say against anybody's recording."""
        for _ in range(4):
            try:
                await self.cluster.settled()
                break
            except AssertionError as error:
                said = str(error)
        else:
            return [f"I3, I4: {said}"]
        rows, upstream = await self.cluster.rows(), self.cluster.upstream(self.intended)
        # what is wrong with rows and bills is wrong for everybody, and said once
        found = {
            str(violation): follower.name
            for follower in reversed(self.everybody)
            for violation in violations(follower, upstream, rows, resets=None)
        }
        return [f"{name}: {violation}" for violation, name in found.items()]


def violations(follower: Follower, *truth: Any, resets: int | None) -> list[Violation]:
    """What the oracle finds.

    Of an answer that ended while Redis had lost it, the end alone tells the rest of the text, to clients that
    were told `reset`.
    """
    found = oracle.check(follower.client.recording, *truth, resets=resets)
    frames = follower.client.recording.of_type("reset", "welcome")
    if not any("reset" in {frame["type"], frame.get("resume")} for frame in frames):
        return found
    return [
        violation
        for violation in found
        if violation.what != "the text shown is not the message"
        or not violation.evidence["message"].startswith(violation.evidence["shown"])
    ]


def _plain(rng: random.Random, marker: str) -> Behaviour:
    parts = ("karier", "naïve", "職業", "👩🏽‍🚀", "skills", "—", "\n\n- ", "**bold**", "ß")
    text = "".join(f"{number} {rng.choice(parts)} " for number in range(_WORDS)) + marker
    return Behaviour(text=text, interval_ms=_INTERVAL_MS)


def _long(rng: random.Random, marker: str) -> Behaviour:
    """More than every buffer between a node and a client holds."""
    tokens = [f"{number} " + rng.choice(["naïve ", "職業 "]) * 1500 for number in range(_WORDS)]
    return Behaviour(tokens=(*tokens, marker), interval_ms=10)


def silence(follower: Follower, answer: Answer, struck: float, until: float = float("inf")) -> float:
    """The longest time in which its text did not move, of those that end after `struck` and begin before `until`."""
    times = follower.moves(answer)
    before = [at for at in times if at <= struck]
    after = [before[-1] if before else struck, *(at for at in times if at > struck)]
    return max((end - begin for begin, end in itertools.pairwise(after) if begin <= until), default=0.0)


def parting(found: str, wanted: str) -> str:
    """Where two texts part."""
    same = (ours == theirs for ours, theirs in zip(found, wanted, strict=False))
    at = next((place for place, alike in enumerate(same) if not alike), min(len(found), len(wanted)))
    return f"at {at}: {found[max(0, at - 20) : at + 40]!r}, not {wanted[max(0, at - 20) : at + 40]!r}"


def _state(scene: Scene) -> str:
    return "; ".join(
        f"{follower.name}: {'connected' if follower._connected.is_set() else 'away'}, "
        + ", ".join(
            f"{answer.generation or 'not acked'} {'ended' if follower.has_ended(answer) else 'open'}"
            for answer in follower.answers
        )
        for follower in (*scene.followers, *scene.more)
    )


def table(outcomes: list[Outcome]) -> str:
    """A line per fault: what was injected, and what came of it."""
    names = ("fault", "injected", "answers in flight", "WebSocket / SSE clients", "connections", "resets",
             "violations", "longest silence")  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for fault in dict.fromkeys(outcome.fault for outcome in outcomes):
        of = [outcome for outcome in outcomes if outcome.fault == fault]
        ws, sse = (sum(outcome.doors.get(door, 0) for outcome in of) for door in ("ws", "sse"))
        silences = [silence for outcome in of for silence in outcome.silences]
        lines.append(
            f"| {fault} | {len(of)} | {sum(outcome.in_flight for outcome in of)} | {ws} / {sse} "
            f"| {sum(outcome.connections for outcome in of)} | {sum(outcome.resets for outcome in of)} "
            f"| {sum(len(outcome.violations) for outcome in of)} | {max(silences, default=0.0):.2f} s |"
        )
    return "\n".join(lines)
