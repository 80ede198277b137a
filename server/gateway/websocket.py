"""The WebSocket door (protocol README, "Connecting")."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from protocol.codes import CloseCode, ErrorCode
from server.conversations.audit import Caller
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.conversations.refusal import Refusal
from server.gateway.front import Front
from server.gateway.identity import address_of
from server.gateway.origins import is_allowed
from server.gateway.problems import Problem, not_found, render
from server.gateway.wire import EXTENSION, Wire, WireClosed
from server.session.cursors import Outgoing
from server.session.machine import error_frame
from server.session.outlet import Outlet, TransportClosed
from server.session.session import Session

SUBPROTOCOL = "atma.chat.v1"
_CLOSE_SECONDS = 1.0
_DRAINING = "This node is going away; connect again."
_EXPIRED = Principal("", expires_at=0.0)
"""A token whose time is over: a `hello` without another one is told so."""


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

    @property
    def ready(self) -> bool:
        """Whether the client reads."""
        return self._wire is not None and not self._closed and self._wire.ready

    def put(self, frame: Outgoing) -> None:
        """Write a frame now."""
        assert self._wire is not None
        try:
            self._wire.put_text(frame.body)
        except (OSError, RuntimeError) as error:
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
            await refuse(scope, send, Problem(403, "FORBIDDEN", "Pages of this origin may not connect."))
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
        if self._front.drained.is_set():
            await self._refuse(transport, Refusal(ErrorCode.DRAINING, _DRAINING), CloseCode.NODE_RESTARTS)
            return
        try:
            principal = await self._bearer(headers.get(b"authorization"))
        except Refusal as refusal:
            await self._refuse(transport, refusal, CloseCode.INTERNAL)
            return
        caller = Caller("user", address_of(HTTPConnection(scope), self._front.proxies))
        await Session(transport, self._front.desk, principal=principal, caller=caller).run()

    async def _refuse(self, transport: WebSocketTransport, refusal: Refusal, code: CloseCode) -> None:
        with suppress(TransportClosed):
            await Outlet(transport, self._front.desk.now).tell(
                error_frame(refusal.code, refusal.message, retry_after_ms=refusal.retry_after_ms)
            )
        await transport.close(code)

    async def _bearer(self, header: str | None) -> Principal | None:
        """Whom the upgrade request's token speaks for; `hello` needs none then.

        Raises:
            Refusal: unavailable.
        """
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            principal = self._front.desk.verify(token.strip())
            await self._front.desk.confirm(token.strip(), principal)
        except ExpiredToken:
            return _EXPIRED
        except BadToken:
            return None
        return principal


class NoDoor:
    """An upgrade of a path where no socket is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse it."""
        await receive()  # websocket.connect
        await refuse(scope, send, not_found("resource"))


async def refuse(scope: Scope, send: Send, problem: Problem) -> None:
    """Answer an upgrade with a problem; where the server cannot say more, with a 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    refusal = render(problem, HTTPConnection(scope))
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status_code,
            "headers": refusal.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": bytes(refusal.body)})
