"""The simulator as a child process: gone with its starter, and its work is not on the starter's loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from server.embedded.errors import StartFailed

_START_SECONDS = 20.0
_STOP_SECONDS = 3.0


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
    arguments = ["-m", "server.embedded.openrouter", *(["--fast"] if fast else [])]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        # a terminal's Ctrl-C is for the server, which ends it afterwards
        start_new_session=True,
    )
    try:
        yield await _announced(process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _announced(process: asyncio.subprocess.Process) -> SimulatorUrls:
    assert process.stdout is not None
    said: dict[str, str] = {}
    try:
        async with asyncio.timeout(_START_SECONDS):
            while line := (await process.stdout.readline()).decode().strip():
                if line == "ready":
                    return SimulatorUrls(said["OPENROUTER_BASE_URL"], said["OPENROUTER_API_KEY"])
                name, _, value = line.partition("=")
                said[name] = value
    except TimeoutError as error:
        raise StartFailed(f"the OpenRouter simulator was silent for {_START_SECONDS:.0f} s") from error
    raise StartFailed("the OpenRouter simulator ended while starting")
