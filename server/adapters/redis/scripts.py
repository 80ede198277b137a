"""The Lua scripts: loaded from `scripts/`, called by name.

A first line `-- uses: a b` puts `scripts/lib/a.lua` and `b.lua` before a script. Before all of it stand the
few constants that the configuration decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import exceptions as away
from redis.asyncio import Redis, RedisCluster

from server.adapters.redis.calls import Calls, NoScript
from server.adapters.redis.connection import CALL_SECONDS, was_closed
from server.channels.broker import BrokerUnavailable

_FOLDER = Path(__file__).parent / "scripts"
_AWAY = (
    away.ConnectionError,
    away.TimeoutError,
    away.AuthenticationError,
    away.BusyLoadingError,
    away.ClusterDownError,
    away.MasterDownError,
    away.OutOfMemoryError,
    away.ReadOnlyError,
    away.RedisClusterException,  # no server of the cluster can be asked, or none has the slot
    away.AskError,  # MOVED too: the cluster's map changes faster than it is followed
    away.TryAgainError,
    OSError,  # TimeoutError too
)
# What a server says that refuses everything for a while, whatever it was asked.
_NOT_NOW = re.compile(r"(BUSY|MISCONF|NOREPLICAS) ")

_CALLS_AT_ONCE = 500
_CALLS_AT_ONCE_SHARDED = 50

Word = str | bytes | int


@dataclass(frozen=True, slots=True)
class LogWindow:
    """What is kept: events by count, size (bytes) and age (seconds); a finished text's life (seconds)."""

    events: int = 1000
    size_bytes: int = 4 * 1024 * 1024
    seconds: float = 24 * 3600.0
    text_seconds: float = 600.0
    record_seconds: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest the server knows it by."""

    source: str
    sha: str


@contextmanager
def unavailable() -> Iterator[None]:
    """Every way in which the store can be away, as `BrokerUnavailable`."""
    try:
        yield
    except _AWAY as error:
        raise BrokerUnavailable(type(error).__name__) from error
    except RuntimeError as error:
        if not was_closed(error):
            raise
        raise BrokerUnavailable("closed") from error
    except away.ResponseError as error:
        not_now = _NOT_NOW.match(str(error))
        if not_now is None:
            raise
        raise BrokerUnavailable(not_now[1]) from error


def load(window: LogWindow, *, sharded: bool) -> dict[str, Script]:
    """All scripts, by name."""
    constants = {
        "PUBLISH": "'SPUBLISH'" if sharded else "'PUBLISH'",
        "LOG_EVENTS": window.events,
        "LOG_BYTES": window.size_bytes,
        "LOG_MS": round(window.seconds * 1000),
        "TEXT_MS": round(window.text_seconds * 1000),
        "RECORD_MS": round(window.record_seconds * 1000),
    }
    prelude = "".join(f"local {name} = {value}\n" for name, value in constants.items())
    scripts = {}
    for path in sorted(_FOLDER.glob("*.lua")):
        body = path.read_text(encoding="utf-8")
        first = body.partition("\n")[0]
        used = first.removeprefix("-- uses:").split() if first.startswith("-- uses:") else []
        library = "".join((_FOLDER / "lib" / f"{name}.lua").read_text(encoding="utf-8") for name in used)
        source = prelude + library + body
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        scripts[path.stem] = Script(source, sha)
    return scripts


class Scripts:
    """Calls scripts by name, by digest where the server knows it, else by source.

    With `calls` everything goes over that one connection; without, through the library's `client`, which
    knows the servers of a cluster. `call_seconds` is how long a call through the client may take.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        window: LogWindow,
        *,
        sharded: bool,
        calls: Calls | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self.client: Any = client  # the library's types say Awaitable or value for every command
        self._calls = calls
        self._call_seconds = call_seconds
        self._scripts = load(window, sharded=sharded)

    def named(self, name: str) -> Script:
        """A script, for those who send it themselves."""
        return self._scripts[name]

    async def call(self, name: str, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """Run a script and give its reply.

        Raises:
            BrokerUnavailable
        """
        script = self._scripts[name]
        if self._calls is not None:
            try:
                return await self._calls.call("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScript:
                return await self._calls.call("EVAL", script.source, len(keys), *keys, *args)
        with unavailable():
            async with asyncio.timeout(self._call_seconds):
                try:
                    return await self.client.evalsha(script.sha, len(keys), *keys, *args)
                except away.NoScriptError:
                    return await self.client.eval(script.source, len(keys), *keys, *args)

    async def call_many(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        """Run a script many times, many at once; the replies in order.

        Raises:
            BrokerUnavailable
        """
        replies: list[Any] = []
        if self._calls is None:
            for start in range(0, len(calls), _CALLS_AT_ONCE_SHARDED):
                some = calls[start : start + _CALLS_AT_ONCE_SHARDED]
                replies += await asyncio.gather(*(self.call(name, keys, args) for keys, args in some))
            return replies
        sha = self._scripts[name].sha
        for start in range(0, len(calls), _CALLS_AT_ONCE):
            some = calls[start : start + _CALLS_AT_ONCE]
            commands = [("EVALSHA", sha, len(keys), *keys, *args) for keys, args in some]
            for reply, (keys, args) in zip(await self._calls.call_many(commands), some, strict=True):
                if isinstance(reply, NoScript):
                    replies.append(await self.call(name, keys, args))
                elif isinstance(reply, BaseException):
                    raise reply
                else:
                    replies.append(reply)
        return replies

    def doubt(self, seconds: float) -> None:
        """Use another connection from now on, if this one said nothing for so long though it was asked."""
        if self._calls is not None:
            self._calls.doubt(seconds)

    async def command(self, *words: Word) -> Any:
        """Run one plain command.

        Raises:
            BrokerUnavailable
        """
        if self._calls is not None:
            return await self._calls.call(*words)
        with unavailable():
            async with asyncio.timeout(self._call_seconds):
                return await self.client.execute_command(*words)
