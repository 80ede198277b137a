"""Asking one neighbour over HTTP: a deadline, retries with jitter, a breaker, our key.

An answer is asked for again only when another attempt can help: the network failed, the service is
overloaded or broken, or it said something that is no answer. All requests made here may be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import stamina

from server.adapters.atma.breaker import Breaker
from server.adapters.atma.documents import error_of, parse_document
from server.assessments.neighbours import NeighbourRefused, NeighbourUnavailable

_OVERLOADED = frozenset({408, 425, 429})
_RATE_LIMITED = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class NeighbourLimits:
    """Times (seconds), sizes (bytes) and numbers of a neighbour.

    `call` bounds everything a caller waits for, `attempt` one attempt. Between attempts it waits
    `first_wait`, doubled up to `longest_wait`, and up to `jitter` more. After `breaker_failures` attempts
    in a row have failed, the neighbour is left alone for `breaker_rest`.
    """

    connect: float = 2.0
    attempt: float = 5.0
    call: float = 12.0
    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 1.0
    jitter: float = 0.2
    answer_bytes: int = 1 << 20
    connections: int = 20
    breaker_failures: int = 5
    breaker_rest: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a neighbour answered: the status, and the JSON object (empty where there was none)."""

    status: int
    document: dict[str, Any]


class _Passing(Exception):  # noqa: N818 - a state of the world, named as one
    """An attempt failed in a way that may pass. `after_seconds` is the neighbour's own wish."""

    def __init__(self, reason: str, after_seconds: float | None = None, *, sick: bool = True) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.sick = sick


class Neighbour:
    """One service, asked for JSON.

    Args:
        name: for logs and failures.
        base_url: up to the service's own paths.
        service_key: what lets services in.
        limits: times and numbers.
        request_id: the correlation id of whatever is going on; may be empty.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        service_key: str = "",
        limits: NeighbourLimits | None = None,
        request_id: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._limits = limits or NeighbourLimits()
        self._base_url = base_url.rstrip("/")
        self._service_headers = {"X-Internal-Service": "true", "X-Service-Key": service_key}
        self._request_id = request_id
        self._clock = clock
        self._breaker = Breaker(
            failures=self._limits.breaker_failures, rest_seconds=self._limits.breaker_rest
        )
        connections = self._limits.connections
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(self._limits.attempt, connect=self._limits.connect),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"Accept": "application/json", "User-Agent": "chatbot-service"},
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        as_service: bool = True,
        expected: Collection[int] = (),
        attempts: int | None = None,
    ) -> Answer:
        """Ask, and answer with a success, or with a status that is `expected`.

        Args:
            method: of the request.
            path: below the base URL.
            headers: further ones.
            params: the query.
            json: the body.
            as_service: whether our key goes with it.
            expected: statuses other than success that mean something to the caller.
            attempts: fewer or more than usual.

        Raises:
            NeighbourUnavailable, NeighbourRefused
        """
        request = self._client.build_request(
            method,
            self._base_url + path,
            params=params,
            content=None if json is None else msgspec.json.encode(json),
            headers={
                **(self._service_headers if as_service else {}),
                **({"Content-Type": "application/json"} if json is not None else {}),
                **({"X-Request-ID": identity} if (identity := self._request_id()) else {}),
                **(headers or {}),
            },
        )
        limits = self._limits
        try:
            async with asyncio.timeout(limits.call):
                async for attempt in stamina.retry_context(
                    on=self._wait,
                    attempts=attempts or limits.attempts,
                    timeout=limits.call,
                    wait_initial=limits.first_wait,
                    wait_max=limits.longest_wait,
                    wait_jitter=limits.jitter,
                ):
                    with attempt:
                        return await self._attempt(request, expected)
        except _Passing as error:
            raise NeighbourUnavailable(self.name, str(error)) from error
        except TimeoutError as error:
            raise NeighbourUnavailable(self.name, f"no answer within {limits.call:g} s") from error
        raise AssertionError("the attempts end with an answer or a failure")

    def _wait(self, error: Exception) -> bool | float:
        """Whether to try again, and when, where the neighbour has said so."""
        if not isinstance(error, _Passing):
            return False
        if error.after_seconds is None:
            return True
        # whoever asks for more than we ever wait is not asked again
        return error.after_seconds if error.after_seconds <= self._limits.longest_wait else False

    async def _attempt(self, request: httpx.Request, expected: Collection[int]) -> Answer:
        if not self._breaker.admit(self._clock()):
            raise NeighbourUnavailable(self.name, "it failed too often and is left alone for a moment")
        try:
            answer = await self._send(request, expected)
        except _Passing as error:
            if error.sick:
                self._breaker.failed(self._clock())
            else:
                self._breaker.succeeded()
            raise
        except NeighbourRefused:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return answer

    async def _send(self, request: httpx.Request, expected: Collection[int]) -> Answer:
        try:
            async with asyncio.timeout(self._limits.attempt):
                response = await self._client.send(request, stream=True)
                try:
                    body = await self._body(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise _Passing("no answer in time") from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise _Passing(f"{type(error).__name__}: {error}"[:200]) from error
        status, document = response.status_code, parse_document(body)
        if response.is_success or status in expected:
            if document is None and body:
                raise _Passing(f"{status} with something that is no JSON object")
            return Answer(status, document or {})
        if status in _OVERLOADED or status >= _SERVER_ERROR:
            after = _seconds(response.headers.get("retry-after"))
            raise _Passing(f"{status} {error_of(document)}", after, sick=status != _RATE_LIMITED)
        raise NeighbourRefused(self.name, f"{status} {error_of(document)}")

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._limits.answer_bytes:
                raise _Passing(f"more than {self._limits.answer_bytes} bytes")
        return bytes(body)


def _seconds(text: str | None) -> float | None:
    """A `Retry-After` in seconds; a date is passed over."""
    return float(text) if text and text.isascii() and text.isdigit() else None
