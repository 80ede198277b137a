"""A module of ours as a child process: gone with its starter, and its work is not on the starter's loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType

from server.embedded.errors import StartFailed

_START_SECONDS = 20.0
_STOP_SECONDS = 3.0
_NOTHING: Mapping[str, str] = MappingProxyType({})


@contextlib.asynccontextmanager
async def running_module(
    module: str, arguments: Sequence[str] = (), *, what: str, environment: Mapping[str, str] = _NOTHING
) -> AsyncIterator[dict[str, str]]:
    """Run `python -m module` while the block runs; gives the `NAME=value` lines it says before `ready`.

    `environment` is added to our own: secrets come that way, since everybody can read a command line.

    Raises:
        StartFailed: it ended or was silent while starting; `what` names it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        # a terminal's Ctrl-C is for the server, which ends it afterwards
        start_new_session=True,
    )
    try:
        yield await _announced(process, what)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _announced(process: asyncio.subprocess.Process, what: str) -> dict[str, str]:
    assert process.stdout is not None
    said: dict[str, str] = {}
    try:
        async with asyncio.timeout(_START_SECONDS):
            while line := (await process.stdout.readline()).decode().strip():
                if line == "ready":
                    return said
                name, _, value = line.partition("=")
                said[name] = value
    except TimeoutError as error:
        raise StartFailed(f"{what} was silent for {_START_SECONDS:.0f} s") from error
    raise StartFailed(f"{what} ended while starting")
