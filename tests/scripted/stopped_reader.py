"""A client that opens a connection and then reads nothing, so that every buffer on the way fills."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tests.scripted.recording import Frame
from tests.scripted.waiting import DEADLINE_SECONDS

# small, so that the kernel holds little and the server feels it soon
_RECEIVE_BUFFER_BYTES = 4096


class ReaderThatStops:
    """Says `hello`, reads the handshake's answer, and not one frame until `read_frames` is called."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self._protocol: ClientProtocol | None = None
        self._socket: socket.socket | None = None

    async def open(self, url: str, *, resume: dict[str, Any] | None = None) -> None:
        """Connect by WebSocket and say `hello`."""
        self._protocol = ClientProtocol(
            parse_uri(url), subprotocols=[Subprotocol("atma.chat.v1")], max_size=None
        )
        await self._connect(url)
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        while self._protocol.state.name == "CONNECTING":
            await self._receive()
        hello: Frame = {"type": "hello", "id": "h"}
        if self.token is not None:
            hello["token"] = self.token
        if resume:
            hello["resume"] = resume
        await self.say_raw(hello)

    async def open_stream(self, url: str, path: str = "/api/chat/events") -> None:
        """Ask for the event stream instead, and do not even read its headers."""
        await self._connect(url)
        head = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Accept: text/event-stream"]
        if self.token is not None:
            head.append(f"Authorization: Bearer {self.token}")
        await self._write(("\r\n".join(head) + "\r\n\r\n").encode())

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a command; its answer will not be read."""
        await self.say_raw({"type": kind, **fields})

    async def say_raw(self, frame: Frame) -> None:
        """Send a frame as it is."""
        assert self._protocol is not None, "open first"
        self._protocol.send_text(json.dumps(frame).encode())
        await self._flush()

    async def read_frames(self, within: float = DEADLINE_SECONDS) -> tuple[list[Frame], int | None]:
        """Read again until the connection ends: all frames, and the close code if there was a close frame."""
        assert self._protocol is not None, "open first"
        frames: list[Frame] = []
        parts: list[bytes] = []
        async with asyncio.timeout(within):
            while True:
                for event in self._protocol.events_received():
                    if isinstance(event, WireFrame) and event.opcode in {Opcode.TEXT, Opcode.CONT}:
                        parts.append(bytes(event.data))
                        if event.fin:
                            frames.append(json.loads(b"".join(parts)))
                            parts.clear()
                if self._protocol.state.name != "OPEN" or not await self._receive():
                    closed = self._protocol.close_rcvd
                    return frames, closed.code if closed is not None else None
                await self._flush()

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _connect(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._socket.setblocking(False)
        async with asyncio.timeout(DEADLINE_SECONDS):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(self._socket, (parts.hostname or "127.0.0.1", parts.port or 80))

    async def _flush(self) -> None:
        assert self._protocol is not None
        for data in self._protocol.data_to_send():
            if data:
                await self._write(data)

    async def _write(self, data: bytes) -> None:
        assert self._socket is not None, "open first"
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _receive(self) -> bool:
        assert self._protocol is not None
        assert self._socket is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        return bool(data)
