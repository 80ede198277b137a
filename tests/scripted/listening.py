"""Recording what comes and waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.scripted.held import Held
from tests.scripted.recording import Frame, Recorded, Recording
from tests.scripted.waiting import DEADLINE_SECONDS


class ConnectionEndedError(Exception):
    """The connection ended before what was waited for came."""

    def __init__(self, code: int | None, last: Frame | None) -> None:
        super().__init__(f"closed {code}; the last frame was {last}")
        self.code = code
        self.last = last


class Listener:
    """What the clients share: a recording, what is held, and waiting for a frame.

    `close_code` is the last connection's, once it ended; SSE has none.
    """

    def __init__(self, user: str, name: str) -> None:
        self.recording = Recording(user, name)
        self.held = Held()
        self.close_code: int | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def mark(self) -> int:
        """Here: a place in the recording for `since`."""
        return len(self.recording.heard)

    async def wait_for(
        self, predicate: Callable[[Frame], object], within: float = DEADLINE_SECONDS, *, since: int = 0
    ) -> Frame:
        """The first recorded frame from `since` on of which this is true.

        Raises:
            TimeoutError: it did not come in time.
            ConnectionEndedError: it cannot come any more.
        """
        async with asyncio.timeout(within):
            while True:
                heard = self.recording.heard
                while since < len(heard):
                    if predicate(heard[since].frame):
                        return heard[since].frame
                    since += 1
                if self._reader is None or self._reader.done():
                    raise ConnectionEndedError(self.close_code, heard[-1].frame if heard else None)
                self._news.clear()
                await self._news.wait()

    def text(self, generation: str) -> str:
        """The text held of a generation: of a running one as far as it came, of an ended one the message."""
        finished = self.held.finished.get(generation)
        if finished is not None:
            return str((finished["message"] or {}).get("content") or "")
        held = self.held.texts.get(generation)
        return held.text if held is not None else ""

    def _hear(self, connection: int, frame: Frame) -> None:
        self.recording.heard.append(Recorded(connection, frame, time.monotonic()))
        self.held.take(frame)
        self._news.set()
