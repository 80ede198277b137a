"""The clients of the tests do what their names say, against small servers that are not ours."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from tests.oracle import check
from tests.scripted.clock import ManualClock
from tests.scripted.event_stream import EventStreamDecoder, StreamEvent
from tests.scripted.held import Held
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.stopped_reader import ReaderThatStops
from tests.scripted.tokens import SECRET, token_for
from tests.scripted.waiting import NeverHappenedError, eventually
from tests.scripted.websocket_client import RecordingClient

G = "0198a000-0000-7000-8000-0000000000c4"
SOON = 0.2  # a deadline that is meant to pass


def welcome(resume: str, position: str) -> dict[str, Any]:
    return {
        "type": "welcome",
        "re": "h1",
        "resume": resume,
        "position": position,
        "session": "s1",
        "user": "u",
    }


@asynccontextmanager
async def a_socket(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/chat/ws"


# --- what a client holds ------------------------------------------------------------------------


def test_a_text_is_cut_at_each_delta_and_an_older_attempt_is_ignored():
    held = Held()
    for attempt, at, text in ((1, 0, "Hello wor"), (2, 8, "rld"), (1, 9, "XXX"), (2, 8, "rld"), (2, 11, "!")):
        held.take({"type": "delta", "generation": G, "attempt": attempt, "at": at, "text": text})
    held.take({"type": "delta", "generation": G, "attempt": 2, "at": 0, "text": "hm", "kind": "reasoning"})
    assert held.texts[G].text == "Hello world!"
    assert held.texts[G].attempt == 2


def test_a_client_presents_the_last_event_it_was_given_and_never_the_end_of_a_replay():
    held = Held()
    assert held.resume() == {}
    held.take(welcome("fresh", "e1:4"))
    assert held.resume()["position"] == "e1:4"
    held.take(welcome("replay", "e1:9"))
    assert held.resume()["position"] == "e1:4"
    held.take({"type": "message.created", "position": "e1:5"})
    held.take({"type": "synced", "position": "e1:5"})
    assert held.resume() == {"session": "s1", "position": "e1:5", "texts": {}}
    held.take({"type": "reset", "position": "e2:0"})
    assert held.resume()["position"] == "e2:0"


def test_an_ended_text_is_not_presented():
    held = Held()
    held.take({"type": "delta", "generation": G, "attempt": 1, "at": 0, "text": "x"})
    held.take({"type": "generation.finished", "generation": G, "position": "e1:1", "message": None})
    assert held.resume()["texts"] == {}


# --- server-sent events -------------------------------------------------------------------------

STREAM = (
    'retry: 3000\n\n: hi\n\nevent: a\nid: e1:1\ndata: {"x":\ndata:  1}\n\ndata: é\n\nid: never sent\ndata: x'
)
EVENTS = [
    StreamEvent(retry=3000),
    StreamEvent(comment="hi"),
    StreamEvent(event="a", id="e1:1", data='{"x":\n 1}'),
    StreamEvent(data="é"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@given(cuts=st.lists(st.integers(0, 120), max_size=12))
def test_any_chunking_gives_the_same_events(line_end: str, cuts: list[int]):
    data = STREAM.replace("\n", line_end).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder = EventStreamDecoder()
    found = [event for a, b in itertools.pairwise(edges) for event in decoder.feed(data[a:b])]
    assert found == EVENTS


# --- the WebSocket client -----------------------------------------------------------------------


def test_a_cut_client_presents_at_another_node_what_it_held_at_the_first():
    heard: list[dict[str, Any]] = []
    closes: list[int | None] = []

    async def first(connection: ServerConnection) -> None:
        heard.append(json.loads(await connection.recv()))
        frames = [
            welcome("fresh", "e1:0"),
            {"type": "synced", "position": "e1:0"},
            {"type": "generation.started", "position": "e1:1", "generation": G, "attempt": 1},
            {"type": "delta", "generation": G, "attempt": 1, "at": 0, "text": "Hello"},
        ]
        for frame in frames:
            await connection.send(json.dumps(frame))
        await connection.wait_closed()
        closes.append(connection.close_code)

    async def second(connection: ServerConnection) -> None:
        heard.append(json.loads(await connection.recv()))
        await connection.send(json.dumps(welcome("live", "e1:1")))
        await connection.send(json.dumps({"type": "synced", "position": "e1:1"}))
        command = json.loads(await connection.recv())
        await connection.send(json.dumps({"type": "pong", "re": command["id"]}))
        await connection.close(4008)

    async def body() -> None:
        client = RecordingClient("token", user="u")
        async with a_socket(first) as one, a_socket(second) as two:
            await client.connect(one)
            await client.wait_for(lambda f: f["type"] == "delta")
            await client.cut()
            await eventually(lambda: closes)
            await client.connect(two)
            assert (await client.send("ping"))["type"] == "pong"
            assert await client.wait_end() == 4008
            with pytest.raises(ConnectionEndedError) as ended:
                await client.wait_for(lambda f: f["type"] == "never")
            assert ended.value.code == 4008
        await client.close()
        assert client.text(G) == "Hello"
        assert client.recording.presented[1] == {}
        assert client.recording.presented[2] == heard[1]["resume"]
        assert [v.what for v in check(client.recording)] == ["never finished"]

    asyncio.run(body())
    assert "resume" not in heard[0]
    assert heard[1]["resume"]["position"] == "e1:1"
    assert heard[1]["resume"]["texts"] == {G: {"attempt": 1, "at": 5}}
    assert closes == [1006]  # no close frame came


def test_waiting_has_a_deadline():
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def body() -> None:
        client = RecordingClient("token", user="u")
        async with a_socket(silent) as url:
            with pytest.raises(TimeoutError):
                await client.connect(url, within=SOON)
            await client.close()
        answers = iter(range(10**9))
        assert await eventually(lambda: next(answers) > 2)
        with pytest.raises(NeverHappenedError, match="the sky falls"):
            await eventually(lambda: False, SOON, what="the sky falls")

    asyncio.run(body())


def test_a_reader_that_stops_stops_the_writer_and_loses_nothing():
    frames = 4_000
    sent = 0

    async def talker(connection: ServerConnection) -> None:
        nonlocal sent
        await connection.recv()
        for n in range(frames):
            await connection.send(json.dumps({"type": "delta", "n": n, "text": "x" * 1_000}))
            sent += 1
        await connection.close(4008)

    async def body() -> None:
        async with a_socket(talker) as url:
            reader = ReaderThatStops("token")
            await reader.open(url)
            seen = -1

            def stuck() -> bool:
                nonlocal seen
                before, seen = seen, sent
                return 0 < sent == before

            await eventually(stuck)
            assert sent < frames
            heard, code = await reader.read_frames()
            reader.close()
        assert [frame["n"] for frame in heard] == list(range(frames))
        assert code == 4008

    asyncio.run(body())


# --- the SSE client -----------------------------------------------------------------------------


def sse(frame: dict[str, Any], event_id: str | None = None) -> bytes:
    line = f"id: {event_id}\n" if event_id else ""
    return f"event: {frame['type']}\n{line}data: {json.dumps(frame)}\n\n".encode()


@asynccontextmanager
async def a_stream(answers: list[bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers each request with the next of these and ends; and the requests it got."""
    requests: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answers[len(requests) - 1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def test_an_sse_client_comes_back_with_the_last_event_id():
    one = HEAD + b"retry: 2500\n\n: hello\n\n" + sse(welcome("fresh", "e1:7"), "e1:7")
    one += sse({"type": "synced", "position": "e1:7"}, "e1:7")
    one += sse({"type": "generation.started", "position": "e1:8", "generation": G, "attempt": 1}, "e1:8")
    one += sse({"type": "delta", "generation": G, "attempt": 1, "at": 0, "text": "Hi"})
    two = HEAD + sse(welcome("live", "e1:8"), "e1:8") + sse({"type": "synced", "position": "e1:8"})

    async def body() -> None:
        async with a_stream([one, two]) as (base, requests):
            client = SseClient(base, "token", user="u")
            await client.connect()
            await client.wait_end()
            assert client.faults == []
            assert client.comments == ["hello"]
            assert client.retries == [2500]
            await client.connect()
            await client.close()
        assert "last-event-id" not in requests[0].lower()
        assert "last-event-id: e1:8" in requests[1].lower()
        assert f"texts={G}%3A1%3A2" in requests[1]
        assert client.faults == ["synced with id None"]
        assert [v.what for v in check(client.recording)] == ["never finished"]

    asyncio.run(body())


def test_an_answer_that_is_no_stream_is_shown():
    refusal = (
        b'HTTP/1.1 401 No\r\nContent-Type: application/problem+json\r\nContent-Length: 12\r\n\r\n{"code":"X"}'
    )

    async def body() -> None:
        async with a_stream([refusal]) as (base, _):
            client = SseClient(base, None, user="u")
            with pytest.raises(StreamRefusedError) as refused:
                await client.connect()
            await client.close()
            assert refused.value.status == 401
            assert refused.value.problem == {"code": "X"}

    asyncio.run(body())


# --- small things -------------------------------------------------------------------------------


def test_a_manual_clock_moves_when_told_and_never_back():
    clock = ManualClock(5)
    assert clock() == 5
    assert clock.advance(2.5) == clock() == 7.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_a_token_has_the_claims_asked_for():
    claims = jwt.decode(
        token_for("u1", tier="premium", iss=None), SECRET, ["HS256"], audience="atma-services"
    )
    assert claims["id"] == "u1"
    assert claims["tier"] == "premium"
    assert "iss" not in claims
