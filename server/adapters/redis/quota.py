"""The limits on users' requests and orders, counted over all nodes and doors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from protocol.codes import ErrorCode
from server.adapters.redis.limits import RedisLimits, Reservation, Window, WindowState
from server.channels.broker import BrokerUnavailable
from server.conversations.refusal import Refusal
from server.conversations.standing import Standing, note

log = logging.getLogger(__name__)

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

Observe = Callable[[str, dict[str, str], float], None]


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """How many, per window; 0 is no limit."""

    messages_per_hour: int = 200
    conversations_per_day: int = 100
    free_model_per_minute: int = 20
    requests_per_15_minutes: int = 1000


class Reserved:
    """A place in the limits, taken."""

    def __init__(self, limits: RedisLimits, reservation: Reservation) -> None:
        self._limits = limits
        self._reservation = reservation

    async def release(self) -> None:
        """Give it back. While the store is away it is lost: the window forgets it by itself."""
        try:
            await self._limits.refund(self._reservation)
        except BrokerUnavailable:
            log.info("a reservation could not be given back")
        else:
            cost = self._reservation.cost
            note(_standing(state, given_back=cost) for state in self._reservation.states)


class RedisQuota:
    """Fulfils `server.conversations.turns.Quota` and `server.gateway.front.DoorQuota`.

    `observe` is told of every refusal.
    """

    def __init__(
        self, limits: RedisLimits, bounds: QuotaLimits, *, observe: Observe = lambda *_: None
    ) -> None:
        self._limits = limits
        self._observe = observe
        self._messages = Window("messages", bounds.messages_per_hour, _HOUR)
        self._conversations = Window("conversations", bounds.conversations_per_day, _DAY)
        self._free = Window("free_model", bounds.free_model_per_minute, _MINUTE)
        self._requests = Window("requests", bounds.requests_per_15_minutes, 15 * _MINUTE)

    async def reserve_message(
        self, user: str, *, free_model: bool, new_conversation: bool = False
    ) -> Reserved:
        """Reserve a message in every window it counts in, at once.

        Raises:
            Refusal: rate_limited.
            BrokerUnavailable
        """
        windows = [self._messages]
        if new_conversation:
            windows.append(self._conversations)
        if free_model:
            windows.append(self._free)
        return await self._reserve(user, windows, "Too many messages")

    async def reserve_conversation(self, user: str) -> Reserved:
        """Reserve a conversation.

        Raises:
            Refusal: rate_limited.
            BrokerUnavailable
        """
        return await self._reserve(user, [self._conversations], "Too many new conversations")

    async def admit(self, subject: str) -> None:
        """Count a request of a user, or of an address where nobody is signed in.

        Raises:
            Refusal: rate_limited.
            BrokerUnavailable
        """
        await self._reserve(subject, [self._requests], "Too many requests")

    async def _reserve(self, subject: str, windows: Sequence[Window], what: str) -> Reserved:
        reservation = await self._limits.reserve(subject, windows)
        note(_standing(state) for state in reservation.states)
        if not reservation.allowed:
            for state in reservation.states:
                if state.retry_after_ms:
                    self._observe("limited", {"limit": state.window.name}, 1.0)
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"{what}; please wait a moment.",
                retry_after_ms=max(1, reservation.retry_after_ms),
            )
        return Reserved(self._limits, reservation)


def _standing(state: WindowState, *, given_back: int = 0) -> Standing:
    window = state.window
    standing = Standing(
        name=window.name,
        limit=window.limit,
        seconds=window.seconds,
        remaining=state.remaining,
        reset_ms=state.reset_ms,
        retry_after_ms=state.retry_after_ms,
    )
    return replace(standing, remaining=min(window.limit, state.remaining + given_back))
