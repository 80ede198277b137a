"""Gates: places where scripted calls wait until a test lets them go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Gates:
    """A released gate stays open until `clear`."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._reached: dict[str, asyncio.Event] = {}

    def wait(self, name: str, callback: Callable[[], None]) -> bool:
        """Whether the gate is open; if not, `callback` is called once it is."""
        self._event(name).set()
        if name in self._open:
            return True
        self._waiting.setdefault(name, []).append(callback)
        return False

    def leave(self, name: str, callback: Callable[[], None]) -> None:
        """The call that waited at `name` is over."""
        waiting = self._waiting.get(name, [])
        if callback in waiting:
            waiting.remove(callback)

    def release(self, name: str) -> int:
        """Open a gate; how many calls go on."""
        self._open.add(name)
        waiting = self._waiting.pop(name, [])
        for callback in waiting:
            callback()
        return len(waiting)

    async def reached(self, name: str) -> None:
        """Return once a call has come to the gate."""
        await self._event(name).wait()

    def clear(self) -> None:
        """Let everybody go, then close and forget all gates."""
        for name in list(self._waiting):
            self.release(name)
        self._open.clear()
        self._reached.clear()

    def _event(self, name: str) -> asyncio.Event:
        return self._reached.setdefault(name, asyncio.Event())
