"""aiohttp under httpx, with the open response within reach.

httpx's own transport costs several times the CPU per chunk at hundreds of streams, so its requests go
through aiohttp (httpx-aiohttp). Two things are done directly on aiohttp's response:

- Reading: one await per network read, instead of three nested generators that are also left to the
  garbage collector when a stream is closed in the middle.
- Closing: a plain call that no second cancellation can interrupt.
- Breaking: aiohttp tells a body's reader of a lost connection, but not of one it closed itself because the
  framing of HTTP was broken; `Link` does, or the reader would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import aiohttp
import httpx
from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport

LINGER_SECONDS = 1.0
READ_BUFFER_BYTES = 1 << 16

_EXTENSION = "aiohttp_response"


class StreamingTransport(AiohttpTransport):
    """The transport for long streams: no limit on connections, no cookies, no proxy from the environment."""

    def __init__(self, *, max_connections: int | None, keepalive_seconds: float) -> None:
        self._context = httpx.create_ssl_context()
        self._max_connections = max_connections
        self._keepalive_seconds = keepalive_seconds
        super().__init__(verify=self._context, client=self._session)

    def _session(self) -> aiohttp.ClientSession:
        # Made here because httpx-aiohttp takes "no limit" for aiohttp's default of 100.
        connector = aiohttp.TCPConnector(
            limit=self._max_connections or 0,
            ssl=self._context,
            keepalive_timeout=self._keepalive_seconds,
            ttl_dns_cache=30,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER_BYTES,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; the response carries aiohttp's own as an extension."""
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, AiohttpResponseStream)
        response.extensions[_EXTENSION] = response.stream._aiohttp_response  # noqa: SLF001 - no public way
        return response


class Link:
    """One response being read."""

    def __init__(self, response: httpx.Response, lingering: Lingering) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in reversed(response.headers.multi_items())
        }
        raw = response.extensions[_EXTENSION]
        assert isinstance(raw, aiohttp.ClientResponse)
        self._raw = raw
        self._lingering = lingering
        self._let_go = False
        self._lost: asyncio.Future[None] | None = None
        self._watch()

    def read(self) -> Awaitable[bytes]:
        """What has arrived, waiting for it if need be; `b""` at the end of the body.

        Raises:
            aiohttp.ClientError, OSError: the connection broke; when awaited.
        """
        return self._raw.content.readany()

    def rest(self) -> bytes:
        """After the connection broke: what had arrived before, and aiohttp would not give any more."""
        return self._raw.content._read_nowait(-1)  # noqa: SLF001 - `read_nowait` raises the error again

    def let_go(self) -> None:
        """The answer is complete: keep the connection for the next call if the body ends soon."""
        self._let_go = True
        if not self._raw.content.is_eof():
            self._lingering.add(self._raw)

    def close(self) -> None:
        """Close the connection now, unless it was let go. Never waits."""
        if self._lost is not None:
            # The connection may outlive this response, and break for nobody: one that looks has to stay,
            # or asyncio would log it.
            self._lost.remove_done_callback(self._tell_of_loss)
            self._lost.remove_done_callback(_look_at)
            self._lost.add_done_callback(_look_at)
        if not self._let_go:
            self._raw.close()

    def _watch(self) -> None:
        connection = self._raw.connection
        if connection is None or connection.protocol is None:
            return  # the body is complete
        self._lost = connection.protocol.closed
        if self._lost is None:
            self._break()
        else:
            self._lost.add_done_callback(self._tell_of_loss)

    def _tell_of_loss(self, lost: asyncio.Future[None]) -> None:
        _look_at(lost)
        self._break()

    def _break(self) -> None:
        content = self._raw.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection closed inside the body"))


def _look_at(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()


class Lingering:
    """Responses that have said all but not ended their body: they get a moment, then are closed.

    aiohttp gives a connection back to its pool by itself when the body ends.
    """

    def __init__(self, *, seconds: float = LINGER_SECONDS) -> None:
        self._seconds = seconds
        self._timers: dict[aiohttp.ClientResponse, asyncio.TimerHandle] = {}

    def add(self, response: aiohttp.ClientResponse) -> None:
        """Give `response` a moment."""
        loop = asyncio.get_running_loop()
        self._timers[response] = loop.call_later(self._seconds, self._expire, response)

    def close(self) -> None:
        """Close all that still linger."""
        for response, timer in list(self._timers.items()):
            timer.cancel()
            self._expire(response)

    def _expire(self, response: aiohttp.ClientResponse) -> None:
        del self._timers[response]
        response.close()
