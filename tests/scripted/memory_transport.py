"""A session's transport without a network: it records what it is given, and can stop reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from server.session.cursors import Outgoing
from server.session.outlet import TransportClosed
from tests.scripted.recording import Frame
from tests.scripted.waiting import DEADLINE_SECONDS


class MemoryTransport:
    """What the session calls is a transport's; the rest is the client's side.

    `puts` is how many frames were put without waiting, `reads` how many more the client takes, `None`: all.
    `breaks` is raised by the next send.
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.puts = 0
        self.close_code: int | None = None
        self.reads: int | None = None
        self.breaks: Exception | None = None
        self._said: asyncio.Queue[str | bytes | Exception] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._telling: list[asyncio.Task[None]] = []

    # --- the transport ---------------------------------------------------------------------------

    async def send(self, frame: Outgoing) -> None:
        """Take a frame, as soon as the client reads."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.reads != 0 or self.close_code is not None)
            if self.close_code is not None:
                raise TransportClosed
            if self.breaks is not None:
                raise self.breaks
            if self.reads is not None:
                self.reads -= 1
            self.sent.append(frame)
            self._changed.notify_all()

    @property
    def ready(self) -> bool:
        """Whether the client takes everything."""
        return self.reads is None and self.close_code is None and self.breaks is None

    def put(self, frame: Outgoing) -> None:
        """Take a frame now."""
        assert self.ready
        self.puts += 1
        self.sent.append(frame)
        self._telling.append(asyncio.get_running_loop().create_task(self._tell()))

    async def receive(self) -> str | bytes:
        """What the client says next."""
        said = await self._said.get()
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self, code: int, reason: str = "") -> None:
        """Close it."""
        if self.close_code is None:
            self.close_code = int(code)
            self._said.put_nowait(TransportClosed())
            async with self._changed:
                self._changed.notify_all()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- the client ------------------------------------------------------------------------------

    @property
    def frames(self) -> list[Frame]:
        """Every frame taken."""
        return [json.loads(frame.body) for frame in self.sent]

    def kinds(self, since: int = 0) -> list[str]:
        """The types of the frames taken."""
        return [frame.kind for frame in self.sent[since:]]

    def say(self, kind: str, **fields: Any) -> None:
        """Say a command."""
        self.say_raw(json.dumps({"type": kind, **fields}))

    def say_raw(self, data: str | bytes) -> None:
        """Say this."""
        self._said.put_nowait(data)

    def fail(self, error: Exception) -> None:
        """The next receive raises this."""
        self._said.put_nowait(error)

    def hang_up(self) -> None:
        """Go without a word."""
        self._said.put_nowait(TransportClosed())

    def stop_reading(self) -> None:
        """Take nothing more."""
        self.reads = 0

    async def read_again(self, frames: int | None = None) -> None:
        """Take everything again, or so many frames more."""
        async with self._changed:
            self.reads = frames
            self._changed.notify_all()

    async def frame(self, wanted: str | Callable[[Frame], object], *, since: int = 0) -> Frame:
        """The first frame from `since` on of this type, or of which this is true.

        Raises:
            TimeoutError: it did not come in time.
        """

        def fits(frame: Frame) -> object:
            return frame["type"] == wanted if isinstance(wanted, str) else wanted(frame)

        def found() -> list[Frame]:
            nonlocal since
            while since < len(self.sent):
                frame: Frame = json.loads(self.sent[since].body)
                if fits(frame):
                    return [frame]
                since += 1
            return []

        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            (frame,) = await self._changed.wait_for(found)
        return frame

    async def answer(self, command: str) -> Frame:
        """The answer to the command of this id."""
        return await self.frame(lambda frame: frame.get("re") == command)

    async def end(self) -> int:
        """Wait until it is closed; the code.

        Raises:
            TimeoutError: it was not in time.
        """
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.close_code is not None)
        assert self.close_code is not None
        return self.close_code
