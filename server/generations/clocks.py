"""The clocks of one generation.

Sans-I/O. Never one timer for several jobs: the whole answer has a clock, the data have one (first token, then
stall, then the wait for the bill), notices have one, and a pause before another attempt has one. The connect
clock is the adapter's. Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from server.generations.effects import GenerationLimits

AFTER_FINISH_SECONDS = 5.0
"""How long the bill and the end of the stream are waited for once the upstream said that it has finished."""


class Awaited(Enum):
    """What the data clock waits for."""

    NOTHING = auto()
    FIRST_TOKEN = auto()
    MORE = auto()
    END = auto()


@dataclass(slots=True)
class Clocks:
    """Deadlines. `data` and `reopen` are `None` while they do not run."""

    limits: GenerationLimits
    started: float
    whole: float
    interim: float
    awaited: Awaited = Awaited.NOTHING
    data: float | None = None
    reopen: float | None = None

    @classmethod
    def starting(cls, limits: GenerationLimits, started: float) -> Clocks:
        """The clocks of a generation that began at `started`."""
        return cls(
            limits, started, started + limits.generation_seconds, started + limits.interim_after_seconds
        )

    def called(self, now: float) -> None:
        """A model is asked now."""
        self.reopen = None
        self.awaited = Awaited.FIRST_TOKEN
        self.data = now + self.limits.first_token_seconds

    def heard(self, now: float) -> None:
        """Data came: text or reasoning, never a comment."""
        if self.awaited is not Awaited.END:
            self.awaited = Awaited.MORE
            self.data = now + self.limits.stall_seconds

    def finished(self, now: float) -> None:
        """The upstream said that it has finished."""
        self.awaited = Awaited.END
        self.data = now + min(AFTER_FINISH_SECONDS, self.limits.stall_seconds)

    def silent(self) -> None:
        """Nothing is asked now, so nothing can be late."""
        self.awaited = Awaited.NOTHING
        self.data = None
        self.reopen = None

    def spoke(self, now: float) -> None:
        """Something was shown: the next notice is far away."""
        self.interim = now + self.limits.interim_after_seconds

    def noticed(self, now: float) -> None:
        """A notice was shown."""
        self.interim = now + self.limits.interim_every_seconds

    def shift(self, seconds: float) -> None:
        """So much time does not count."""
        self.started += seconds
        self.whole += seconds
        self.interim += seconds
        if self.data is not None:
            self.data += seconds
        if self.reopen is not None:
            self.reopen += seconds

    def next(self, seam: float | None) -> float:
        """The next deadline, the seam's among them."""
        soonest = min(self.interim, self.whole)
        if self.data is not None and self.data < soonest:
            soonest = self.data
        if self.reopen is not None and self.reopen < soonest:
            soonest = self.reopen
        return seam if seam is not None and seam < soonest else soonest
