"""Where somebody stands in the limits, for whoever answers them.

Sans-I/O. Whatever counts an order notes what its windows said; a door that began to listen tells the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one window stands: so many of `limit` are left within `seconds`. A limit of 0 is off.

    `reset_ms` is when the oldest use leaves the window, 0 with none. `retry_after_ms` is 0 unless this window
    refused; then it is when it will not.
    """

    name: str
    limit: int
    seconds: int
    remaining: int
    reset_ms: int
    retry_after_ms: int = 0


Standings = dict[str, Standing]
"""By the windows' names."""

_listening: ContextVar[Standings | None] = ContextVar("standings", default=None)


@contextmanager
def noting() -> Iterator[Standings]:
    """Listen: what is noted in this task from now on, and in those it starts, is in the answer."""
    noted: Standings = {}
    token = _listening.set(noted)
    try:
        yield noted
    finally:
        _listening.reset(token)


def note(standings: Iterable[Standing]) -> None:
    """Tell whoever listens; what was said of the same windows before is void."""
    noted = _listening.get()
    if noted is not None:
        noted.update((standing.name, standing) for standing in standings)


def nearest(standings: Iterable[Standing]) -> Standing | None:
    """The window nearest to its end: one that refused, else the one with the fewest left.

    Of windows alike it is the one that takes longer to recover. Windows that are off are only spoken of where
    all are.
    """
    known = list(standings)
    return max(
        [each for each in known if each.limit > 0] or known,
        key=lambda each: (each.retry_after_ms, -each.remaining, each.reset_ms),
        default=None,
    )
