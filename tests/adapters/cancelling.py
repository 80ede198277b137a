"""Cancelling a call at any of its awaits, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

_MOST_STEPS = 200


async def cancelled_at_every_await(
    call: Callable[[], Coroutine[Any, Any, object]], *, most: int = _MOST_STEPS
) -> AsyncIterator[int]:
    """Make `call` again and again, cancelled at its first await, its second, and so on; then once to its end.

    Yields the number of the await after each, so the caller looks at what the cancelled call left behind. What
    is awaited may be done in the same moment: the cancellation still wins, as it does when a client goes away
    just as the answer comes.
    """
    for step in range(1, most + 1):
        stepped = _Stepped(call(), step)
        task = asyncio.ensure_future(_run(stepped))
        await asyncio.wait([task])
        if not stepped.reached:
            await task
            return
        if not task.cancelled():
            # Some awaits are passed over by those who clean up; a failure of their own would be a defect.
            task.result()
        yield step
    raise AssertionError(f"more than {most} awaits")


async def _run(awaited: Awaitable[object]) -> object:
    return await awaited


class _Stepped:
    def __init__(self, call: Coroutine[Any, Any, object], step: int) -> None:
        self._call = call
        self._step = step
        self.reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        call, step = self._call.__await__(), 0
        resume: Callable[[], Any] = partial(call.send, None)
        while True:
            try:
                future = resume()
            except StopIteration as end:
                return end.value
            step += 1
            if step == self._step:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                resume = partial(call.send, (yield future))
            except BaseException as error:  # noqa: BLE001 - it is the call's to handle
                resume = partial(call.throw, error)
