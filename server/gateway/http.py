"""uvicorn's HTTP protocol, with bounds on heads, problems for garbage, and an end for stuck streams.

Bodies are bounded by the doors (`requests.py`) and sockets' frames by the wire; the head of a request has
nobody else to bound it. Everything else is uvicorn's.
"""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any, cast

from starlette.requests import HTTPConnection
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.gateway.middleware import SECURITY_HEADERS
from server.gateway.problems import Problem, render

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
EXTENSION = "atma.http"
_LINGER_SECONDS = 2.0
_READ_ON_SECONDS = 10.0
_MOST_BYTES = 16 * 1024 * 1024


class Http(HttpToolsProtocol):
    """A connection. A head has so many bytes and so much time, whoever sends it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_size = 0  # of what was understood of it
        self._unreported = 0  # bytes of which the parser has told nothing yet
        self._running: RequestResponseCycle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._refused = False
        self._thrown_away = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; no more than a head's worth without a head."""
        if self._refused:
            self._thrown_away += len(data)
            if self._thrown_away > _MOST_BYTES:
                self.transport.abort()
            return
        if not self._is_answering():
            self._await_head()
        # a head, a trailer or the extension of a chunk may have no end, and the parser collects it
        self._unreported += len(data)
        super().data_received(data)
        if self._unreported > HEAD_BYTES:
            self._refuse(too_large())

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.scope["extensions"] = cast("Any", {EXTENSION: self})
        self._in_head = True
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._unreported = False, 0
        self._forget_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unreported = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there, to its end."""
        self._unreported = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or not HTTP that is spoken here."""
        if self._head_size > HEAD_BYTES:
            self._refuse(too_large())
        else:
            self._refuse(Problem(HTTPStatus.BAD_REQUEST, "VALIDATION_ERROR", msg))

    def end_stream(self, last: bytes) -> None:
        """End a response whose reader does not read: put its last bytes behind what is buffered, and close.

        The connection is cut when they have not left in time.
        """
        cycle = self._running
        if self.transport.is_closing() or cycle is None or cycle.response_complete:
            return
        self.pipeline.clear()
        cycle.disconnected = True  # the application need not say more
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if cycle.chunked_encoding else last)
        self.transport.close()
        self.loop.call_later(_READ_ON_SECONDS, self.transport.abort)

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_BYTES:
            raise ValueError("the head is too large")  # the parser stops, and `send_400_response` follows

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _forget_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        if self._in_head:
            self._refuse(
                Problem(HTTPStatus.REQUEST_TIMEOUT, "VALIDATION_ERROR", "The request did not come in time.")
            )
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; a request before it that is whole, or being answered, is answered to its end.

        What still comes is thrown away for a while: closing on unread bytes would reset the connection, and
        the client might never read why.
        """
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._forget_head()
        self.pipeline.clear()
        cycle = self._running
        if cycle is not None and self._is_answering():
            cycle.keep_alive = False
            self.cycle = cycle  # uvicorn tells this one that the client is gone
            if cycle.response_started or not cycle.more_body:
                return
            # its body cannot be read: the application is told that the client is gone
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(last_answer(problem))
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        self.loop.call_later(_LINGER_SECONDS + _READ_ON_SECONDS, self.transport.abort)

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)


def too_large() -> Problem:
    """A head beyond its bounds."""
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return Problem(status, "VALIDATION_ERROR", "The headers are too large.")


def last_answer(problem: Problem) -> bytes:
    """A problem as the bytes of a response, for a request that no application sees; then comes the close."""
    request_id = str(uuid.uuid4())
    answer = render(problem, HTTPConnection({"type": "http", "headers": [], "request_id": request_id}))
    status = HTTPStatus(problem.status)
    own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
    lines = [b"%b: %b\r\n" % header for header in (*answer.raw_headers, *SECURITY_HEADERS, *own)]
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, status.phrase.encode(), b"".join(lines))
    return head + bytes(answer.body)
