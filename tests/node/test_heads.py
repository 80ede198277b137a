"""What comes before any request is one: heads that are late, endless or no HTTP (quality: slow handshakes, giant input)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from server.embedded.services import EmbeddedServices
from server.gateway import http
from tests.node.rest import serving
from tests.running import RunningNode, new_uuid
from tests.scripted.tokens import token_for
from tests.services import Database

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BIG = b"x" * 200_000


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    def assert_problem(self, status: int) -> None:
        assert (self.status, self.headers["content-type"]) == (status, "application/problem+json")
        assert self.body["status"] == status
        assert self.body["request_id"] == self.headers["x-request-id"] != ""


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database) as running:
        yield running


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head has little time."""
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.3)


async def exchange(node: RunningNode, *pieces: bytes) -> bytes:
    """Send, and read until the server closes."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            return await reader.read()
        finally:
            writer.transport.abort()


def ask(node: RunningNode, *pieces: bytes) -> Answer:
    """The first answer to these bytes; the server closes in the end."""
    raw = asyncio.run(exchange(node, *pieces))
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, json.loads(rest[: int(headers["content-length"])]))


@pytest.mark.usefixtures("soon")
def test_a_connection_that_says_nothing_is_closed(node: RunningNode):
    assert asyncio.run(exchange(node)) == b""


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "half", [b"GET /heal", LIVE, LIVE + b"X-More: ", b"GET /ws HTTP/1.1\r\n" + UPGRADE], ids=repr
)
def test_half_a_head_is_waited_for_only_so_long(node: RunningNode, half: bytes):
    ask(node, half).assert_problem(408)


@pytest.mark.usefixtures("soon")
def test_the_next_head_on_a_connection_has_no_more_time(node: RunningNode):
    async def go() -> None:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(LIVE + b"\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b'"status":"alive"')
            await reader.readuntil(b"}")
            writer.write(LIVE)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            writer.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "pieces",
    [
        [LIVE + b"X-Big: " + BIG + b"\r\n\r\n"],
        [b"GET /health/live?" + BIG + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [LIVE, *[b"X-%d: %b\r\n" % (n, b"y" * 4000) for n in range(40)], b"\r\n"],
        [LIVE + b"X-Endless: ", *[b"z" * 10_000] * 20],
        [LIVE, *[b"X-Small: 1\r\n"] * 20_000],
        [b"GET /api/chat/ws HTTP/1.1\r\n" + UPGRADE + b"X-Big: " + BIG + b"\r\n\r\n"],
        # within the bounds of a request, and beyond what the library of sockets reads
        [b"GET /api/chat/ws HTTP/1.1\r\n" + UPGRADE + b"X-Big: " + BIG[:9000] + b"\r\n\r\n"],
        [b"GET /api/chat/ws HTTP/1.1\r\n" + UPGRADE + b"X-Small: 1\r\n" * 200 + b"\r\n"],
    ],
    ids=["one header", "target", "many headers", "endless", "countless", "upgrade", "line", "lines"],
)
def test_a_head_has_bounds(node: RunningNode, pieces: list[bytes]):
    ask(node, *pieces).assert_problem(431)


def test_a_head_within_its_bounds_is_read_however_it_is_cut(node: RunningNode):
    whole = LIVE + b"Connection: close\r\nX-Big: " + b"x" * 60_000 + b"\r\n\r\n"
    pieces = [whole[start : start + 777] for start in range(0, len(whole), 777)]
    assert ask(node, *pieces).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"FOO /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/live HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /conversations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /conversations HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["TLS", "method", "version", "two lengths", "smuggling"],
)
def test_what_is_no_http_is_a_problem_like_all_others(node: RunningNode, garbage: bytes):
    ask(node, garbage).assert_problem(400)


@pytest.mark.parametrize("path", [b"/ws/", b"/nowhere", b"/", b"/api/chat/conversations"])
def test_an_upgrade_of_what_is_no_socket_is_not_found(
    node: RunningNode, path: bytes, caplog: pytest.LogCaptureFixture
):
    answer = ask(node, b"GET " + path + b" HTTP/1.1\r\nX-Request-ID: mine\r\n" + UPGRADE + b"\r\n")
    answer.assert_problem(404)
    assert answer.headers["x-request-id"] == "mine"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_upgrade_from_a_foreign_page_is_refused_and_no_error_of_ours(
    node: RunningNode, caplog: pytest.LogCaptureFixture
):
    answer = ask(
        node,
        b"GET /ws HTTP/1.1\r\nOrigin: https://evil.example\r\nX-Request-ID: mine\r\n" + UPGRADE + b"\r\n",
    )
    answer.assert_problem(403)
    assert answer.body["request_id"] == "mine"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- one request behind another ---------------------------------------------------------------


def statuses(raw: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)


def test_requests_before_half_a_head_are_all_answered(node: RunningNode):
    whole = (LIVE + b"X-Fill: " + b"x" * 200 + b"\r\n\r\n") * 300
    assert statuses(asyncio.run(exchange(node, whole + LIVE)))[:300] == [b"200"] * 300


def test_a_long_body_before_half_a_head_is_answered(node: RunningNode):
    body = b'{"title": "%b"}' % (b" " * 100_000)
    post = b"POST /conversations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert statuses(asyncio.run(exchange(node, post + body + b"GET /heal")))[:1] == [b"401"]


def test_garbage_behind_a_request_leaves_it_its_answer(node: RunningNode, caplog: pytest.LogCaptureFixture):
    assert statuses(asyncio.run(exchange(node, LIVE + b"\r\n\x00\x01\x02 nonsense\r\n\r\n"))) == [b"200"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


CHUNKED = b"POST /conversations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "status"),
    [([b"ZZ\r\n"], 400), ([b"5;", *[b"e" * 10_000] * 20], 431)],
    ids=["no size", "endless extension"],
)
def test_a_body_that_cannot_be_read_is_told(
    node: RunningNode, pieces: list[bytes], status: int, caplog: pytest.LogCaptureFixture
):
    token = b"Authorization: Bearer %b\r\n\r\n" % token_for(new_uuid()).encode()
    ask(node, CHUNKED[:-2] + token, *pieces).assert_problem(status)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("head", [CHUNKED, CHUNKED.replace(b"/conversations", b"/nowhere")])
def test_a_trailer_without_end_is_not_collected(node: RunningNode, head: bytes):
    async def go() -> None:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(head + b"2\r\n{}\r\n0\r\nX: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(64):
                    writer.write(b"a" * (1 << 20))
                    await writer.drain()
                await reader.read()
            assert writer.transport.is_closing() or reader.at_eof()
            writer.transport.abort()

    asyncio.run(go())
