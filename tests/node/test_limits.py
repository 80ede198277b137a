"""Limits: counted over all nodes and doors, told on every answer, given back by what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.node.rest import AS_SERVICE, problem
from tests.running import MODELS, RunningNode, new_uuid, of_type, running_node
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.services import Database, own_services

BASE = "/api/chat"
PAID = "openai/gpt-4o-mini"


@contextlib.asynccontextmanager
async def two_nodes(
    services: EmbeddedServices, database: Database, **settings: Any
) -> AsyncIterator[tuple[RunningNode, RunningNode]]:
    async with (
        running_node(services, database, **settings) as one,
        running_node(services, database, simulator=one.simulator, **settings) as two,
    ):
        yield one, two


def told(response: httpx.Response) -> tuple[int, int]:
    """The limit and what is left of it."""
    return int(response.headers["ratelimit-limit"]), int(response.headers["ratelimit-remaining"])


def an_address() -> str:
    return f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"


async def begun(api: httpx.AsyncClient) -> str:
    made = await api.post(f"{BASE}/conversations", json={})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


# --- requests ---------------------------------------------------------------------------------


def test_requests_are_counted_over_nodes_prefixes_and_outcomes(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with two_nodes(services, database, api_rate_limit_per_15_minutes=6) as (one, two):
            user = new_uuid()
            async with one.http(user) as here, two.http(user) as there:
                answers = [
                    await here.get("/api/chat/conversations"),
                    await there.get("/api/chatbot/conversations"),
                    await here.get(f"/conversations/{new_uuid()}"),
                    await there.get("/conversations?limit=0"),
                    await here.post("/conversations", content=b"{"),
                    await there.get("/usage/summary"),
                ]
                assert [each.status_code for each in answers] == [200, 200, 404, 400, 400, 200]
                assert [told(each) for each in answers] == [(6, left) for left in (5, 4, 3, 2, 1, 0)]
                for each in answers:
                    assert 0 < int(each.headers["ratelimit-reset"]) <= 16 * 60
                    assert each.headers["ratelimit-policy"] == '6;w=900;comment="requests"'

                for api in (here, there):
                    refused = await api.get("/api/chat/conversations")
                    body = problem(refused, 429, "RATE_LIMITED")
                    assert body["retryAfter"] == int(refused.headers["retry-after"]) > 0
                    assert told(refused) == (6, 0)

                for path in ("/health/live", "/health/ready", "/health", "/metrics"):
                    exempt = await here.get(path)
                    assert exempt.status_code == 200
                    assert "ratelimit-limit" not in exempt.headers
                metrics = (await here.get("/metrics")).text
                assert 'rate_limited_total{limit="requests"} 1.0' in metrics
            async with one.http(new_uuid()) as other:
                assert told(await other.get("/conversations")) == (6, 5)

    asyncio.run(go())


def test_an_event_stream_is_a_request_and_is_refused_as_one(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database, api_rate_limit_per_15_minutes=1) as running:
            stream = running.sse()
            await stream.connect()
            assert stream.headers["ratelimit-remaining"] == "0"
            with pytest.raises(StreamRefusedError) as refused:
                await stream.connect()
            assert refused.value.problem["code"] == "RATE_LIMITED"

    asyncio.run(go())


def test_where_nobody_is_signed_in_the_address_counts(services: EmbeddedServices, database: Database):
    async def go() -> None:
        limits: dict[str, Any] = {"api_rate_limit_per_15_minutes": 3, "trusted_proxies": ("127.0.0.0/8",)}
        async with running_node(services, database, **limits) as running, running.http() as anybody:

            async def guess(address: str, path: str = "/conversations") -> httpx.Response:
                token = {"Authorization": "Bearer guessed", "X-Forwarded-For": f"198.51.100.1, {address}"}
                return await anybody.get(path, headers=token)

            home, elsewhere = an_address(), an_address()
            tried = [await guess(home) for _ in range(5)]
            assert [each.status_code for each in tried] == [401, 401, 401, 429, 429]
            assert told(tried[0]) == (3, 2)
            # the same site, at another of its many addresses
            assert (await guess(home.replace("::1", "::2:3"))).status_code == 429
            assert (await guess(home, "/docs")).status_code == 429
            assert (await guess(elsewhere, "/docs")).status_code == 200
            # whoever is signed in there is not held to it, nor is a service
            signed_in = {"Authorization": f"Bearer {token_for(new_uuid())}", "X-Forwarded-For": home}
            assert (await anybody.get("/conversations", headers=signed_in)).status_code == 200
            service = {**AS_SERVICE, "X-Forwarded-For": home}
            export = await anybody.get(f"/internal/users/{new_uuid()}/export", headers=service)
            assert export.status_code == 200

    asyncio.run(go())


def test_nobody_untrusted_says_where_they_come_from(
    services: EmbeddedServices, database: Database, clean_redis_url: str
):
    async def go() -> None:
        async with (
            running_node(services, database, api_rate_limit_per_15_minutes=2) as running,
            running.http() as anybody,
        ):
            headers = [{"X-Forwarded-For": an_address()} for _ in range(3)]
            tried = [await anybody.get("/conversations", headers=each) for each in headers]
            assert [each.status_code for each in tried] == [401, 401, 429]

    asyncio.run(go())


# --- messages ---------------------------------------------------------------------------------


def test_two_nodes_and_three_doors_never_admit_more_messages_than_the_limit(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with two_nodes(services, database, rate_limit_messages_per_hour=10) as (one, two):
            user = new_uuid()
            async with one.http(user) as api:
                places = [await begun(api) for _ in range(24)]
            sockets = [await node.client(user) for node in (one, two)]

            async def by_rest(node: RunningNode, place: str) -> str:
                async with node.http(user) as api:
                    sent = await api.post(
                        f"/conversations/{place}/messages",
                        json={"content": "hi"},
                        headers={"Prefer": "respond-async"},
                    )
                return "ok" if sent.status_code == 202 else str(sent.json()["code"])

            async def by_stream(node: RunningNode, place: str) -> str:
                stream = node.sse(user)
                try:
                    await stream.stream(
                        "POST", f"/api/chat/conversations/{place}/messages", json_body={"content": "hi"}
                    )
                except StreamRefusedError as refused:
                    return str(refused.problem["code"])
                return "ok"

            async def by_socket(number: int, place: str) -> str:
                answer = await sockets[number].send(
                    "message.send", content="hi", conversation=place, client_message_id=new_uuid()
                )
                return "ok" if answer["type"] == "ack" else str(answer["code"]).upper()

            outcomes = await asyncio.gather(
                *(by_rest(node, place) for node, place in zip((one, two) * 4, places[:8], strict=True)),
                *(by_stream(node, place) for node, place in zip((one, two) * 4, places[8:16], strict=True)),
                *(by_socket(number, place) for number, place in zip((0, 1) * 4, places[16:], strict=True)),
            )

            assert sorted(outcomes) == ["RATE_LIMITED"] * 14 + ["ok"] * 10
            rows = await one.rows()
            assert sum(row["sender_type"] == "user" for row in rows["messages"]) == 10
            await one.settled()

    asyncio.run(go())


def test_what_is_refused_or_was_said_before_uses_nothing_up(services: EmbeddedServices, database: Database):
    async def go() -> None:
        limits: dict[str, Any] = {"rate_limit_messages_per_hour": 3, "max_generations_per_user": 1}
        async with running_node(services, database, **limits) as running, running.http(new_uuid()) as api:
            place, other = await begun(api), await begun(api)
            url = f"/conversations/{place}/messages"

            async def send(to: str = url, key: str | None = None, **body: Any) -> httpx.Response:
                headers = {"Prefer": "respond-async"} | ({"Idempotency-Key": key} if key else {})
                return await api.post(to, json={"content": "hi", **body}, headers=headers)

            running.simulator.script(Behaviour(text="Never.", gate="never"))
            first = await send(key="the first")
            assert told(first) == (3, 2)
            refusals = [
                (await send(key="another"), 409, "GENERATION_IN_PROGRESS", (3, 2)),
                (await send(f"/conversations/{other}/messages"), 429, "TOO_MANY_GENERATIONS", (3, 2)),
                (await send(f"/conversations/{new_uuid()}/messages"), 404, "NOT_FOUND", (3, 2)),
                (await send(parent_message_id=new_uuid()), 404, "NOT_FOUND", (3, 2)),
                (await send(key="the first", content_type="text", model=None), 202, "", (3, 2)),
                (await send(content=" "), 400, "VALIDATION_ERROR", (0, 0)),
            ]
            for refused, status, code, left in refusals:
                assert told(refused) == left, refused.text
                if code:
                    body = problem(refused, status, code)
                    assert ("retryAfter" in body) == (status == 429)
                else:
                    assert refused.status_code == status
            await api.post(f"/generations/{first.json()['generation']}/stop")
            await running.settled()

            again = await api.post(f"{url}/{first.json()['user_message']['id']}/regenerate")
            assert told(again) == (3, 1)  # a message like any other
            assert told(await api.post(url, json={"content": "hi"})) == (3, 0)
            over = await send()
            body = problem(over, 429, "RATE_LIMITED")
            assert over.headers["ratelimit-policy"] == '3;w=3600;comment="messages"'
            assert 0 < body["retryAfter"] <= 3660
            known = await send(key="the first")
            assert known.status_code == 202
            assert (await api.get(url)).status_code == 200  # reading is another limit

    asyncio.run(go())


def test_the_wire_says_when_to_come_again(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database, rate_limit_messages_per_hour=1) as running:
            client = await running.client()
            sent: dict[str, Any] = {"content": "hi", "client_message_id": new_uuid()}
            ack = await client.send("message.send", **sent)
            await client.wait_for(of_type("generation.finished"))

            over = await client.send("message.send", content="more", client_message_id=new_uuid())
            known = await client.send("message.send", **sent)

            assert (over["code"], over["retryable"]) == ("rate_limited", True)
            assert 0 < over["retry_after_ms"] <= 3_660_000
            assert (known["type"], known["duplicate"], known["message"]) == ("ack", True, ack["message"])

    asyncio.run(go())


# --- conversations, free models ---------------------------------------------------------------


def test_conversations_of_a_day_are_counted_however_they_begin(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, rate_limit_conversations_per_day=3) as running:
            user = new_uuid()
            client = await running.client(user)
            async with running.http(user) as api:
                made = [await api.post("/conversations", json={}) for _ in range(2)]
                assert [told(each) for each in made] == [(3, 2), (3, 1)]
                assert made[0].headers["ratelimit-policy"] == '3;w=86400;comment="conversations"'
                refused = await api.post("/conversations", json={"title": ""})
                assert refused.status_code == 400

                ack = await client.send("message.send", content="hi", client_message_id=new_uuid())
                assert ack["type"] == "ack"
                over = await client.send("message.send", content="hi", client_message_id=new_uuid())
                assert over["code"] == "rate_limited"
                problem(await api.post("/conversations", json={}), 429, "RATE_LIMITED")
                on = await client.send(
                    "message.send",
                    content="more",
                    conversation=made[0].json()["id"],
                    client_message_id=new_uuid(),
                )
                assert on["type"] == "ack"

    asyncio.run(go())


def test_free_models_have_a_limit_of_their_own_that_paid_ones_do_not_meet(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        limits: dict[str, Any] = {"free_model_rate_limit_per_minute": 2, "premium_models": (PAID,)}
        async with running_node(services, database, **limits) as running:
            premium = {"Authorization": f"Bearer {token_for(new_uuid(), tier='premium')}"}
            async with running.http(**premium) as api:
                await eventually(lambda: not running.node.openrouter.catalogue.is_free(PAID))
                url = f"/conversations/{await begun(api)}/messages"
                free = [await api.post(url, json={"content": "hi", "model": MODELS[0]}) for _ in range(3)]
                assert [each.status_code for each in free] == [200, 200, 429]
                assert free[2].headers["ratelimit-policy"] == '2;w=60;comment="free_model"'
                assert 0 < int(free[2].headers["retry-after"]) <= 61
                paid = await api.post(url, json={"content": "hi", "model": PAID})
                assert (paid.status_code, paid.json()["model"]) == (200, PAID)

    asyncio.run(go())


# --- what is told -----------------------------------------------------------------------------


def test_the_window_nearest_to_its_end_is_the_one_told(services: EmbeddedServices, database: Database):
    async def go() -> None:
        limits: dict[str, Any] = {
            "api_rate_limit_per_15_minutes": 50,
            "rate_limit_messages_per_hour": 20,
            "free_model_rate_limit_per_minute": 30,
            "rate_limit_conversations_per_day": 10,
        }
        async with running_node(services, database, **limits) as running, running.http(new_uuid()) as api:
            made = await api.post("/conversations", json={})
            sent = await api.post(f"/conversations/{made.json()['id']}/messages", json={"content": "hi"})
            read = await api.get("/conversations")
            assert [told(each) for each in (made, sent, read)] == [(10, 9), (20, 19), (50, 47)]

    asyncio.run(go())


def test_a_limit_of_0_is_off_and_shown_as_0(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            user = new_uuid()
            client = await running.client(user)
            welcome = client.recording.of_type("welcome")[0]
            assert welcome["limits"]["max_sessions"] == welcome["limits"]["max_generations"] == 0
            async with running.http(user) as api:
                url = f"/conversations/{await begun(api)}/messages"
                for _ in range(4):
                    sent = await api.post(url, json={"content": "hi"})
                    assert (sent.status_code, told(sent)) == (200, (0, 0))
                    assert sent.headers["ratelimit-reset"] == "0"

    asyncio.run(go())


def test_too_many_streams_are_refused_with_a_time_to_come_again(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with two_nodes(services, database, max_sessions_per_user=2) as (one, two):
            user = new_uuid()
            for node in (one, two):
                await node.sse(user).connect()
            third = SseClient(one.base, token_for(user), user=user)
            with pytest.raises(StreamRefusedError) as refused:
                await third.connect()
            await third.close()
            assert refused.value.status == 429
            assert refused.value.problem["code"] == "TOO_MANY_SESSIONS"
            assert refused.value.problem["retryAfter"] == 30

    asyncio.run(go())


# --- without Redis ----------------------------------------------------------------------------


def test_without_redis_reads_go_on_unlimited_and_sends_are_unavailable(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with own_services(postgres=False) as own:
            limits: dict[str, Any] = {"api_rate_limit_per_15_minutes": 5, "rate_limit_messages_per_hour": 5}
            redis_url = own.urls.redis_url
            async with (
                running_node(services, database, redis_url=redis_url, **limits) as running,
                running.http(new_uuid()) as api,
            ):
                place = await begun(api)
                await own.stop()

                for _ in range(8):
                    read = await api.get(f"/conversations/{place}")
                    assert read.status_code == 200
                    assert "ratelimit-limit" not in read.headers
                for method, path, body in (
                    ("POST", f"/conversations/{place}/messages", {"content": "hi"}),
                    ("POST", "/conversations", {}),
                    ("POST", "/tickets", None),
                    ("DELETE", f"/conversations/{place}", None),
                ):
                    away = await api.request(method, path, json=body)
                    assert problem(away, 503, "UNAVAILABLE")["retryAfter"] > 0
                health = await api.get("/health")
                assert health.status_code == 503
                assert health.json()["dependencies"]["redis"]["status"] == "unhealthy"
                assert health.json()["dependencies"]["database"]["status"] == "healthy"
                assert (await api.get("/health/ready")).status_code == 503
                assert (await api.get("/health/live")).status_code == 200

    asyncio.run(go())
