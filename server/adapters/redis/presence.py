"""The users' places for sessions, in Redis.

A place is a field in the user's hash: session to process. It counts only while the process's liveness key
lives, so the sockets of a killed node do not keep their users out. Which processes are dead is looked at only
when a user has no place left: the usual hello costs one round trip.
"""

from __future__ import annotations

import logging

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts
from server.channels.broker import BrokerUnavailable, Place

log = logging.getLogger(__name__)

_PLACE_MS = 25 * 3600 * 1000
_LIVENESS_MS = 15_000
# Without a limit dead places are looked for when there are so many.
_MANY = 64


class RedisPresence:
    """`server.channels.broker.Presence` on Redis. `beat` must be called every few seconds."""

    def __init__(self, scripts: Scripts, *, process: str) -> None:
        self._scripts = scripts
        self._process = process
        self._held: dict[str, str] = {}  # session: user
        self._leaving: dict[str, str] = {}  # those whose leaving has not been told yet

    async def beat(self) -> None:
        """Say that this process lives.

        After the store has lost that, all places are taken again; and those left while it was away are left.

        Raises:
            BrokerUnavailable
        """
        lived = await self._scripts.command("SET", keys.process(self._process), 1, "PX", _LIVENESS_MS, "GET")
        if lived is None and self._held:
            held = dict(self._held)
            try:
                await self._scripts.call_many(
                    "take_place",
                    [
                        ([keys.places(user)], [session, self._process, 0, "", _PLACE_MS, keys.channel(user)])
                        for session, user in held.items()
                    ],
                )
            finally:
                # Who left meanwhile may have left before the place was taken again.
                self._leaving |= {session: held[session] for session in held.keys() - self._held.keys()}
        for session, user in list(self._leaving.items()):
            if session in self._leaving:
                await self._scripts.command("HDEL", keys.places(user), session)
                self._leaving.pop(session, None)

    async def retire(self) -> None:
        """Say that this process is gone; its places count no more.

        Raises:
            BrokerUnavailable
        """
        await self._scripts.command("DEL", keys.process(self._process))

    async def take(self, user: str, session: str, *, limit: int, replaces: str | None) -> Place:
        """Take a place for `session`.

        Raises:
            BrokerUnavailable
        """
        try:
            place = await self._take(user, session, limit=limit, replaces=replaces)
        except BaseException:
            # It may have been taken all the same.
            self._leaving[session] = user
            raise
        self._leaving.pop(session, None)
        if place.granted:
            self._held[session] = user
            if replaces is not None:
                self._held.pop(replaces, None)
        return place

    async def _take(self, user: str, session: str, *, limit: int, replaces: str | None) -> Place:
        names = [keys.places(user)]
        after = (replaces or "", _PLACE_MS, keys.channel(user))
        args = (session, self._process, limit or _MANY, *after)
        granted, taken, *holders = await self._scripts.call("take_place", names, args)
        if granted:
            return Place(granted=True, taken=taken)
        others = [holder.decode() for holder in holders if holder.decode() != self._process]
        dead = [each for each in others if not await self._scripts.command("EXISTS", keys.process(each))]
        if dead or not limit:
            args = (session, self._process, limit, *after)
            granted, taken, *_ = await self._scripts.call("take_place", names, [*args, *dead])
        return Place(granted=bool(granted), taken=taken)

    async def leave(self, user: str, session: str) -> None:
        """Give the place back; while the store is away it is remembered for the next beat."""
        self._held.pop(session, None)
        try:
            await self._scripts.command("HDEL", keys.places(user), session)
        except BrokerUnavailable:
            self._leaving[session] = user
            log.info("a place will be given back later")
        except BaseException:
            self._leaving[session] = user
            raise
