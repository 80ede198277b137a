"""The simulator as a child process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from server.embedded.child import running_module


@dataclass(frozen=True, slots=True)
class SimulatorUrls:
    """Where it listens, up to and with `/api/v1`, and a key that works."""

    base_url: str
    key: str


@contextlib.asynccontextmanager
async def running_simulator(*, fast: bool = False) -> AsyncIterator[SimulatorUrls]:
    """Run it on a free port while the block runs.

    Raises:
        StartFailed: it ended or was silent while starting.
    """
    arguments = ["--fast"] if fast else []
    async with running_module(
        "server.embedded.openrouter", arguments, what="the OpenRouter simulator"
    ) as said:
        yield SimulatorUrls(said["OPENROUTER_BASE_URL"], said["OPENROUTER_API_KEY"])
