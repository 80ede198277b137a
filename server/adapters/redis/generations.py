"""Generations in Redis: the store port."""

from __future__ import annotations

import asyncio
from typing import Any

from protocol.position import Position
from server.adapters.redis import keys, records
from server.adapters.redis.broker import head_args, head_keys, position_of
from server.adapters.redis.cluster import Flushers
from server.adapters.redis.flusher import Flusher
from server.adapters.redis.refusals import refused
from server.adapters.redis.scripts import Scripts
from server.generations.store import Appended, GenerationRecord, GenerationStart, Started


class RedisGenerationStore:
    """`server.generations.store.GenerationStore` on Redis. Appends go through the flusher."""

    def __init__(self, scripts: Scripts, flusher: Flusher | Flushers) -> None:
        self._scripts = scripts
        self._flusher = flusher

    async def start(self, start: GenerationStart) -> Started:
        """Begin it and publish its first events, only if it is absent. All of them are about it."""
        fields = records.start_fields(start)
        reply = await self._scripts.call(
            "start_generation",
            [
                *head_keys(start.user),
                keys.generation(start.user, start.generation),
                keys.text(start.user, start.generation),
                keys.active(start.user),
            ],
            [
                *head_args(start.user),
                start.generation,
                start.deadline_ms,
                len(fields) // 2,
                *fields,
                *(part for event in start.events for part in event),
            ],
        )
        fresh, owner, attempt, started_ms = reply
        return Started(bool(fresh), owner.decode(), attempt, started_ms)

    def append(
        self, user: str, generation: str, attempt: int, at: int, text: str
    ) -> asyncio.Future[Appended]:
        """Append text; done when the group it went in is confirmed."""
        return self._flusher.append(user, generation, attempt, at, text)

    async def switch(
        self,
        user: str,
        generation: str,
        *,
        expected: int,
        owner: str,
        model: str,
        is_free_model: bool,
        event: bytes,
        lost_node: bool,
    ) -> Position:
        """Make `expected + 1` the attempt. One's own switch asked again gives its first position."""
        reply = await self._scripts.call(
            "switch_attempt",
            [*head_keys(user), keys.generation(user, generation), keys.text(user, generation)],
            [
                *head_args(user),
                generation,
                expected,
                owner,
                model,
                int(is_free_model),
                int(lost_node),
                event,
            ],
        )
        return position_of(_accepted(reply))

    async def note(self, user: str, generation: str, attempt: int, note: bytes) -> None:
        """Keep what is known of an attempt; nothing happens where the generation is gone."""
        await self._scripts.call("note_upstream", [keys.generation(user, generation)], [attempt, note])

    async def request_stop(self, user: str, generation: str) -> str | None:
        """Store the intent to stop and tell the owner's node."""
        status = await self._scripts.call(
            "request_stop", [keys.generation(user, generation)], [user, generation, keys.NODE_PREFIX]
        )
        return None if status is None else str(status.decode())

    async def seal(self, user: str, generation: str, *, expected: int, record: bytes) -> None:
        """Decide the end."""
        _accepted(
            await self._scripts.call("seal", _end_keys(user, generation), [generation, expected, record])
        )

    async def conclude(self, user: str, generation: str, *, event: bytes, persisted: bool) -> Position | None:
        """Publish the end, once.

        Raises:
            Gone: the store has lost the seal (and, while not `persisted`, the record): restore first.
        """
        reply = await self._scripts.call(
            "conclude",
            [*_end_keys(user, generation), keys.finished(user, generation)],
            [*head_args(user), generation, int(persisted), event],
        )
        if reply[0] == b"already":
            if persisted:
                await self.mark_persisted(user, generation)
            return None
        return position_of(_accepted(reply))

    async def mark_persisted(self, user: str, generation: str) -> None:
        """The record may go with the text's window."""
        await self._scripts.call(
            "mark_persisted", [keys.generation(user, generation), keys.sealed(user)], [generation]
        )

    async def restore(self, record: GenerationRecord) -> bool:
        """Write the state again from the owner's memory."""
        user, generation = record.user, record.generation
        reply = await self._scripts.call(
            "restore",
            [*_end_keys(user, generation), keys.finished(user, generation)],
            [
                *head_args(user),
                generation,
                record.attempt,
                record.owner,
                record.status,
                record.length,
                record.text_attempt,
                record.deadline_ms,
                record.text.encode(),
                int(record.persisted),
                *records.restore_fields(record),
            ],
        )
        return bool(reply)

    async def read(self, user: str, generation: str) -> GenerationRecord | None:
        """Everything held, or `None`."""
        reply = await self._scripts.call(
            "read_generation",
            [
                keys.generation(user, generation),
                keys.text(user, generation),
                keys.finished(user, generation),
            ],
            [],
        )
        if reply is None:
            return None
        flat, text, ended = reply
        return records.record(user, generation, dict(zip(flat[::2], flat[1::2], strict=True)), text, ended)

    async def unpersisted(self, user: str) -> list[str]:
        """Generations of the user that are sealed and not marked persisted."""
        reply = await self._scripts.call("unpersisted", [keys.sealed(user)], [keys.generation(user, "")])
        return sorted(name.decode() for name in reply)


def _end_keys(user: str, generation: str) -> list[str]:
    return [
        *head_keys(user),
        keys.generation(user, generation),
        keys.text(user, generation),
        keys.active(user),
        keys.sealed(user),
    ]


def _accepted(reply: list[Any]) -> list[Any]:
    if reply[0] == b"ok":
        return reply[1:]
    raise refused(reply)
