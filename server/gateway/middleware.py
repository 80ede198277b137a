"""What every HTTP request goes through: a correlation id, careful headers, a clock."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z", re.ASCII)
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"SAMEORIGIN"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FAILED = 500


def request_id_of(scope: Scope, new_id: Callable[[], str]) -> str:
    """The caller's `X-Request-ID` if it is a sane one, else a new one."""
    given: bytes = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text = given.decode("latin-1")
    return text if _SANE.match(text) else new_id()


class RequestId:
    """`X-Request-ID`: the caller's if it is a sane one, else a new one; on every answer and log line."""

    def __init__(self, app: ASGIApp, new_id: Callable[[], str]) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = request_id = request_id_of(scope, self._new_id)
        if scope["type"] == "websocket":
            await self._app(scope, receive, _signed(send, request_id))
            return

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id.encode()))
                headers.extend(SECURITY_HEADERS)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, tagged)


def _signed(send: Send, request_id: str) -> Send:
    """The answer to an upgrade carries the id; what is said on the socket has ids of its own."""

    async def signed(message: Message) -> None:
        if message["type"] in {"websocket.accept", "websocket.http.response.start"}:
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
        await send(message)

    return signed


class Timing:
    """How long each request took, by method, route and status; a stream's is its whole life.

    A route is the path as it is defined, without prefix and ids; what is no route is `none`.
    """

    def __init__(
        self,
        app: ASGIApp,
        now: Callable[[], float],
        observe: Callable[[str, dict[str, str], float], None],
    ) -> None:
        self._app = app
        self._now = now
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._now()
        status = _FAILED

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            labels = {"method": method, "route": scope.get("route_template", "none"), "status": str(status)}
            self._observe("http", labels, self._now() - began)
            if status >= _FAILED and not labels["route"].startswith("/health"):
                log.warning("a request was not served", extra=labels)
