"""The limits on users' orders, counted over all nodes and doors."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from protocol.codes import ErrorCode
from server.adapters.redis.limits import RedisLimits, Reservation, Window
from server.channels.broker import BrokerUnavailable
from server.conversations.refusal import Refusal

log = logging.getLogger(__name__)

_HOUR = 3600
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """How many, per window; 0 is no limit."""

    messages_per_hour: int = 200
    conversations_per_day: int = 100
    free_model_per_minute: int = 20


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


class RedisQuota:
    """Fulfils `server.conversations.turns.Quota`."""

    def __init__(self, limits: RedisLimits, bounds: QuotaLimits) -> None:
        self._limits = limits
        self._messages = Window("messages", bounds.messages_per_hour, _HOUR)
        self._conversations = Window("conversations", bounds.conversations_per_day, _DAY)
        self._free = Window("free_model", bounds.free_model_per_minute, 60)

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

    async def _reserve(self, user: str, windows: list[Window], what: str) -> Reserved:
        reservation = await self._limits.reserve(user, windows)
        if not reservation.allowed:
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"{what}; please wait a moment.",
                retry_after_ms=max(1, reservation.retry_after_ms),
            )
        return Reserved(self._limits, reservation)
