"""A pub/sub connection that loses what it is told to lose, and hands on the rest."""

from __future__ import annotations

from collections.abc import Callable

from server.channels.broker import Arrival, Subscription


class SubscriptionThatLoses:
    """Stands between a real subscription and who listens. `loses` says of each arrival whether it is lost."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.loses: Callable[[Arrival], bool] = lambda _: False
        self.lost: list[Arrival] = []

    async def subscribe(self, user: str) -> None:
        await self._subscription.subscribe(user)

    async def unsubscribe(self, user: str) -> None:
        await self._subscription.unsubscribe(user)

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        def maybe(arrival: Arrival) -> None:
            if self.loses(arrival):
                self.lost.append(arrival)
            else:
                receive(arrival)

        self._subscription.on_arrival(maybe)

    def on_gap(self, lost: Callable[[], None]) -> None:
        self._subscription.on_gap(lost)
