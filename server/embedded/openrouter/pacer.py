"""One coarse clock for all streams: waits that end in the same two milliseconds share one timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

TICK_SECONDS = 0.002


class Pacer:
    """Calls back at a time of the loop's clock, never early, at most one tick late."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, list[Callable[[], None]]] = {}

    def now(self) -> float:
        """The loop's clock, seconds."""
        return self._loop.time()

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call `callback` when the loop's clock has reached `when`."""
        tick = math.ceil(when / TICK_SECONDS)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [callback]
            self._loop.call_at(tick * TICK_SECONDS, self._ring, tick)
        else:
            bucket.append(callback)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` after the loop has looked at its sockets."""
        self._loop.call_soon(callback)

    def _ring(self, tick: int) -> None:
        for callback in self._buckets.pop(tick):
            callback()
