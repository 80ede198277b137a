"""Rate limits in Redis: sliding windows, any number of them reserved in one round trip.

Within any span as long as a window never more than its limit is used; what was used counts up to a sixtieth
of the window longer. The clock is the server's. A limit of 0 is off and shown as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Window:
    """One limit: so many within so many seconds. `name` keys it and names it in `RateLimit-Policy`."""

    name: str
    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class WindowState:
    """Where one window stands.

    `retry_after_ms` is 0 unless this window refused; then it is when it will not. `reset_ms` is when the
    oldest use leaves the window, 0 with none.
    """

    window: Window
    remaining: int
    retry_after_ms: int
    reset_ms: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What `reserve` did. `slices` is what `refund` needs."""

    subject: str
    allowed: bool
    cost: int
    states: tuple[WindowState, ...]
    slices: tuple[int, ...]

    @property
    def retry_after_ms(self) -> int:
        """When all windows will allow it."""
        return max((state.retry_after_ms for state in self.states), default=0)


class RedisLimits:
    """Rate limits of any subject: a user, or an address."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def reserve(self, subject: str, windows: Sequence[Window], *, cost: int = 1) -> Reservation:
        """Reserve in all windows, or in none.

        Raises:
            BrokerUnavailable
        """
        limiting = [window for window in windows if window.limit > 0]
        states = {window: WindowState(window, 0, 0, 0) for window in windows}
        slices: list[int] = []
        allowed = True
        if limiting:
            args = [number for window in limiting for number in (window.limit, window.seconds * 1000)]
            reply = await self._scripts.call("reserve_limits", _keys(subject, limiting), [cost, *args])
            allowed = bool(reply[0])
            for index, window in enumerate(limiting):
                each, remaining, retry_after_ms, reset_ms = reply[1 + 4 * index : 5 + 4 * index]
                slices.append(each)
                states[window] = WindowState(window, remaining, retry_after_ms, reset_ms)
        return Reservation(subject, allowed, cost, tuple(states[window] for window in windows), tuple(slices))

    async def refund(self, reservation: Reservation) -> None:
        """Give an allowed reservation back; a refused one used nothing.

        Raises:
            BrokerUnavailable
        """
        limiting = [state.window for state in reservation.states if state.window.limit > 0]
        if reservation.allowed and limiting:
            await self._scripts.call(
                "refund_limits", _keys(reservation.subject, limiting), [reservation.cost, *reservation.slices]
            )


def _keys(subject: str, windows: Sequence[Window]) -> list[str]:
    return [keys.limit(subject, window.name) for window in windows]
