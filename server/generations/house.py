"""What every generation on a node shares: the ports, the clocks, the limits.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from server.channels.broker import Broker
from server.generations.effects import GenerationLimits
from server.generations.order import EndWriter, PromptSource
from server.generations.sealed import SealedEnd
from server.generations.store import GenerationStore, LeaseStore
from server.generations.upstream import Upstream


class Cooldowns:
    """Models that are passed over for a while, on this node. Times are monotonic seconds."""

    def __init__(self, seconds: float, *, failures: int = 5) -> None:
        self._seconds = seconds
        self._failures = failures
        self._until: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._pool_until = 0.0

    def cool(self, model: str, seconds: float | None, now: float) -> None:
        """Pass a model over for `seconds`, or for the configured time; 0 configured is never."""
        if self._seconds > 0:
            self._until[model] = now + (seconds if seconds is not None else self._seconds)

    def cool_pool(self, seconds: float | None, now: float) -> None:
        """Pass every free model over."""
        if self._seconds > 0:
            self._pool_until = now + (seconds if seconds is not None else self._seconds)

    def failed(self, model: str, now: float) -> None:
        """Count a failure; so many running cool the model down."""
        count = self._failed.get(model, 0) + 1
        self._failed[model] = count
        if count >= self._failures:
            self._failed[model] = 0
            self.cool(model, None, now)

    def answered(self, model: str) -> None:
        """The model did what it should: the count begins again."""
        self._failed.pop(model, None)

    def is_cooling(self, model: str, now: float, *, free: bool = False) -> bool:
        """Whether to pass the model over now."""
        if free and now < self._pool_until:
            return True
        until = self._until.get(model)
        if until is None:
            return False
        if now >= until:
            del self._until[model]
            return False
        return True


_SHORTEST_GAP = 1.0


class LoopWatch:
    """How long the event loop was away lately: a long gap means that leases may be lost.

    `beat` is called by the node's ticker; `gap_since` is the longest pause between beats after a time.
    """

    def __init__(self, now: float) -> None:
        self._last = now
        self._gaps: list[tuple[float, float]] = []

    def beat(self, now: float) -> None:
        """The loop runs."""
        gap = now - self._last
        self._last = now
        if gap > _SHORTEST_GAP:
            self._gaps.append((now, gap))
            del self._gaps[:-16]

    def gap_since(self, when: float, now: float) -> float:
        """The longest gap that ended after `when`, the present one included."""
        gaps = [gap for ended, gap in self._gaps if ended >= when]
        present = now - self._last
        return max([*gaps, present if present > _SHORTEST_GAP else 0.0])


@dataclass(frozen=True, slots=True)
class House:
    """Ports, clocks and limits of the node's generations.

    `owner` is made at process start. `now` is monotonic seconds, `wall_ms` the node's clock.
    `estimate_ms` says how long a model's answer usually takes, `took` tells it; `count` counts tokens
    in a text, and `learn` is told a model, a prompt's estimated tokens and the reported ones. `ended` is told
    every end that was written down and published here.
    """

    owner: str
    store: GenerationStore
    leases: LeaseStore
    upstream: Upstream
    prompts: PromptSource
    ends: EndWriter
    broker: Broker
    limits: GenerationLimits
    cooldowns: Cooldowns
    watch: LoopWatch
    now: Callable[[], float]
    wall_ms: Callable[[], int]
    estimate_ms: Callable[[str], int]
    took: Callable[[str, float], None]
    count: Callable[[str], int]
    learn: Callable[[str, int, int], None] = field(default=lambda _model, _estimated, _reported: None)
    ended: Callable[[SealedEnd], None] = field(default=lambda _end: None)
    observe: Callable[[str, dict[str, str], float], None] = field(default=lambda _name, _labels, _value: None)
