"""The WebSocket door (protocol README, "Connecting")."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from protocol.codes import CloseCode
from server.conversations.principal import BadToken, Principal
from server.gateway.front import Front
from server.gateway.origins import is_allowed
from server.gateway.wire import EXTENSION, Wire, WireClosed
from server.session.cursors import Outgoing
from server.session.outlet import TransportClosed
from server.session.session import Session

SUBPROTOCOL = "atma.chat.v1"
_CLOSE_SECONDS = 1.0


class WebSocketTransport:
    """A session's transport over one WebSocket."""

    __slots__ = ("_closed", "_receive", "_send", "_wire")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire: Any = scope.get("extensions", {}).get(EXTENSION)
        self._wire: Wire | None = wire
        self._receive = receive
        self._send = send
        self._closed = False

    async def send(self, frame: Outgoing) -> None:
        """Write a frame."""
        if self._closed:
            raise TransportClosed
        try:
            if self._wire is not None:
                await self._wire.write_text(frame.body)
            else:
                await self._send({"type": "websocket.send", "text": frame.body.decode()})
        except (WireClosed, OSError, RuntimeError) as error:
            raise TransportClosed from error

    async def receive(self) -> str | bytes:
        """The next frame."""
        if self._closed:
            raise TransportClosed
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            raise TransportClosed
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return text if text is not None else data

    async def close(self, code: int, reason: str = "") -> None:
        """Close it."""
        if self._closed:
            return
        self._closed = True
        if self._wire is not None:
            self._wire.close_now(code, reason)
            return
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})


class WebSocketDoor:
    """`GET /api/chat/ws`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one upgrade request and the session that follows."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        await receive()  # websocket.connect
        if not is_allowed(headers.get(b"origin"), headers.get(b"host"), self._front.origins):
            await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403
            return
        offered: list[str] = scope.get("subprotocols", [])
        selected = SUBPROTOCOL if SUBPROTOCOL in offered else next(iter(offered), None)
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if selected is not None:
            accept["subprotocol"] = selected
        await send(accept)
        transport = WebSocketTransport(scope, receive, send)
        if selected not in {None, SUBPROTOCOL}:
            await transport.close(CloseCode.VERSION)
            return
        session = Session(transport, self._front.desk, principal=self._bearer(headers.get(b"authorization")))
        await session.run()

    def _bearer(self, header: str | None) -> Principal | None:
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        with suppress(BadToken):
            return self._front.desk.verify(token.strip())
        return None
