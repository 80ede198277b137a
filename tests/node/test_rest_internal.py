"""What other services may do to a user: erase, export, void tokens; each leaves its trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
import redis

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.node.rest import AS_SERVICE, begin, begin_endless, client, fields, problem, say, serving, until
from tests.running import RunningNode, new_uuid, running_node
from tests.scripted.database_cable import DatabaseCable
from tests.scripted.sse_client import SseClient
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

NOTHING_LEFT = {"conversations": 0, "messages": 0, "generations": 0, "usage": 0, "outbox": 0}


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, trusted_proxies=("127.0.0.1",)) as running:
        yield running


@pytest.fixture
def service(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, **AS_SERVICE, **{"X-Forwarded-For": "192.0.2.9"}) as internal:
        yield internal


def rows(database: Database, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(database.admin_url, timeout=10)
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def keys_of(redis_url: str, user: str) -> set[str]:
    with redis.Redis.from_url(redis_url, socket_timeout=5.0, decode_responses=True) as store:
        return set(store.scan_iter(match=f"chat:{{{user}}}:*", count=1000))


def audited(database: Database, user: str) -> list[tuple[str, str, str | None]]:
    found = rows(
        database, "SELECT action, actor, origin FROM chat.audit WHERE user_id = $1::uuid ORDER BY id", user
    )
    return [(row["action"], row["actor"], row["origin"]) for row in found]


# --- erasing ----------------------------------------------------------------------------------


def test_an_erased_user_leaves_no_row_and_no_key_but_what_keeps_them_out(
    node: RunningNode, service: httpx.Client, redis_url: str
):
    user, other = new_uuid(), new_uuid()
    with client(node, user) as api, client(node, other) as others:
        for each in (api, others):
            say(node, each, begin(each, title="A canary in a title"))
        before = others.get("/conversations").json()

        erased = service.delete(f"/internal/users/{user}")
        again = service.delete(f"/internal/users/{user}")

        assert erased.status_code == again.status_code == 200
        counts = erased.json()
        assert counts.pop("user_id") == user
        assert counts.pop("outbox") >= 0  # what was told already is not there any more
        assert counts == {"conversations": 1, "messages": 2, "generations": 1, "usage": 1}
        assert again.json() == {"user_id": user, **NOTHING_LEFT}
        for table in ("conversations", "generations", "usage_tracking", "outbox"):
            assert rows(node.database, f"SELECT * FROM chat.{table} WHERE user_id = $1::uuid", user) == []
        assert keys_of(redis_url, user) <= {f"chat:{{{user}}}:revoked", f"chat:{{{user}}}:places"}
        assert others.get("/conversations").json() == before
    trail = audited(node.database, user)
    assert trail[-2:] == [("user.erase", "internal", "192.0.2.9")] * 2


def test_erasing_stops_what_runs_and_closes_every_door(node: RunningNode, redis_url: str):
    user = new_uuid()
    token = token_for(user)

    async def go() -> None:
        socket, stream = RecordingClient(token, user=user), SseClient(node.base, token, user=user)
        try:
            await socket.connect(node.ws_url)
            await stream.connect()
            with client(node, user) as api:
                begin_endless(node, api, begin(api))

            async with node.http(None, **AS_SERVICE) as internal:
                erased = await internal.delete(f"/api/chat/internal/users/{user}")
            assert erased.json()["generations"] == 1

            assert await socket.wait_end() == 4005
            await stream.wait_end()
            assert stream.recording.heard[-1].frame["code"] == "forbidden"
        finally:
            await socket.cut()
            await stream.close()

    asyncio.run(go())
    assert until(lambda: node.simulator.calls()[-1].state == "aborted")
    assert until(lambda: not rows_of(node.database, user))
    assert keys_of(redis_url, user) <= {f"chat:{{{user}}}:revoked", f"chat:{{{user}}}:places"}


def rows_of(database: Database, user: str) -> list[dict[str, Any]]:
    return [
        row
        for table in ("conversations", "generations", "usage_tracking", "outbox")
        for row in rows(database, f"SELECT id FROM chat.{table} WHERE user_id = $1::uuid", user)
    ]


def test_an_erased_user_stays_out_also_with_a_newer_token(node: RunningNode, service: httpx.Client):
    user = new_uuid()
    service.delete(f"/internal/users/{user}")

    with client(node, Authorization=f"Bearer {token_for(user, iat=4_000_000_000)}") as later:
        problem(later.post("/conversations", json={}), 404, "NOT_FOUND")
        assert later.get("/conversations").json()["total"] == 0
    assert rows_of(node.database, user) == []


def test_an_erasure_that_redis_broke_off_goes_on_when_asked_again(
    services: EmbeddedServices, database: Database, redis_url: str
):
    user = new_uuid()

    async def go() -> None:
        # any server's cable will do
        async with (
            DatabaseCable(redis_url) as cable,
            running_node(services, database, redis_url=cable.url) as running,
            running.http(None, **AS_SERVICE) as service,
        ):
            async with running.http(user) as api:
                made = (await api.post("/conversations", json={})).json()["id"]
                await api.post(f"/conversations/{made}/messages", json={"content": "hi"})
            cable.unplug()
            problem(await service.delete(f"/internal/users/{user}"), 503, "UNAVAILABLE")
            problem(await service.post(f"/internal/users/{user}/revoke"), 503, "UNAVAILABLE")
            assert keys_of(redis_url, user)
            cable.plug()

            async def erased() -> bool:
                return (await service.delete(f"/internal/users/{user}")).status_code == 200

            assert await eventually(erased)

    asyncio.run(go())
    assert keys_of(redis_url, user) <= {f"chat:{{{user}}}:revoked", f"chat:{{{user}}}:places"}
    assert rows_of(database, user) == []


# --- exporting --------------------------------------------------------------------------------


def test_an_export_has_everything_a_line_each_and_nobody_elses(node: RunningNode, service: httpx.Client):
    user, other = new_uuid(), new_uuid()
    with client(node, user) as api, client(node, other) as others:
        kept, deleted = begin(api, title="Kept"), begin(api, title="Deleted")
        turn = say(node, api, kept, "The answer.", content="The question?")
        api.delete(f"/conversations/{deleted}")
        say(node, others, begin(others), content="Not mine")

    export = service.get(f"/internal/users/{user}/export")

    assert export.status_code == 200
    assert export.headers["content-type"] == "application/x-ndjson"
    assert export.headers["cache-control"] == "no-store"
    lines = [json.loads(line) for line in export.text.splitlines()]
    assert lines[0] == {"kind": "user", "id": user}
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_kind.setdefault(line["kind"], []).append(line)
    assert {each["title"] for each in by_kind["conversation"]} == {"Kept", "Deleted"}
    assert [each["content"] for each in by_kind["message"]] == ["The question?", "The answer."]
    assert [each["id"] for each in by_kind["generation"]] == [turn["generation"]]
    assert len(by_kind["usage"]) == 1
    assert "Not mine" not in export.text
    assert audited(node.database, user)[-1] == ("user.export", "internal", "192.0.2.9")


def test_an_export_of_nobody_is_a_line_of_their_id(service: httpx.Client):
    user = new_uuid()

    lines = service.get(f"/internal/users/{user}/export").text.splitlines()

    assert json.loads(lines[0]) == {"kind": "user", "id": user}
    assert {json.loads(line)["kind"] for line in lines[1:]} <= {"audit"}


# --- voiding ----------------------------------------------------------------------------------


def test_a_revocation_is_audited(node: RunningNode, service: httpx.Client):
    user = new_uuid()

    assert service.post(f"/internal/users/{user.upper()}/revoke").status_code == 204

    assert audited(node.database, user) == [("user.revoke", "internal", "192.0.2.9")]


# --- ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", ""), ("GET", "/export"), ("POST", "/revoke")],
)
def test_a_user_is_named_by_a_uuid(service: httpx.Client, method: str, path: str):
    refused = service.request(method, f"/internal/users/42{path}")

    assert fields(problem(refused, 400, "VALIDATION_ERROR")) == {"user_id"}


# --- what a user does is audited too ----------------------------------------------------------


def test_what_a_user_changes_is_audited_with_where_from_and_without_content(node: RunningNode):
    user = new_uuid()
    node.simulator.script(Behaviour(text="canary answer"), match="canary question")
    with client(node, user, **{"X-Forwarded-For": "203.0.113.7, 127.0.0.1"}) as api:
        conversation = begin(api, title="canary title")
        api.put(f"/conversations/{conversation}", json={"title": "canary title 2"})
        api.post(f"/conversations/{conversation}/messages", json={"content": "canary question"})
        api.delete(f"/conversations/{conversation}")

    trail = audited(node.database, user)

    assert trail == [
        (action, "user", "203.0.113.7")
        for action in ("conversation.create", "conversation.update", "message.send", "conversation.delete")
    ]
    whole = str(rows(node.database, "SELECT * FROM chat.audit WHERE user_id = $1::uuid", user))
    assert "canary" not in whole
