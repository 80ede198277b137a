"""The clients of the load: sockets that read as cheaply as they can, so that only the server is measured."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import time
import uuid
from collections.abc import Sequence
from typing import Any, cast

import jwt
import orjson

from loadtest import frames
from loadtest.processes import Target
from loadtest.stamps import StampReader, prompt

_OPEN_SECONDS = 30.0
_OPEN_AT_ONCE = 64


def now_us() -> int:
    """Microseconds of the machine's monotonic clock."""
    return time.monotonic_ns() // 1000


class Session(asyncio.Protocol):
    """One user at one socket, with one answer at a time.

    After a stream: `first_us` is how long its first token was under way, `late_us` how long each token was,
    `deltas` how many frames they came in, `wrong` what was not as it should be.
    """

    def __init__(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self.target = target
        self.synced: asyncio.Future[None] = loop.create_future()
        self.started: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.stamps = StampReader()
        self.first_us: int | None = None
        self.late_us: list[int] = []
        self.deltas = 0
        self.wrong: str | None = None
        self.wanted = 0
        self._reader: frames.FrameReader | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by inheritance
        self.transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        target = self.target
        self.transport.write(
            f"GET {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: atma.chat.v1\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.synced, self.started, self.done):
            if not future.done():
                self.wrong = self.wrong or f"the connection was lost: {exc!r}"
                future.cancel()

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(f"the upgrade was refused: {head[:200]!r}")
                return
            self._reader = frames.FrameReader()
            self._hello()
        for opcode, payload in self._reader.feed(data):
            if opcode == frames.TEXT:
                self._frame(orjson.loads(payload))
            elif opcode == frames.PING:
                self.transport.write(frames.client_frame(payload, frames.PONG))
            elif opcode == frames.CLOSE:
                self._fail(f"closed by the server: {payload!r}")

    def ask(self, tokens: int) -> None:
        """Send a message whose answer has so many tokens."""
        self.wanted = tokens
        content = prompt(now_us(), tokens)
        command = {
            "type": "message.send",
            "id": "m",
            "content": content,
            "client_message_id": str(uuid.uuid4()),
        }
        self.transport.write(frames.client_frame(orjson.dumps(command)))

    def again(self) -> None:
        """Be ready for another question, in a conversation of its own."""
        loop = asyncio.get_running_loop()
        self.started, self.done = loop.create_future(), loop.create_future()
        self.stamps = StampReader()
        self.first_us = None

    def close(self) -> None:
        """Leave."""
        for future in (self.synced, self.started, self.done):
            future.cancel()
        self.transport.abort()

    def _hello(self) -> None:
        hello: dict[str, Any] = {"type": "hello", "id": "h"}
        if self.target.secret:
            claims = {"id": str(uuid.uuid4()), "exp": int(time.time()) + 86400}
            hello["token"] = jwt.encode(claims, self.target.secret, "HS256")
        self.transport.write(frames.client_frame(orjson.dumps(hello)))

    def _frame(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "delta":
                self._delta(frame)
            case "synced" if not self.synced.done():
                self.synced.set_result(None)
            case "generation.finished":
                if frame["status"] != "completed" or self.stamps.count != self.wanted:
                    self._fail(f"{frame['status']} after {self.stamps.count} tokens: {frame.get('error')}")
                elif not self.done.done():
                    self.done.set_result(None)
            case "error":
                self._fail(f"refused: {frame}")

    def _delta(self, frame: dict[str, Any]) -> None:
        now = now_us()
        self.deltas += 1
        self.late_us += [now - sent for sent in self.stamps.feed(frame["text"])]
        if self.first_us is None and self.late_us:
            self.first_us = self.late_us[0]
            self.started.set_result(None)

    def _fail(self, why: str) -> None:
        self.wrong = self.wrong or why
        self.transport.abort()


class DirectStream(asyncio.Protocol):
    """Asks the upstream itself, with nothing between: the floor of every latency."""

    def __init__(self, path: str, tokens: int) -> None:
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()
        self.first_us: int | None = None
        self.late_us: list[int] = []
        self._path, self._tokens = path, tokens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by inheritance
        self.transport = cast("asyncio.Transport", transport)
        body = orjson.dumps({"model": "direct", "messages": [{"content": prompt(now_us(), self._tokens)}]})
        head = f"POST {self._path} HTTP/1.1\r\nHost: upstream\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        now = now_us()
        self.late_us += [now - int(stamp) for stamp in _DIRECT_STAMP.findall(data)]
        if self.first_us is None and self.late_us:
            self.first_us = self.late_us[0]
        if b"[DONE]" in data and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.done.done():
            self.done.cancel()


_DIRECT_STAMP = re.compile(rb'"content":" (\d{15})"')


async def open_sessions(target: Target, count: int) -> list[Session]:
    """So many users, each connected and synced.

    Raises:
        RuntimeError: one could not be opened; why.
    """
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_OPEN_AT_ONCE)

    async def open_one() -> Session:
        async with gate, asyncio.timeout(_OPEN_SECONDS):
            _, session = await loop.create_connection(lambda: Session(target), target.host, target.port)
            try:
                await session.synced
            except asyncio.CancelledError as cancelled:
                if session.wrong is None:
                    raise
                raise RuntimeError(session.wrong) from cancelled
            return session

    return list(await asyncio.gather(*(open_one() for _ in range(count))))


def close_sessions(sessions: Sequence[Session]) -> None:
    """All leave."""
    for session in sessions:
        session.close()
