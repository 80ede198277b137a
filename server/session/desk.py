"""What every session on a node shares: the rooms it calls, the clocks, the limits, and who is here.

One look a second over all sessions (more often where their clocks are short) finds ending tokens, silent
sockets and stuck readers, so only who has not said `hello` has a timer of their own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from protocol.frames import Limits
from server.channels.broker import Broker, Presence
from server.channels.hub import Hub
from server.conversations.principal import Principal
from server.conversations.turns import Turns
from server.session.machine import SessionLimits

_NOTICED_SECONDS = 1.0
_SESSIONS_AT_ONCE = 500
_ASKS_A_SECOND = 1000
_TIMER_SECONDS = 0.01  # a timer may be early by its clock's resolution


class Present(Protocol):
    """A session as the registry sees it."""

    def tick(self, now: float, wall: float) -> None:
        """Look at the clocks; must return at once."""
        ...

    def drain(self, reconnect_in_ms: int, reason: str) -> None:
        """Tell the client to go elsewhere, then close; must return at once."""
        ...


class Revocations(Protocol):
    """When the tokens of users were revoked."""

    async def revoked_at_ms(self, user: str) -> int | None:
        """Tokens of the user issued until then (milliseconds since 1970) are refused; `None`: none are.

        Raises:
            BrokerUnavailable
        """
        ...


class Sessions:
    """The sessions of this node. `now` is monotonic seconds, `wall` seconds since 1970."""

    def __init__(
        self, now: Callable[[], float], wall: Callable[[], float], *, look_seconds: float = 1.0
    ) -> None:
        self._now = now
        self._wall = wall
        self._look_seconds = look_seconds
        self._present: set[Present] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._asks = 0

    def __len__(self) -> int:
        return len(self._present)

    def add(self, session: Present, *, look_in: float | None = None) -> None:
        """A session begins; it is looked at in `look_in` seconds to the point, besides all looks."""
        self._present.add(session)
        self._empty.clear()
        if look_in is not None:
            asyncio.get_running_loop().call_later(look_in + _TIMER_SECONDS, self._look_at, session)

    def remove(self, session: Present) -> None:
        """A session has ended."""
        self._present.discard(session)
        if not self._present:
            self._empty.set()

    def may_ask(self) -> bool:
        """Whether a session may ask the store in this look; after a gap all want to at once."""
        self._asks -= 1
        return self._asks >= 0

    async def look(self) -> None:
        """Tick every session every `look_seconds`, for ever."""
        while True:
            await asyncio.sleep(self._look_seconds)
            self._asks = int(_ASKS_A_SECOND * self._look_seconds)
            now, wall = self._now(), self._wall()
            for count, session in enumerate(tuple(self._present), start=1):
                session.tick(now, wall)
                if count % _SESSIONS_AT_ONCE == 0:
                    # tokens do not wait for all of them
                    await asyncio.sleep(0)

    def _look_at(self, session: Present) -> None:
        if session in self._present:
            session.tick(self._now(), self._wall())

    async def drain(self, seconds: float, reason: str) -> None:
        """Send everybody elsewhere, spread over `seconds`; returns when all are gone or time is up."""
        # who comes back before the load balancer has noticed may be sent here again
        earliest = min(_NOTICED_SECONDS, seconds / 3)
        for session in tuple(self._present):
            # jitter: the other nodes get them one by one
            session.drain(int(random.uniform(earliest, max(seconds, 0.1)) * 1000), reason)  # noqa: S311
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds + 1.0):
                await self._empty.wait()


async def sound_is_enough(_token: str, _principal: Principal) -> None:
    """`confirm` where nobody else is asked of a token."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The rooms below, as a session needs them.

    `verify` raises `BadToken` or `ExpiredToken`; so does `confirm`, which may ask elsewhere, and `Refusal`
    while that cannot be done.
    """

    hub: Hub
    broker: Broker
    presence: Presence
    revocations: Revocations
    turns: Turns
    sessions: Sessions
    verify: Callable[[str], Principal]
    limits: SessionLimits
    announced: Limits
    now: Callable[[], float]
    wall: Callable[[], float]
    new_id: Callable[[], str]
    observe: Callable[[str, dict[str, str], float], None] = field(default=lambda _name, _labels, _value: None)
    confirm: Callable[[str, Principal], Awaitable[None]] = sound_is_enough

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the principal's token was revoked; one that does not say when it was issued may have been.

        Raises:
            BrokerUnavailable
        """
        moment = await self.revocations.revoked_at_ms(principal.user)
        return moment is not None and (principal.issued_at is None or principal.issued_at * 1000 <= moment)

    def wall_ms(self) -> int:
        """The node's clock in milliseconds."""
        return int(self.wall() * 1000)
