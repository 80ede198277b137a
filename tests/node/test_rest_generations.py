"""Generations over REST: where one is, how it ended, following it from anywhere; places of streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from server.embedded.services import EmbeddedServices
from tests.node.rest import begin, begin_endless, client, fields, problem, release, say, serving, until
from tests.running import MODELS, RunningNode, new_uuid, running_node
from tests.scripted.event_stream import EventStreamDecoder
from tests.scripted.waiting import eventually
from tests.services import Database


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database) as running:
        yield running


@pytest.fixture
def api(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, new_uuid()) as mine:
        yield mine


def frames_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    return [json.loads(each.data) for each in EventStreamDecoder().feed(response.content) if each.data]


def test_a_running_one_tells_where_it_is_and_an_ended_one_how_it_ended(node: RunningNode, api: httpx.Client):
    conversation = begin(api)
    generation = begin_endless(node, api, conversation)

    running = api.get(f"/generations/{generation}").json()
    assert running.keys() == {
        "generation",
        "conversation",
        "message",
        "reply_to",
        "model",
        "attempt",
        "estimated_response_ms",
        "is_free_model",
        "length",
        "elapsed_ms",
        "status",
    }
    assert (running["status"], running["conversation"], running["model"]) == (
        "running",
        conversation,
        MODELS[0],
    )

    stopped = [api.post(f"/generations/{generation}/stop") for _ in range(3)]
    assert [(each.status_code, each.json()) for each in stopped] == [(202, {"generation": generation})] * 3

    ended = until(lambda: _ended(api, generation))
    assert ended["message"]["id"] == running["message"]
    assert ended["length"] == len(ended["message"]["content"]) == len("Two words")
    assert ended["persisted"] is True
    assert "type" not in ended
    assert "position" not in ended


def test_one_that_the_store_holds_nothing_of_tells_what_the_database_knows(
    node: RunningNode, api: httpx.Client, redis_url: str
):
    conversation = begin(api)
    generation = begin_endless(node, api, conversation)
    running = api.get(f"/generations/{generation}").json()
    with redis.Redis.from_url(redis_url, socket_timeout=5.0) as store:
        (state,) = store.scan_iter(match=f"*:gen:{generation}")
        store.delete(state)

        accepted = api.get(f"/generations/{generation}").json()

    same = running.keys() - {"status", "length", "elapsed_ms"}
    assert {name: accepted[name] for name in same} == {name: running[name] for name in same}
    assert (accepted["status"], accepted["length"]) == ("accepted", 0)
    assert accepted["elapsed_ms"] >= 0
    api.post(f"/generations/{generation}/stop")


def _ended(api: httpx.Client, generation: str) -> dict[str, Any]:
    body: dict[str, Any] = api.get(f"/generations/{generation}").json()
    return body if body["status"] != "running" else {}


@pytest.mark.parametrize(
    ("at", "shown"), [("", "Two words and more."), ("?at=4", "words and more."), ("?at=4000", None)]
)
def test_one_is_followed_from_wherever_the_client_was(
    node: RunningNode, api: httpx.Client, at: str, shown: str | None
):
    generation = begin_endless(node, api, begin(api))
    gate: str | None = next(c.waiting_at for c in reversed(node.simulator.calls()) if c.waiting_at)
    collected: list[bytes] = []

    with api.stream("GET", f"/generations/{generation}/events{at}") as stream:
        for part in stream.iter_bytes():
            collected.append(part)
            if b"generation.state" in b"".join(collected) and gate:
                release(node, gate)
                gate = None
    frames = [json.loads(e.data) for e in EventStreamDecoder().feed(b"".join(collected)) if e.data]

    assert frames[0]["type"] == "generation.state"
    assert frames[-1]["type"] == "generation.finished"
    assert {frame["type"] for frame in frames[1:-1]} <= {"delta", "heartbeat"}
    deltas = [frame for frame in frames if frame["type"] == "delta"]
    if shown is not None:
        assert "".join(frame["text"] for frame in deltas) == shown
    else:
        # what lies beyond the text is nothing anybody holds
        assert deltas[0]["at"] == 0


def test_an_ended_one_is_its_end_alone_also_when_only_the_database_knows(
    node: RunningNode, api: httpx.Client, redis_url: str
):
    turn = say(node, api, begin(api), "The whole answer.")
    generation = turn["generation"]

    fresh = frames_of(api.get(f"/generations/{generation}/events?at=5&attempt=1"))
    with redis.Redis.from_url(redis_url, socket_timeout=5.0) as store:
        store.delete(*store.scan_iter(match=f"*{generation}*", count=1000))
    later = frames_of(api.get(f"/generations/{generation}/events"))
    shown = api.get(f"/generations/{generation}").json()

    assert [frame["type"] for frame in fresh] == [frame["type"] for frame in later] == ["generation.finished"]
    assert fresh[0]["message"] == later[0]["message"]
    assert later[0]["message"]["content"] == shown["message"]["content"] == "The whole answer."


@pytest.mark.parametrize(
    ("query", "field"),
    [("at=-1", "at"), ("at=x", "at"), ("at=1.5", "at"), ("attempt=-1", "attempt"), ("attempt=", "attempt")],
)
def test_a_cursor_that_is_none_is_refused(api: httpx.Client, query: str, field: str):
    refused = api.get(f"/generations/{new_uuid()}/events?{query}")

    assert fields(problem(refused, 400, "VALIDATION_ERROR")) == {field}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/stop")])
def test_one_that_is_none_is_not_found(api: httpx.Client, method: str, path: str):
    problem(api.request(method, f"/generations/{new_uuid()}{path}"), 404, "NOT_FOUND")
    malformed = problem(api.request(method, f"/generations/x{path}"), 400, "VALIDATION_ERROR")
    assert fields(malformed) == {"generation"}


@pytest.mark.parametrize(
    "texts", ["x", "a:b:c", f"{'0' * 36}:1:1", "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e0a:1:-1"]
)
def test_texts_that_are_none_are_refused(api: httpx.Client, texts: str):
    refused = api.get("/events", params={"texts": texts})

    assert fields(problem(refused, 400, "VALIDATION_ERROR")) == {"texts"}


def test_a_stream_cut_at_once_gives_its_place_back(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database, max_sessions_per_user=2) as running:
            user = new_uuid()
            for _ in range(12):
                _, writer = await asyncio.open_connection("127.0.0.1", running.port)
                head = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.sse(user).token}\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
                writer.transport.abort()
            async with running.http() as anybody:

                async def all_were_served() -> bool:
                    text = (await anybody.get("/metrics")).text
                    served = re.findall(r'_count{method="GET",route="/events",status_code="\d+"} (\S+)', text)
                    return sum(map(float, served)) == 12

                assert await eventually(all_were_served)
            assert running.node.front.desk.hub.readers == 0
            assert len(running.node.front.desk.sessions) == 0
            for _ in range(2):
                await running.sse(user).connect()

    asyncio.run(go())
