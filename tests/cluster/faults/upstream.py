"""What the upstream does, and what happens on the way to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from server.embedded.openrouter.behaviour import Behaviour, Failure, FailureHow
from tests.cluster.faults.fault import Scene
from tests.cluster.nodes import NodeProcess

HOWS: tuple[FailureHow, ...] = (
    "error",
    "error_empty_choices",
    "error_string_code",
    "error_choice_only",
    "error_native_only",
    "error_availability",
    "reset",
    "close",
    "eof",
    "stall",
    "stall_comments",
    "malformed",
)


async def nothing(scene: Scene) -> None:
    """The upstream's script is the fault."""


def fails(where: float) -> Callable[[random.Random, Behaviour], tuple[Behaviour, ...]]:
    """The first model fails at this part of its answer, the next one goes on."""

    def script(rng: random.Random, good: Behaviour) -> tuple[Behaviour, ...]:
        if where == 0 and rng.random() < 0.4:
            bad = rng.choice(
                [
                    Behaviour(before_headers=rng.choice(["hang", "reset", "close", "garbage"])),
                    Behaviour(status=rng.choice([408, 429, 500, 502, 503, 524])),
                ]
            )
            return (bad, good)
        tokens = len(good.text or "") // 5
        failure = Failure(how=rng.choice(HOWS), at=round(where * tokens))
        return (msgspec.structs.replace(good, fail=failure), good)

    return script


async def drop_upstream(scene: Scene) -> None:
    for _ in range(scene.rng.randint(1, 2)):
        scene.cluster.simulator.drop_connections()
        await asyncio.sleep(scene.rng.uniform(0.05, 0.3))


def refuse_upstream(scene: Scene, node: NodeProcess) -> None:
    cable = scene.cluster.of(node).upstream
    cable.refuse()
    cable.reset()


def half_open_upstream(scene: Scene, node: NodeProcess) -> None:
    scene.cluster.of(node).upstream.black_hole()
