"""Who writes generations into a real store, one step at a time, as their owner would."""

from __future__ import annotations

from protocol.codec import encode
from protocol.frames import UsageSettled
from protocol.position import Position
from server.adapters.redis.adapter import RedisAdapter
from tests.adapters.redis.support import a_start, new_id
from tests.channels.story import NO_USAGE, Told


class Author:
    """Writes for one user through one node's adapter."""

    def __init__(self, adapter: RedisAdapter, user: str = "") -> None:
        self.adapter = adapter
        self.user = user or new_id()
        self.told: dict[str, Told] = {}

    async def start(self) -> str:
        """Begin a generation; its id."""
        told = Told(new_id())
        self.told[told.generation] = told
        started = await self.adapter.generations.start(
            a_start(
                user=self.user,
                generation=told.generation,
                owner=self.adapter.process,
                model="m/1",
                events=(("generation.started", encode(told.started())),),
            )
        )
        assert started.fresh
        return told.generation

    async def say(self, generation: str, text: str, *, at: int | None = None) -> None:
        """Append to it."""
        told = self.told[generation]
        _, place = told.append(text, at=at)
        appended = await self.adapter.generations.append(self.user, generation, told.attempt, place, text)
        assert appended.length == len(told.text)

    async def switch(self, generation: str) -> None:
        """Announce another attempt."""
        told = self.told[generation]
        told.attempt += 1
        await self.adapter.generations.switch(
            self.user,
            generation,
            expected=told.attempt - 1,
            owner=self.adapter.process,
            model=f"m/{told.attempt}",
            is_free_model=True,
            event=encode(told.switched()),
            lost_node=False,
        )

    async def finish(self, generation: str) -> None:
        """End it with the text it has."""
        told = self.told[generation]
        end = encode(told.finished())
        await self.adapter.generations.seal(self.user, generation, expected=told.attempt, record=end)
        position = await self.adapter.generations.conclude(self.user, generation, event=end, persisted=True)
        assert position is not None

    async def settle(self, generation: str = "", *, size: int = 0) -> Position:
        """An event that changes no text, and is `size` bytes longer than it need be."""
        body = encode(UsageSettled(generation=generation or new_id(), usage=NO_USAGE))
        padded = body[:-1] + b',"x":"' + b"x" * size + b'"}'
        return await self.adapter.broker.publish_event(self.user, padded, kind="usage.settled")

    async def notice(self, body: bytes) -> None:
        """An ephemeral frame."""
        await self.adapter.broker.publish_frame(self.user, body)
