"""Leases in Redis: one sorted set by deadline, by the server's clock."""

from __future__ import annotations

import asyncio

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts
from server.channels.broker import BrokerUnavailable

_AWAY_MS = 3000
"""Every node sweeps about once a second; where none did for so long, the store was away."""


class RedisLeaseStore:
    """`server.generations.store.LeaseStore` on Redis. A member is `"<user> <generation>"`.

    `process` is this process, as its control channel names it.
    """

    def __init__(self, scripts: Scripts, *, process: str) -> None:
        self._scripts = scripts
        self._channel = keys.node(process)

    async def hold(
        self, leases: list[tuple[str, str]], *, seconds: float, within: float | None = None
    ) -> None:
        """Take or renew leases. With 0 seconds they are given up to whoever sweeps first, who is woken.

        A connection that says nothing `within` so many seconds is given up: leases run out meanwhile.
        """
        if not leases:
            return
        members = [_member(*lease) for lease in leases]
        args: list[str | bytes | int] = [max(0, round(seconds * 1000)), *members]
        try:
            async with asyncio.timeout(within):
                await self._scripts.call("hold_leases", [keys.LEASES], args)
        except TimeoutError as error:
            assert within is not None
            await asyncio.sleep(0)  # what came while this loop stood still is read first
            self._scripts.doubt(within)
            raise BrokerUnavailable("not answered in time") from error
        if seconds <= 0:
            await self._scripts.command("PUBLISH", keys.WAKE, b"")

    async def drop(self, user: str, generation: str) -> None:
        """Give a lease up."""
        await self._scripts.command("ZREM", keys.LEASES, _member(user, generation))

    async def expired(self, *, limit: int) -> list[tuple[str, str]]:
        """Leases whose time is over, oldest first."""
        members = await self._scripts.call(
            "expired_leases", [keys.LEASES, keys.LEASES_WATCH], [limit, _AWAY_MS]
        )
        return [_lease(member) for member in members]

    async def orphaned(self, *, left: float, limit: int) -> list[tuple[str, str]]:
        """Leases not over whose owners renew them no more and are not heard, though this process is."""
        members = await self._scripts.call("overdue_leases", [keys.LEASES], [round(left * 1000), limit])
        leases = [_lease(member) for member in members]
        gone = await self._scripts.call_many(
            "owner_is_gone",
            [([keys.generation(*lease)], [keys.NODE_PREFIX, self._channel]) for lease in leases],
        )
        return [lease for lease, is_gone in zip(leases, gone, strict=True) if is_gone]

    async def claim(self, user: str, generation: str, *, seconds: float, left: float = 0.0) -> bool:
        """Take a lease to which no more time is left."""
        args: list[str | bytes | int] = [_member(user, generation), round(seconds * 1000), round(left * 1000)]
        return bool(await self._scripts.call("claim_lease", [keys.LEASES], args))

    async def held(self, user: str, generation: str, *, seconds: float) -> bool:
        """Whether somebody has a lease on it, or may have one that they could not renew yet.

        That is so for so many seconds after the store lost the leases or was away.
        """
        reply = await self._scripts.call(
            "lease_held",
            [keys.LEASES, keys.LEASES_WATCH],
            [_member(user, generation), round(seconds * 1000), _AWAY_MS],
        )
        return bool(reply)

    async def miss(self, user: str, generation: str) -> bool:
        """Make an expired lease where there is none."""
        return bool(await self._scripts.command("ZADD", keys.LEASES, "NX", 1, _member(user, generation)))


def _member(user: str, generation: str) -> str:
    return f"{user} {generation}"


def _lease(member: bytes) -> tuple[str, str]:
    user, generation = member.decode().split(" ", 1)
    return user, generation
