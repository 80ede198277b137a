"""The wire over server-sent events, sentence by sentence (protocol README): what a stranger can check."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import redis

from protocol.frames import Synced
from server.conversations.principal import Principal
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from server.gateway.stream import EventStream
from tests.node.rest import release, serving
from tests.running import RunningNode, new_uuid, of_type, running_node
from tests.scripted.event_stream import EventStreamDecoder, StreamEvent
from tests.scripted.recording import Frame
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

TEXT = "Héllo 😀 wörld 👩🏽‍🚀!"
"""Of every width: in UTF-8 and in UTF-16 its places have other numbers."""
TURN = ["message.created", "generation.started", "delta", "generation.finished"]


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, auth_grace_seconds=0, max_sessions_per_user=3) as running:
        yield running


def go(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@asynccontextmanager
async def a_client(node: RunningNode, user: str | None = None, **claims: Any) -> AsyncIterator[SseClient]:
    """A client of a user that has opened no stream."""
    user = user or new_uuid()
    client = SseClient(node.base, token_for(user, **claims), user=user)
    try:
        yield client
    finally:
        await client.close()
        assert client.faults == []


async def a_conversation(client: SseClient) -> str:
    made = await client.rest("POST", "/api/chat/conversations", {})
    return str(made.json()["id"])


async def shown(node: RunningNode, client: SseClient) -> tuple[str, str]:
    """A generation of which `TEXT` is written and that waits for its gate; its id and the gate."""
    gate = new_uuid()
    node.simulator.script(Behaviour(tokens=(TEXT, " The end."), gate=gate, gate_at=1), match=gate)
    conversation = await a_conversation(client)
    accepted = await client.rest(
        "POST",
        f"/api/chat/conversations/{conversation}/messages",
        {"content": f"[{gate}]"},
        Prefer="respond-async",
    )
    assert accepted.status_code == 202, accepted.text
    generation = str(accepted.json()["generation"])
    async with a_client(node, client.recording.user) as watcher:
        await watcher.stream("GET", f"/api/chat/generations/{generation}/events")
        await watcher.wait_for(lambda _: watcher.text(generation) == TEXT)
    return generation, gate


async def events_of(client: SseClient, path: str, until: str, **headers: str) -> list[StreamEvent]:
    """The raw events of a stream until one of this type."""
    decoder, events = EventStreamDecoder(), []
    sent = {"Authorization": f"Bearer {client.token}", **headers}
    async with (
        asyncio.timeout(15),
        client._http.stream("GET", client.base + path, headers=sent) as response,
    ):
        assert response.status_code == 200
        async for part in response.aiter_raw():
            events += decoder.feed(part)
            if any(event.event == until for event in events):
                break
    return events


def types(frames: list[Frame]) -> list[str]:
    """The types in order, a run of deltas as one."""
    kinds = [frame["type"] for frame in frames]
    return [kind for n, kind in enumerate(kinds) if kind != "delta" or n == 0 or kinds[n - 1] != "delta"]


# --- the channel ----------------------------------------------------------------------------------


def test_a_stream_has_its_headers_its_retry_and_begins_with_welcome_and_synced(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            welcome = await client.connect()

            assert client.headers["content-type"].startswith("text/event-stream")
            assert client.headers["cache-control"] == "no-store, no-transform"
            assert client.headers["x-accel-buffering"] == "no"
            (retry,) = client.retries
            assert 2000 <= retry <= 5000
            assert "re" not in welcome
            assert welcome["resume"] == "fresh"
            assert types([each.frame for each in client.recording.heard]) == ["welcome", "synced"]

    go(test())


def test_events_welcome_and_synced_have_the_position_as_id_and_others_none(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            generation, gate = await shown(node, client)
            fresh = await events_of(client, "/api/chat/events", "synced")
            head = fresh[-1].id or ""
            epoch, _, last = head.partition(":")
            assert [(e.event, e.id) for e in fresh if e.data] == [
                ("welcome", head),
                ("generation.state", None),
                ("delta", None),
                ("synced", head),
            ]

            for presented, held, missed in (
                (head, head, 0),
                (f"{epoch}:1", f"{epoch}:1", int(last) - 1),
                ("zzzzzz:1", head, 0),
                ("nonsense", head, 0),
            ):
                by_header = await events_of(
                    client, "/api/chat/events?position=zzzzzz:7", "synced", **{"Last-Event-ID": presented}
                )
                by_query = await events_of(client, f"/api/chat/events?position={presented}", "synced")
                for events in (by_header, by_query):
                    assert [(e.event, e.id) for e in events if e.event == "welcome"] == [("welcome", held)]
                    replayed = [e.id for e in events if e.id and e.event not in {"welcome", "synced"}]
                    assert replayed == [f"{epoch}:{int(last) - missed + n}" for n in range(1, missed + 1)]

            await client.connect()
            release(node, gate)
            await client.wait_for(lambda _: generation in client.held.finished)

    go(test())


def test_texts_in_the_query_go_on_at_their_code_point(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            generation, gate = await shown(node, client)
            welcome = await client.connect()
            for at in (1, 7, 8, len(TEXT)):
                texts = f"{new_uuid()}:1:5,{generation.upper()}:1:{at}"
                mark = client.mark()
                await client.connect(resume=False, query={"position": welcome["position"], "texts": texts})
                frames = [each.frame for each in client.recording.heard[mark:]]
                assert [(f["at"], f["text"]) for f in frames if f["type"] == "delta"] == (
                    [(at, TEXT[at:])] if at < len(TEXT) else []
                )
            release(node, gate)
            await client.wait_for(of_type("generation.finished"))

    go(test())


def test_a_ticket_opens_one_stream_of_its_user_and_a_token_in_the_address_none(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            made = await client.rest("POST", "/api/chat/tickets")
            assert made.status_code == 201
            assert set(made.json()) == {"ticket", "expires_in"}
            assert made.json()["expires_in"] == 30
            ticket, token, user = made.json()["ticket"], client.token, client.recording.user

            client.token = None
            welcome = await client.connect(query={"ticket": ticket, "position": "zzzzzz:1"})
            assert (welcome["user"], welcome["resume"]) == (user, "reset")
            for query in ({"ticket": ticket}, {"ticket": ""}, {"token": token or ""}, {}):
                with pytest.raises(StreamRefusedError) as refused:
                    await client.connect(query=query, resume=False)
                assert (refused.value.status, refused.value.problem["code"]) == (401, "UNAUTHENTICATED")

    go(test())


def test_a_stream_too_many_is_429_with_a_time_to_come_again(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_client(node, user) as one, a_client(node, user) as two, a_client(node, user) as more:
            await one.connect()
            await two.connect()
            socket = RecordingClient(token_for(user), user=user)
            await socket.connect(node.ws_url)
            with pytest.raises(StreamRefusedError) as refused:
                await more.connect()
            await socket.cut()

            assert (refused.value.status, refused.value.problem["code"]) == (429, "TOO_MANY_SESSIONS")
            assert refused.value.problem["retryAfter"] == 30

    go(test())


def test_a_stream_and_a_socket_of_one_user_are_told_the_same(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as stream:
            socket = RecordingClient(stream.token, user=stream.recording.user)
            await socket.connect(node.ws_url)
            await stream.connect()
            node.simulator.script(Behaviour(text=TEXT), match="[the same]")
            ack = await socket.send("message.send", content="[the same]", client_message_id=new_uuid())
            for client in (stream, socket):
                await client.wait_for(of_type("generation.finished"))
            await socket.cut()

            assert stream.recording.of_type(*TURN[:2]) == socket.recording.of_type(*TURN[:2])
            assert stream.held.finished == socket.held.finished
            assert stream.text(ack["generation"]) == TEXT

    go(test())


def test_a_stream_whose_token_ends_begins_with_welcome_and_ends_with_an_error(node: RunningNode):
    async def test() -> None:
        async with a_client(node, ttl=5) as client:
            await client.connect()
            await client.wait_end()

            frames = [each.frame for each in client.recording.heard]
            assert frames[0]["type"] == "welcome"
            assert [f["type"] for f in frames].count("auth.expiring") == 1
            assert {**frames[-1], "message": ""} == {
                "type": "error",
                "code": "token_expired",
                "message": "",
                "retryable": False,
            }

    go(test())


def test_nothing_is_told_before_welcome(services: EmbeddedServices, database: Database):
    """Also where the clocks are looked at between opening the stream and greeting the client."""

    async def test() -> None:
        async with running_node(services, database) as running:
            front = running.node.front
            stream = EventStream(front, Principal(new_uuid(), expires_at=time.time() + 30))
            stream.tick(front.desk.now() + 1000, time.time())

            async def work() -> None:
                stream.tick(front.desk.now() + 1000, time.time())
                for _ in range(3):
                    await stream.outlet.tell(Synced(position="a:1"))

            async def release() -> None:
                pass

            told = [cast("bytes", part) async for part in stream.response(work, release).body_iterator]

            kinds = [event.event for part in told for event in EventStreamDecoder().feed(part)]
            assert kinds[0] == "synced"
            assert sorted(kinds) == ["auth.expiring", "synced", "synced", "synced"]

    go(test())


# --- one turn -------------------------------------------------------------------------------------


def test_a_message_posted_for_a_stream_is_answered_by_the_frames_of_its_turn_alone(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_client(node, user) as client, a_client(node, user) as other:
            conversation = await a_conversation(client)
            _, gate = await shown(node, other)  # another turn of the same user runs meanwhile
            path = f"/api/chat/conversations/{conversation}/messages"
            node.simulator.script(Behaviour(text=TEXT), Behaviour(text="Again."), match="[streamed]")

            await client.stream("POST", path, json_body={"content": "[streamed]"})
            release(node, gate)
            await client.wait_end()

            frames = [each.frame for each in client.recording.heard]
            assert client.headers["content-type"].startswith("text/event-stream")
            assert types(frames) == TURN
            assert {frame["conversation"] for frame in frames if "conversation" in frame} == {conversation}
            assert frames[-1]["message"]["content"] == TEXT
            mark = client.mark()
            await client.stream("POST", f"{path}/{frames[-1]['message']['id']}/regenerate")
            await client.wait_end()
            again = [each.frame for each in client.recording.heard[mark:]]
            assert types(again) == TURN[1:]
            assert again[-1]["message"]["content"] == "Again."

    go(test())


def test_who_leaves_a_turns_stream_early_stops_nothing(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            conversation, gate = await a_conversation(client), new_uuid()
            node.simulator.script(Behaviour(tokens=(TEXT, " The end."), gate=gate, gate_at=1), match=gate)
            path = f"/api/chat/conversations/{conversation}/messages"
            await client.stream("POST", path, json_body={"content": f"[{gate}]"})
            started = await client.wait_for(of_type("generation.started"))
            await client.cut()
            release(node, gate)

            await client.stream("GET", f"/api/chat/generations/{started['generation']}/events")
            finished = await client.wait_for(of_type("generation.finished"))
            assert (finished["status"], finished["message"]["content"]) == ("completed", f"{TEXT} The end.")

    go(test())


def test_what_is_refused_is_a_problem_and_no_stream(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            conversation = await a_conversation(client)
            for where, body, status, code in (
                (conversation, {"content": " "}, 400, "VALIDATION_ERROR"),
                (new_uuid(), {"content": "hi"}, 404, "NOT_FOUND"),
                (conversation, {"content": "x" * 4001}, 400, "MESSAGE_TOO_LONG"),
            ):
                with pytest.raises(StreamRefusedError) as refused:
                    await client.stream("POST", f"/api/chat/conversations/{where}/messages", json_body=body)
                assert (refused.value.status, refused.value.problem["code"]) == (status, code)

    go(test())


# --- one generation -------------------------------------------------------------------------------


def test_a_generation_is_followed_from_the_code_point_given_to_its_end(node: RunningNode):
    async def test() -> None:
        async with a_client(node) as client:
            generation, gate = await shown(node, client)
            for at, attempt, begins in ((0, 1, 0), (7, 1, 7), (8, None, 8), (99, 1, 0)):
                mark = client.mark()
                query = {"at": str(at)} | ({"attempt": str(attempt)} if attempt else {})
                await client.stream("GET", f"/api/chat/generations/{generation}/events", params=query)
                delta = await client.wait_for(of_type("delta"), since=mark)
                assert client.recording.heard[mark].frame["type"] == "generation.state"
                assert (delta["at"], delta["text"]) == (begins, TEXT[begins:])
            release(node, gate)
            await client.wait_end()

            finished = client.recording.heard[-1].frame
            assert (finished["type"], finished["generation"]) == ("generation.finished", generation)

    go(test())


def test_a_generation_that_has_ended_is_that_event_alone_with_its_position_while_the_log_has_it(
    node: RunningNode, redis_url: str
):
    async def test() -> None:
        async with a_client(node) as client:
            generation, gate = await shown(node, client)
            await client.connect()
            release(node, gate)
            logged = await client.wait_for(of_type("generation.finished"))
            path = f"/api/chat/generations/{generation}/events?at=3"

            (event,) = await events_of(client, path, "generation.finished")
            with redis.Redis.from_url(redis_url, socket_timeout=5.0) as store:
                store.delete(*store.scan_iter(match=f"*{generation}*", count=1000))
            (later,) = await events_of(client, path, "generation.finished")

            ended, rebuilt = json.loads(event.data), json.loads(later.data)
            assert event.id == ended["position"] == logged["position"]
            assert ended["message"] == logged["message"]
            assert later.id is None
            assert "position" not in rebuilt
            assert rebuilt["message"] == logged["message"]

    go(test())


def test_a_reader_that_does_not_read_is_ended_in_time_and_is_no_error_of_ours(
    services: EmbeddedServices, database: Database, caplog: pytest.LogCaptureFixture
):
    async def go() -> None:
        caplog.set_level(logging.INFO, logger="server")
        async with running_node(services, database, slow_reader_seconds=0.5) as running:
            client = await running.client()
            user = client.recording.user
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.connect(("127.0.0.1", running.port))
                token = token_for(user).encode()
                slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % token)
                running.simulator.script(Behaviour(tokens=("all of it, " * 5000,) * 120))
                await client.send("message.send", content="much", client_message_id=new_uuid())
                await client.wait_for(of_type("generation.finished"), 60.0)
                told = "a reader of a stream cannot keep up"
                assert await eventually(lambda: told in caplog.text, 60.0)
                slow.settimeout(30.0)
                read = await asyncio.to_thread(lambda: b"".join(iter(lambda: slow.recv(1 << 16), b"")))
            event, data = read.decode().split("\n\n")[-2].split("\n")[-2:]
            assert event.endswith("event: error")
            assert json.loads(data.removeprefix("data: "))["code"] == "unavailable"
            assert read.endswith(b"\r\n0\r\n\r\n")
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []

    asyncio.run(go())
