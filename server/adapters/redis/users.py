"""What concerns a user as a whole: revoking their tokens, erasing what is kept of them."""

from __future__ import annotations

import asyncio
import re

from server.adapters.redis import keys, payload
from server.adapters.redis.scripts import Scripts, Word, unavailable

_ERASE_SECONDS = 60.0
_KEYS_AT_ONCE = 500
_SPECIAL = re.compile(r"([*?\[\]\\])")


class RedisUsers:
    """Revocation and erasure. `token_seconds` is the longest life of a token."""

    def __init__(self, scripts: Scripts, *, token_seconds: float = 31 * 24 * 3600.0) -> None:
        self._scripts = scripts
        self._token_ms = round(token_seconds * 1000)

    async def revoke(self, user: str) -> int:
        """Refuse the user's tokens issued until now and tell every node that reads their channel.

        Gives that moment by the store's clock, milliseconds since 1970.

        Raises:
            BrokerUnavailable
        """
        args: list[Word] = [keys.channel(user), payload.REVOKED, self._token_ms]
        return int(await self._scripts.call("revoke", [keys.revoked(user)], args))

    async def revoked_at_ms(self, user: str) -> int | None:
        """Tokens of the user issued until then are refused; `None`: none are.

        Raises:
            BrokerUnavailable
        """
        held = await self._scripts.command("GET", keys.revoked(user))
        return None if held is None else int(held)

    async def erase(self, user: str) -> int:
        """Delete the user's log, texts and all else but what keeps them out; how many keys went.

        Raises:
            BrokerUnavailable
        """
        kept = {keys.revoked(user).encode(), keys.places(user).encode()}
        pattern = _SPECIAL.sub(r"\\\1", keys.prefix(user)) + "*"
        gone = 0
        with unavailable():
            async with asyncio.timeout(_ERASE_SECONDS):
                found: list[bytes] = []
                async for name in self._scripts.client.scan_iter(match=pattern, count=1000):
                    if name not in kept:
                        found.append(name)
                    if len(found) >= _KEYS_AT_ONCE:
                        gone += int(await self._scripts.client.unlink(*found))
                        found.clear()
                if found:
                    gone += int(await self._scripts.client.unlink(*found))
        return gone
