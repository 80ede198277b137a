"""Somebody finishes an assessment (demo.py, finishing.py): the platform's doors, in the platform's order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import jwt
import pytest

from server.embedded.neighbours.doors import Broker
from server.embedded.neighbours.http import Request, Response, answer, serve
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.neighbours.people import NAMES
from tests.scripted.waiting import eventually

SECRET = "a secret of at least thirty-two bytes"
USER = "11111111-1111-4111-8111-111111111111"


@dataclass
class Chat:
    """What a chat service is told, and what the archive showed at that moment; it may be away at first."""

    neighbours: Neighbours
    url: str = ""
    away: int = 0
    refuses: bool = False
    told: list[tuple[str, Any, bool]] = field(default_factory=list)

    async def respond(self, request: Request) -> Response | None:
        assert request.headers["x-internal-service"] == "true"
        assert request.headers["x-service-key"] == self.neighbours.service_key
        if self.away:
            self.away -= 1
            return answer({}, 503)
        body = request.json()
        self.told.append((request.path, body, body["assessment_id"] in self.neighbours.world.results))
        return answer({}, 404 if self.refuses else 202)

    def steps(self) -> list[str]:
        return [body.get("stage", path) for path, body, _ in self.told]


@contextlib.asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[tuple[Neighbours, Chat, httpx.AsyncClient]]:
    async with Neighbours(pause_seconds=0, **options) as neighbours:
        chat = Chat(neighbours)
        server = await asyncio.start_server(
            lambda reader, writer: serve(reader, writer, chat.respond), "127.0.0.1", 0
        )
        chat.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        key = {"X-Internal-Service": "true", "X-Service-Key": neighbours.service_key}
        try:
            async with httpx.AsyncClient(
                base_url=neighbours.url, headers=key, timeout=10, trust_env=False
            ) as client:
                yield neighbours, chat, client
        finally:
            server.close()


async def finish(chat: Chat, client: httpx.AsyncClient, **more: Any) -> dict[str, str]:
    response = await client.post("/demo/assessments", json={"user": USER, "chat_url": chat.url, **more})
    assert response.status_code == 202, response.text
    data: dict[str, str] = response.json()["data"]
    return data


def test_without_a_broker_every_step_is_told_by_rest_and_the_result_is_there_before_its_end_is_told():
    async def act() -> None:
        async with stage() as (neighbours, chat, client):
            job = await finish(chat, client, language="en")
            await eventually(lambda: len(chat.told) == 4, what="every step is told")
            assert chat.steps() == [
                "assessment_submitted",
                "analysis_started",
                "analysis_complete",
                "/api/chat/conversations/auto-initialize",
            ]
            assert [archived for _, _, archived in chat.told] == [False, False, True, True]
            for _, body, _ in chat.told:
                assert (body["user_id"], body["assessment_id"]) == (USER, job["resultId"])
            result = (await client.get(f"/archive/results/{job['resultId']}")).json()["data"]
            assert (result["user_id"], result["chatbot_id"]) == (USER, None)
            assert result["test_result"]["archetype"].startswith("The ")
            status = (await client.get(f"/assessment/status/{job['jobId']}")).json()["data"]
            assert (status["status"], status["resultId"]) == ("completed", job["resultId"])
            assert neighbours.world.profiles[USER]["profile"]["full_name"]

    asyncio.run(act())


def test_a_chat_service_that_is_away_for_a_moment_is_told_all_the_same():
    async def act() -> None:
        async with stage() as (_, chat, client):
            chat.away = 1
            await finish(chat, client)
            await eventually(lambda: len(chat.told) == 4, what="every step is told")
            assert len(set(chat.steps())) == 4

    asyncio.run(act())


def test_a_chat_service_that_refuses_leaves_a_failed_job_and_is_told_nothing_more():
    async def act() -> None:
        async with stage() as (neighbours, chat, client):
            chat.refuses = True
            job = (await finish(chat, client))["jobId"]
            await eventually(lambda: neighbours.world.jobs[job]["status"] == "failed", what="the job failed")
            assert chat.steps() == ["assessment_submitted"]
            assert neighbours.world.results == {}

    asyncio.run(act())


@pytest.mark.node
def test_with_a_broker_the_worker_publishes_its_own_events(rabbitmq_url: str):
    async def act() -> None:
        exchange = f"events-of-{Path(__file__).stem}-{id(act)}"
        connection = await aio_pika.connect(rabbitmq_url)
        async with connection, stage(broker=Broker(rabbitmq_url, exchange=exchange)) as (_, chat, client):
            channel = await connection.channel()
            topic = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(topic, "analysis.*")
            job = await finish(chat, client)
            published: list[aio_pika.abc.AbstractIncomingMessage] = []
            async with asyncio.timeout(20), queue.iterator() as messages:
                async for message in messages:
                    published.append(message)
                    if len(published) == 2:
                        break
            await topic.delete()
            assert [message.routing_key for message in published] == [
                "analysis.started",
                "analysis.completed",
            ]
            for message in published:
                assert job["resultId"] in message.body.decode()
            assert chat.steps() == ["assessment_submitted"]

    asyncio.run(act())


def test_only_a_service_may_ask_and_only_for_somebody():
    async def act() -> None:
        async with stage() as (neighbours, chat, client):
            good = {"user": USER, "chat_url": chat.url}
            wrong = {"X-Service-Key": "wrong"}
            assert (await client.post("/demo/assessments", json=good, headers=wrong)).status_code == 401
            bad: Any
            for bad in (
                None,
                [],
                {},
                good | {"user": "x"},
                good | {"chat_url": "file:///x"},
                good | {"language": "fr"},
                good | {"more": 1},
            ):
                assert (await client.post("/demo/assessments", json=bad)).status_code == 400, bad
            assert (await client.get("/demo/assessments")).status_code == 404
            assert neighbours.world.jobs == {}

    asyncio.run(act())


def test_where_it_is_populated_whoever_has_a_token_has_an_account_that_stays():
    async def act() -> None:
        token = jwt.encode({"id": USER, "exp": 2**40}, SECRET, algorithm="HS256")
        headers = {"Authorization": f"Bearer {token}"}
        async with stage(populated=True, jwt_secret=SECRET) as (_, __, client):
            first, again = [(await client.get("/auth/profile", headers=headers)).json() for _ in range(2)]
            assert first["data"]["user"]["id"] == USER
            assert first["data"]["user"]["profile"]["full_name"] in NAMES
            assert first == again
            assert (await client.get("/auth/profile")).status_code == 401

    asyncio.run(act())


def test_what_they_know_outlives_them_where_they_have_a_file(tmp_path: Path):
    data = tmp_path / "neighbours.json"

    async def act() -> None:
        async with stage(data=data) as (_, chat, client):
            job = await finish(chat, client)
            await eventually(lambda: len(chat.told) == 4, what="every step is told")
        async with stage(data=data) as (neighbours, _, client):
            result = (await client.get(f"/archive/results/{job['resultId']}")).json()["data"]
            assert result["user_id"] == USER
            assert set(neighbours.world.jobs) == {job["jobId"]}

    asyncio.run(act())
    assert data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"results": 1}'])
def test_a_file_that_is_not_theirs_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    data = tmp_path / "neighbours.json"
    data.write_bytes(content)

    async def act() -> None:
        async with Neighbours(data=data):
            pass

    with pytest.raises(ValueError):
        asyncio.run(act())
    assert data.read_bytes() == content
