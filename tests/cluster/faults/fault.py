"""What a fault is, and what it strikes.

An `inject` strikes; what it returns, if anything, heals. Between both lies `holds` (seconds, of which one
is drawn), or `long`, where a run has more time. `moment` is when it strikes, as a part of the time an answer
takes: 0 is as the question is sent; `None` is any.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from server.embedded.openrouter.behaviour import Behaviour
from tests.cluster.faulty import FaultyCluster
from tests.cluster.follower import Answer, Follower
from tests.cluster.nodes import NodeProcess

Heal = Callable[[], Awaitable[object]]


@dataclass
class Scene:
    """What a fault strikes. `long`: whether there is time for the full lengths."""

    cluster: FaultyCluster
    rng: random.Random
    followers: list[Follower]
    marker: str
    """What the last words of the answers hold."""
    questions: str
    """What the questions hold."""
    long: bool = False
    more: list[Follower] = field(default_factory=list)
    """Tabs that came to it."""

    def open_answers(self) -> list[tuple[Follower, Answer]]:
        """The answers that are acked and have not ended."""
        return [
            (follower, answer)
            for follower in self.followers
            for answer in follower.answers
            if answer.generation and not follower.has_ended(answer)
        ]

    async def writer(self) -> NodeProcess:
        """The node that writes one of the answers, or any."""
        nodes = {node.name: node for node in self.cluster.nodes}
        found = self.open_answers()
        self.rng.shuffle(found)
        for follower, answer in found:
            try:
                owner = await self.cluster.redis.hget(
                    f"chat:{{{follower.user}}}:gen:{answer.generation}", "owner"
                )
            except RedisError:
                continue  # the connection is one to a server that was restarted
            node = nodes.get(owner.decode().split("-", 1)[0]) if isinstance(owner, bytes) else None
            if node is not None:
                return node
        return self.rng.choice(self.cluster.nodes)


@dataclass(frozen=True)
class Fault:
    """One line of the table."""

    name: str
    inject: Callable[[Scene], Awaitable[Heal | None]]
    moment: float | None = None
    holds: tuple[float, float] = (0.2, 0.6)
    long: tuple[float, float] | None = None
    resets: bool = False
    """Whether clients may be told `reset`."""
    may_fail: bool = False
    """Whether every model may fail before it is made good."""
    script: Callable[[random.Random, Behaviour], tuple[Behaviour, ...]] | None = None
    """What the upstream does instead of giving the answer."""


def on_a_node(strike: Callable[[Scene, NodeProcess], None]) -> Callable[[Scene], Awaitable[Heal]]:
    """What is done to the cables of the node that writes."""

    async def inject(scene: Scene) -> Heal:
        strike(scene, await scene.writer())
        return scene.cluster.heal

    return inject
