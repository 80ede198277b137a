"""Sans-I/O. A circuit breaker: who fails often is left alone for a while, then asked once.

closed ──`failures` in a row──▶ open ──`rest_seconds` later──▶ half open ──one success──▶ closed
                                 ▲                                │
                                 └───────────one failure──────────┘
"""

from __future__ import annotations


class Breaker:
    """One neighbour's. `now` is in seconds, of any clock that only goes forward.

    Each admitted call reports once: `succeeded`, `failed`, or `abandoned` where nothing was learnt.
    """

    def __init__(self, *, failures: int, rest_seconds: float) -> None:
        self._limit = failures
        self._rest_seconds = rest_seconds
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    def admit(self, now: float) -> bool:
        """Whether the neighbour may be asked now. In half open one call may, until it reports."""
        if self._open_until is None:
            return True
        if now < self._open_until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """It works."""
        self._failures, self._open_until, self._probing = 0, None, False

    def failed(self, now: float) -> None:
        """It does not."""
        self._failures += 1
        if self._failures >= self._limit:
            # calls that were under way when it opened must not make it longer and longer
            if self._open_until is None or self._probing:
                self._open_until = now + self._rest_seconds
            self._probing = False

    def abandoned(self) -> None:
        """Nobody waited for the answer."""
        self._probing = False
