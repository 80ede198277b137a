"""Sans-I/O. When a message that could not be handled is tried again, and when no more."""

from __future__ import annotations

from collections.abc import Sequence


def next_delay(
    *,
    attempt: int,
    age_seconds: float,
    delays: Sequence[float],
    max_attempts: int,
    window_seconds: float | None = None,
) -> float | None:
    """The seconds until the next attempt, one of `delays`; `None`: no more.

    Attempt 1 is followed by the first delay; beyond the last one it stays at the last. Without a window
    there are at most `max_attempts`. With one there are as many as fit into it, counted from the first
    attempt, and the last ones come with shorter delays, so that its end is not slept through.
    """
    if not delays:
        return None
    usual = delays[min(attempt, len(delays)) - 1]
    if window_seconds is None:
        return usual if attempt < max_attempts else None
    left = window_seconds - age_seconds
    # a delay of nothing would fit for ever
    return max((each for each in delays if 0 < each <= min(usual, left)), default=None)


def backoff_seconds(failures: int, *, first: float, longest: float, random: float) -> float:
    """The pause before connecting again: exponential with full jitter. `random` is in [0, 1)."""
    return random * min(longest, first * 2.0 ** min(max(failures - 1, 0), 30))
