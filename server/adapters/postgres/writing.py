"""Calls that write for a user: one call of one function, with ids proposed where something is sealed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.conversations.cipher import Cipher
from server.conversations.store import NotFound, StoreUnavailable

_TRIES = 4  # the second is the last, unless others write into the conversation meanwhile


class Writing:
    """What the parts of the stores that write have in common."""

    _service: RolePool
    _cipher: Cipher
    _reads: Reads
    _ids: ProposedIds

    async def _with_ids(
        self,
        name: str,
        user: UUID,
        arguments: Callable[[UUID | None, UUID | None], tuple[object, ...]],
        conversation: UUID | None = None,
    ) -> Any:
        """Call a function with ids for a conversation and a message; again with its own, where it names some.

        Where nothing is sealed the database makes them.
        """
        if self._cipher.newest is None:
            return await self._write(name, user, *arguments(None, None))
        place = conversation or self._ids.next()
        message = self._ids.next(after=place)
        for _ in range(_TRIES):
            answer = await self._write(name, user, *arguments(place, message))
            if answer["outcome"] != "other ids":
                return answer
            self._ids.learn(UUID(answer["clock"]))
            place = UUID(answer["conversation_id"])
            message = UUID(answer.get("message_id", answer["clock"]))
        raise StoreUnavailable("no id was accepted")

    async def _write(self, name: str, user: UUID, *arguments: object) -> Any:
        async with self._reads.writing(str(user)):
            return await self._ask(name, user, *arguments)

    async def _ask(self, name: str, *arguments: object) -> Any:
        try:
            answer = await self._service.value(query(name), *arguments)
        except asyncpg.ForeignKeyViolationError as error:
            # the ecosystem's table of users has no such user
            raise NotFound("user") from error
        return None if answer is None else orjson.loads(answer)
