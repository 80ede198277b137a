"""How long answers take, model by model, from the answers of late.

Sans-I/O. What is told to a client before an answer begins is the median of the newest answers of that model;
before there are any, a guess by price.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median

_KEPT = 64
_MOST_MODELS = 256
_FREE_MS = 8_000
_PAID_MS = 3_000


class Durations:
    """Seconds that whole answers took. `is_free` says whether a model costs nothing."""

    def __init__(self, is_free: Callable[[str], bool]) -> None:
        self._is_free = is_free
        self._seconds: dict[str, deque[float]] = {}

    def took(self, model: str, seconds: float) -> None:
        """An answer of `model` took so long."""
        known = self._seconds.pop(model, None)
        if known is None:
            known = deque(maxlen=_KEPT)
        known.append(seconds)
        self._seconds[model] = known
        if len(self._seconds) > _MOST_MODELS:
            del self._seconds[next(iter(self._seconds))]

    def estimate_ms(self, model: str) -> int:
        """How long an answer of `model` will probably take, in milliseconds."""
        known = self._seconds.get(model)
        if not known:
            return _FREE_MS if self._is_free(model) else _PAID_MS
        return round(median(known) * 1000)
