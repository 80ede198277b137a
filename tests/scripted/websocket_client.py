"""A WebSocket client that records everything and can be cut like a cable."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.scripted.held import Held
from tests.scripted.listening import Listener
from tests.scripted.recording import Frame, Recorded
from tests.scripted.waiting import DEADLINE_SECONDS

SUBPROTOCOL = "atma.chat.v1"


class RecordingClient(Listener):
    """One client; its connections resume one another.

    Args:
        token: Sent in `hello`; `None` sends none.
        user: Whose recording it is.
        name: Said when the oracle finds something.
    """

    def __init__(self, token: str | None, *, user: str, name: str = "client") -> None:
        super().__init__(user, name)
        self.token = token
        self._connection: ClientConnection | None = None
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self._number = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection that has not ended."""
        return self._reader is not None and not self._reader.done()

    async def connect(
        self,
        url: str,
        *,
        resume: bool | Mapping[str, Any] = True,
        until: str | None = "synced",
        headers: Mapping[str, str] | None = None,
        within: float = DEADLINE_SECONDS,
        **options: Any,
    ) -> Frame:
        """Open, say `hello`, and return `welcome`.

        Args:
            url: Any node's socket, `ws://host:port/api/chat/ws`.
            resume: Present what is held, present nothing and forget it (`False`), or present this.
            until: Wait for a frame of this type after `welcome`; `None` does not wait.
            headers: More headers of the upgrade request, `Origin` among them.
            within: Seconds for all of it.
            options: Passed on to `websockets.connect`.

        Raises:
            tests.scripted.listening.ConnectionEndedError: closed before that; `last` is the error frame if there was one.
        """
        mark = await self.open(url, headers=headers, within=within, **options)
        if resume is False:
            self.held = Held()
        presented = dict(resume) if isinstance(resume, Mapping) else self.held.resume()
        await self.hello(presented)
        welcome = await self.wait_for(lambda f: f["type"] == "welcome", within, since=mark)
        if until is not None:
            await self.wait_for(lambda f: f["type"] == until, within, since=mark)
        return welcome

    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        within: float = DEADLINE_SECONDS,
        **options: Any,
    ) -> int:
        """Open and say nothing; the mark from which this connection's frames are recorded."""
        await self._forget()
        options = {"subprotocols": [Subprotocol(SUBPROTOCOL)], "compression": None, **options}
        self._connection = await asyncio.wait_for(
            connect(url, additional_headers=headers, proxy=None, max_size=None, max_queue=None, **options),
            within,
        )
        self._number = next(self._numbers)
        self.close_code = None
        self._reader = asyncio.create_task(self._read(self._connection, self._number))
        return self.mark()

    async def hello(self, presented: Mapping[str, Any] | None = None) -> None:
        """Say `hello`, presenting this."""
        self.recording.presented[self._number] = dict(presented or {})
        frame: Frame = {"type": "hello", "id": f"h{self._number}"}
        if self.token is not None:
            frame["token"] = self.token
        if presented:
            frame["resume"] = dict(presented)
        await self.say_raw(json.dumps(frame))

    async def send(self, kind: str, *, within: float = DEADLINE_SECONDS, **fields: Any) -> Frame:
        """Send a command and return its `ack`, `error` or `pong`."""
        mark = self.mark()
        command = await self.say(kind, **fields)
        return await self.answer(command, within, since=mark)

    async def say(self, kind: str, **fields: Any) -> str:
        """Send a command and wait for nothing; its id."""
        command = {"type": kind, "id": str(next(self._ids)), **fields}
        self.recording.sent.append(Recorded(self._number, command, time.monotonic()))
        await self.say_raw(json.dumps(command))
        return str(command["id"])

    async def say_raw(self, data: str | bytes, *, text: bool | None = None) -> None:
        """Send this and record nothing; bytes may be sent as what is no text."""
        assert self._connection is not None, "connect first"
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._connection.send(data, text=text)

    async def answer(self, command: str, within: float = DEADLINE_SECONDS, *, since: int = 0) -> Frame:
        """The answer to the command with this id."""
        return await self.wait_for(lambda f: f.get("re") == command, within, since=since)

    async def wait_end(self, within: float = DEADLINE_SECONDS) -> int | None:
        """Wait until the connection is closed; its close code."""
        assert self._reader is not None, "connect first"
        async with asyncio.timeout(within):
            await asyncio.shield(self._reader)
        return self.close_code

    def stop_reading(self) -> None:
        """Take nothing more from the socket, so that its buffers fill."""
        assert self._connection is not None, "connect first"
        self._connection.transport.pause_reading()

    def read_again(self) -> None:
        """Read on."""
        assert self._connection is not None, "connect first"
        self._connection.transport.resume_reading()

    async def cut(self) -> None:
        """End the TCP connection with a reset: no close frame, no farewell."""
        if self._connection is not None:
            sock = self._connection.transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._connection.transport.abort()
        await self._forget()

    async def close(self, code: int = 1000) -> None:
        """Close as one should."""
        if self._connection is not None:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._connection.close(code)
        await self._forget()

    async def _forget(self) -> None:
        if self._reader is not None:
            if self._connection is not None and not self._reader.done():
                self._connection.transport.abort()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._reader
        self._connection = self._reader = None

    async def _read(self, connection: ClientConnection, number: int) -> None:
        try:
            async for message in connection:
                self._hear(number, json.loads(message))
        except ConnectionClosed:
            pass  # the code says how, below
        finally:
            self.close_code = connection.close_code
            self._news.set()
