"""Waiting for what a test means, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE_SECONDS = 15.0
_POLL_SECONDS = 0.01

T = TypeVar("T")


class NeverHappenedError(AssertionError):
    """What was waited for did not come before the deadline."""


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], within: float = DEADLINE_SECONDS, *, what: str = ""
) -> T: ...


@overload
async def eventually(
    predicate: Callable[[], T], within: float = DEADLINE_SECONDS, *, what: str = ""
) -> T: ...


async def eventually(
    predicate: Callable[[], T | Awaitable[T]], within: float = DEADLINE_SECONDS, *, what: str = ""
) -> T:
    """Ask until the answer is true, and return it.

    Args:
        predicate: Asked again and again; may be a coroutine function. An `AssertionError` counts as no.
        within: Seconds until `NeverHappenedError`, which shows the last answer.
        what: What is waited for, in words.
    """
    deadline = time.monotonic() + within
    while True:
        answer: object
        try:
            answer = predicate()
            if inspect.isawaitable(answer):
                answer = await asyncio.wait_for(answer, max(deadline - time.monotonic(), _POLL_SECONDS))
            if answer:
                return answer  # type: ignore[return-value]
        except AssertionError as error:
            answer = error
        if time.monotonic() > deadline:
            raise NeverHappenedError(f"not within {within} s: {what or predicate}; last answer: {answer!r}")
        await asyncio.sleep(_POLL_SECONDS)
