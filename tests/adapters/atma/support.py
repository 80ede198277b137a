"""Builders for the tests of the clients of the neighbours."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt

from server.adapters.atma.neighbour import Neighbour, NeighbourLimits
from server.embedded.neighbours.neighbours import Neighbours

SECRET = "a secret of at least thirty-two bytes"


def new_id() -> str:
    return str(uuid.uuid4())


def a_token(user: str, *, seconds: float = 60, secret: str = SECRET, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode(
        {"id": user, "iat": now, "exp": now + int(seconds), **claims}, secret, algorithm="HS256"
    )


@asynccontextmanager
async def running_neighbours() -> AsyncIterator[Neighbours]:
    async with Neighbours(jwt_secret=SECRET) as neighbours:
        yield neighbours


@asynccontextmanager
async def a_neighbour(neighbours: Neighbours, *, url: str = "", **other: Any) -> AsyncIterator[Neighbour]:
    """Somebody who asks them; quick, and with a breaker that does not get in the way unless asked to."""
    limits: dict[str, Any] = {
        "connect": 2.0,
        "attempt": 2.0,
        "call": 10.0,
        "first_wait": 0.01,
        "longest_wait": 0.05,
        "jitter": 0.01,
        "breaker_failures": 100,
    }
    more: dict[str, Any] = {
        name: other.pop(name) for name in ("service_key", "request_id", "clock") if name in other
    }
    neighbour = Neighbour(
        "a neighbour",
        url or neighbours.url,
        limits=NeighbourLimits(**(limits | other)),
        **{"service_key": neighbours.service_key, **more},
    )
    try:
        yield neighbour
    finally:
        await neighbour.aclose()
