"""Sans-I/O. As much HTTP/1.1 as a loopback server needs: requests in, response heads out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

import httptools

MAX_REQUEST_BYTES = 8 * 1024 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    524: "A Timeout Occurred",
    529: "Overloaded",
}
_NONE: Mapping[str, str] = MappingProxyType({})


class RequestError(ValueError):
    """The bytes are no HTTP request, or one that is too large."""


@dataclass(slots=True)
class Request:
    """A whole request; header names in lower case, the last one wins."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True

    @property
    def path(self) -> str:
        """The target's path."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The target's query, the last of equal names."""
        return dict(parse_qsl(urlsplit(self.target).query))


class RequestParser:
    """Turns bytes into whole requests."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._body: list[bytes] = []
        self._size = 0
        self._done: list[Request] = []

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes.

        Raises:
            RequestError: not HTTP, an upgrade, or beyond the limits.
        """
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise RequestError("no upgrade is spoken here") from error
        except httptools.HttpParserError as error:
            raise RequestError(f"not an HTTP request: {error}") from error
        done, self._done = self._done, []
        if done:
            self._size = 0
        elif self._size > MAX_REQUEST_BYTES:
            raise RequestError("the request is too large")
        return done

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request, self._body = Request(), []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.body = b"".join(self._body)
        self._done.append(request)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """A response head with exactly `headers`."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def response(status: int, body: bytes, headers: Mapping[str, str] = _NONE) -> bytes:
    """A whole response with a body of known length."""
    return (
        head(status, {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}) + body
    )


def stream_head(headers: Mapping[str, str], *, chunked: bool) -> bytes:
    """The head of a 200 whose body has no known length."""
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
    return head(HTTPStatus.OK, {**headers, **framing})
