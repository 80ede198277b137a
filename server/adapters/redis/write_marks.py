"""Write marks in Redis: what a replica must have replayed before it may answer a user; all nodes see them."""

from __future__ import annotations

from server.adapters.redis import keys
from server.adapters.redis.scripts import Scripts

_LIFE_MS = 60_000


class RedisWriteMarks:
    """`server.conversations.write_marks.WriteMarks` on Redis."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def note(self, user_id: str, position: int) -> None:
        """Keep a mark for a minute; a greater one that is there stays.

        Raises:
            BrokerUnavailable
        """
        await self._scripts.call("note_write", [keys.write_mark(user_id)], [position, _LIFE_MS])

    async def last(self, user_id: str) -> int | None:
        """The mark, or `None` where none is kept.

        Raises:
            BrokerUnavailable
        """
        held = await self._scripts.command("GET", keys.write_mark(user_id))
        return None if held is None else int(held)
