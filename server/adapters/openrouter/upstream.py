"""OpenRouter behind the upstream port.

The shell round the pure parts: `request.py` says what is sent, `reply.py` what the answer means,
`classify.py` what a refusal means. Whatever the upstream does ends up as facts; only cancellation and
closing pass through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import httpx

from server.adapters.openrouter.classify import classify_response
from server.adapters.openrouter.keys import Key, KeyRing
from server.adapters.openrouter.models import Catalogue, parse_listing
from server.adapters.openrouter.reply import Reply
from server.adapters.openrouter.request import Headers, encode_body, header_value, identity_headers
from server.adapters.openrouter.settlement import settlement_of
from server.adapters.openrouter.transport import Lingering, Link, StreamingTransport
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Opened,
    Settlement,
    SettlementUnavailable,
    UpstreamFact,
    UpstreamRequest,
)

_REFUSED_KEY = frozenset({FailureKind.KEY_REJECTED, FailureKind.BUDGET_EXHAUSTED})
_NETWORK_ERRORS = (httpx.HTTPError, aiohttp.ClientError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class OpenRouterLimits:
    """Sizes and times (seconds) of the adapter. `max_connections` of `None`: as many as there are streams."""

    max_connections: int | None = None
    keepalive_seconds: float = 30.0
    key_rest_seconds: float = 60.0
    connect_seconds: float = 5.0  # of everything but a stream, whose request names its own
    refusal_seconds: float = 2.0  # for the body of an error; its status is enough
    refusal_bytes: int = 1 << 16
    settle_seconds: float = 10.0
    reach_seconds: float = 5.0
    listing_seconds: float = 20.0
    listing_bytes: int = 1 << 24


class OpenRouter:
    """Asks models at OpenRouter, or at anything that speaks its dialect.

    Args:
        base_url: up to and with `/api/v1`.
        keys: API keys; they take turns.
        referer: the application's address, for OpenRouter's attribution; may be empty.
        title: the application's name; may be empty.
        limits: sizes and times.
        clock: Unix time in seconds, to read hints that are dates.

    Raises:
        ValueError: no key, no HTTP address, or something that cannot stand in a header.
    """

    def __init__(
        self,
        *,
        base_url: str,
        keys: Sequence[str],
        referer: str,
        title: str,
        limits: OpenRouterLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalogue = Catalogue()
        self._limits = limits or OpenRouterLimits()
        self._base_url = base_url.rstrip("/")
        if not self._base_url.startswith(("http://", "https://")):
            raise ValueError("the base URL of OpenRouter begins with http:// or https://")
        for key in keys:
            header_value(key)
        self._keys = KeyRing(keys, rest_seconds=self._limits.key_rest_seconds)
        self._identity = identity_headers(referer=referer, title=title)
        self._clock = clock
        self._lingering = Lingering()
        self._stream_url = httpx.URL(f"{self._base_url}/chat/completions")
        self._transport = StreamingTransport(
            max_connections=self._limits.max_connections, keepalive_seconds=self._limits.keepalive_seconds
        )
        self._client = httpx.AsyncClient(transport=self._transport, trust_env=False)

    async def stream(self, request: UpstreamRequest) -> AsyncGenerator[list[UpstreamFact], None]:
        """Ask, and yield facts: one list per network read, never an empty one.

        Closing the generator, or cancelling the task inside it, closes the connection at once.
        """
        key = self._keys.take(time.monotonic())
        try:
            link = await self._open(request, key)
        except ValueError as error:
            yield [Failed(FailureKind.BAD_REQUEST, detail=str(error))]
            return
        except Exception as error:  # noqa: BLE001 - whatever a client library makes of the network is a fact
            yield [_failure_before_headers(error)]
            return
        try:
            if not 200 <= link.status < 300:  # noqa: PLR2004 - success
                yield [await self._refusal(link, key)]
                return
            yield [Opened(link.headers.get("x-generation-id"), key.fingerprint)]
            reply = Reply()
            while True:
                try:
                    read = await link.read()
                except Exception as error:  # noqa: BLE001 - as above
                    now = self._clock()
                    facts = [*reply.feed(link.rest(), now), *reply.end(now, broken=_describe(error))]
                else:
                    facts = reply.feed(read, self._clock()) if read else reply.end(self._clock())
                ended = reply.ended
                if ended:
                    self._settle_down(link, key, facts[-1])
                if facts:
                    yield facts
                if ended:
                    return
        finally:
            link.close()

    async def settle(self, generation_id: str, key: str) -> Settlement | None:
        """The bill of a call, or `None` while the upstream does not know it yet.

        Raises:
            SettlementUnavailable: the upstream cannot be asked now, or never will know (`final`).
        """
        # A key that is no longer configured may have a successor of the same account.
        asker = self._keys.named(key) or self._keys.take(time.monotonic())
        try:
            status, body = await self._get(
                "/generation", asker, seconds=self._limits.settle_seconds, params={"id": generation_id}
            )
        except _NETWORK_ERRORS as error:
            raise SettlementUnavailable(_describe(error), final=False) from error
        return settlement_of(status, body)

    async def refresh_models(self) -> bool:
        """Fetch the listing into `catalogue` once; false when that failed, which changes nothing."""
        try:
            status, body = await self._get(
                "/models", self._keys.take(time.monotonic()), seconds=self._limits.listing_seconds
            )
        except _NETWORK_ERRORS:
            return False
        models = parse_listing(body) if status == httpx.codes.OK else None
        if models is not None:
            self.catalogue.update(models)
        return models is not None

    async def reachable(self) -> bool:
        """Whether OpenRouter answers and takes a key of ours."""
        try:
            status, _ = await self._get(
                "/key", self._keys.take(time.monotonic()), seconds=self._limits.reach_seconds
            )
        except _NETWORK_ERRORS:
            return False
        return status < httpx.codes.INTERNAL_SERVER_ERROR and status not in {
            httpx.codes.UNAUTHORIZED,
            httpx.codes.FORBIDDEN,
        }

    async def aclose(self) -> None:
        """Close all connections; streams still open end as broken."""
        self._lingering.close()
        await self._client.aclose()

    async def _open(self, request: UpstreamRequest, key: Key) -> Link:
        headers: Headers = [
            *self._headers(key),
            (b"Content-Type", b"application/json"),
            (b"Accept", b"text/event-stream"),
            # a compressed stream would only be held back on its way
            (b"Accept-Encoding", b"identity"),
            (b"X-Request-ID", header_value(request.request_id)),
        ]
        # aiohttp's `connect`, which this calls pool, covers DNS, TCP and TLS together
        timeout = httpx.Timeout(None, connect=request.connect_seconds, pool=request.connect_seconds)
        http_request = httpx.Request(
            "POST",
            self._stream_url,
            content=encode_body(request),
            headers=headers,
            extensions={"timeout": timeout.as_dict()},
        )
        # the client would add cookies, redirects and authentication, none of which there are, at the cost of
        # the sending itself
        return Link(await self._transport.handle_async_request(http_request), self._lingering)

    def _settle_down(self, link: Link, key: Key, end: UpstreamFact) -> None:
        # Before the last facts are handed out: their reader may close the generator on them.
        if isinstance(end, Done):
            link.let_go()
            return
        if isinstance(end, Failed):
            self._note_refusal(key, end)
        link.close()

    async def _refusal(self, link: Link, key: Key) -> Failed:
        body = b""
        try:
            async with asyncio.timeout(self._limits.refusal_seconds):
                while len(body) < self._limits.refusal_bytes and (read := await link.read()):
                    body += read
        except _NETWORK_ERRORS:
            body += link.rest()
        failed = classify_response(link.status, link.headers, body, self._clock())
        self._note_refusal(key, failed)
        return failed

    def _note_refusal(self, key: Key, failed: Failed) -> None:
        if failed.kind in _REFUSED_KEY:
            self._keys.refused(key.fingerprint, time.monotonic())

    async def _get(
        self, path: str, key: Key, *, seconds: float, params: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(seconds),
            self._client.stream(
                "GET",
                self._base_url + path,
                params=params,
                headers=self._headers(key),
                timeout=httpx.Timeout(seconds, connect=self._limits.connect_seconds),
            ) as response,
        ):
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > self._limits.listing_bytes:
                    raise httpx.DecodingError(f"GET {path} answered more than {len(body)} bytes")
            return response.status_code, bytes(body)

    def _headers(self, key: Key) -> Headers:
        return [(b"Authorization", b"Bearer " + header_value(key.secret)), *self._identity]


def _failure_before_headers(error: Exception) -> Failed:
    # httpx-aiohttp calls every lost connection a connect timeout, so the cause decides.
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ is not None else error
    if isinstance(cause, asyncio.TimeoutError | httpx.TimeoutException):
        kind = FailureKind.CONNECT_TIMEOUT
    elif isinstance(cause, aiohttp.ClientResponseError):
        kind = FailureKind.MALFORMED
    elif _was_made(cause):
        kind = FailureKind.CONNECTION_LOST
    else:
        kind = FailureKind.CONNECT_REFUSED
    return Failed(kind, detail=_describe(error))


def _was_made(loss: BaseException) -> bool:
    """Whether there was a connection to lose, so that the request may have gone out."""
    if isinstance(loss, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError):
        return False
    return isinstance(loss, aiohttp.ClientError | ConnectionError)


def _describe(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"[:200]
