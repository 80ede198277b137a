"""Something of a user's, kept for a while beside their channel; erasing the user removes it too."""

from __future__ import annotations

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts


class RedisUserCache:
    """Fulfils `server.assessments.cached.UserCache`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def get(self, user: str, name: str) -> bytes | None:
        """See `UserCache.get`.

        Raises:
            BrokerUnavailable
        """
        held: bytes | None = await self._scripts.command("GET", keys.cached(user, name))
        return held

    async def put(self, user: str, name: str, value: bytes, *, seconds: float) -> None:
        """See `UserCache.put`.

        Raises:
            BrokerUnavailable
        """
        await self._scripts.command("SET", keys.cached(user, name), value, "PX", round(seconds * 1000))
