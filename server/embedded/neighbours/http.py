"""As much HTTP/1.1 as neighbours on loopback need: whole requests in, whole answers out, or worse."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 4 * 1024 * 1024
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, `None` where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered. `cut` ends the connection in the middle of the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"
    cut: bool = False

    def encode(self) -> bytes:
        """The bytes of the answer; what a cut one leaves out is missing from their end."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [
            f"HTTP/1.1 {self.status} {phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        body = self.body[: len(self.body) // 2] if self.cut else self.body
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


Answer = Callable[[Request], Awaitable[Response | None]]
"""Answers a request; `None` ends the connection without a word."""


def answer(value: Any, status: int = 200, headers: Mapping[str, str] = _NONE) -> Response:
    """A JSON answer."""
    return Response(status, json.dumps(value, ensure_ascii=False).encode(), headers)


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] = _NONE) -> Response:
    """An error in the ecosystem's envelope."""
    return answer({"success": False, "error": {"code": code, "message": message}}, status, headers)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Answer) -> None:
    """Answer the requests of one connection until it ends."""
    try:
        while (request := await _read(reader)) is not None:
            response = await respond(request)
            if response is None:
                writer.transport.abort()
                return
            writer.write(response.encode())
            await writer.drain()
            if response.cut or request.headers.get("connection", "").lower() == "close":
                return
    except (OSError, EOFError, ValueError):
        return  # the other side is gone, or speaks something else
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise ValueError("the head is too large") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY_BYTES or "transfer-encoding" in headers:
        raise ValueError("the body has no length, or too much of it")
    parts = urlsplit(target)
    return Request(
        method=method.upper(),
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query)),
        headers=headers,
        body=await reader.readexactly(length),
    )
