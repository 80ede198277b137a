"""Answers: JSON bodies, and the store's refusals as problems."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import orjson
from starlette.responses import Response

from server.conversations.refusal import Refusal, refusal_for
from server.conversations.store import StoreRefused, StoreUnavailable
from server.gateway.front import Front
from server.gateway.problems import problem_of

T = TypeVar("T")


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A bare JSON body. Answers are a user's own, so nobody may keep them."""
    return Response(
        orjson.dumps(body),
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


async def caught_up(front: Front, user: str) -> None:
    """See that the database holds every end the user was told, before it is read.

    Raises:
        Problem: 503 while it does not.
    """
    try:
        await front.desk.turns.catch_up(user)
    except Refusal as refusal:
        raise problem_of(refusal) from refusal


async def from_store(reading: Awaitable[T]) -> T:
    """Await the store.

    Raises:
        Problem: 404, 409, 429 or 503 for what it refuses.
    """
    try:
        return await reading
    except (StoreRefused, StoreUnavailable) as error:
        raise problem_of(refusal_for(error)) from error
