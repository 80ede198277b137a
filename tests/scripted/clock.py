"""A clock that stands still until it is told to go."""

from __future__ import annotations


class ManualClock:
    """Called, it says the time in seconds; it moves by `advance` alone, never back."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on and say the new time."""
        if seconds < 0:
            raise ValueError("a clock does not go back; make another one")
        self.now += seconds
        return self.now
