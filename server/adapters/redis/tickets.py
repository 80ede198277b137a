"""Tickets: a short random word that stands for a payload once."""

from __future__ import annotations

import hashlib
import secrets

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts


class RedisTickets:
    """Single-use tickets, good on every node."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def issue(self, payload: bytes, seconds: float) -> str:
        """A ticket for `payload`, good for `seconds`.

        Raises:
            BrokerUnavailable
        """
        ticket = secrets.token_urlsafe(32)
        await self._scripts.command("SET", _key(ticket), payload, "PX", round(seconds * 1000))
        return ticket

    async def redeem(self, ticket: str) -> bytes | None:
        """What it stands for; `None` when it is unknown, over, or was redeemed before.

        Raises:
            BrokerUnavailable
        """
        payload: bytes | None = await self._scripts.command("GETDEL", _key(ticket))
        return payload


def _key(ticket: str) -> str:
    return keys.ticket(hashlib.sha256(ticket.encode(errors="surrogatepass")).hexdigest())
