"""How requests are read and answered, whatever they are about: bodies, methods, prefixes, origins, outages."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.embedded.services import EmbeddedServices
from tests.node.rest import begin, client, problem, say, serving
from tests.running import RunningNode, new_uuid, running_node
from tests.scripted.database_cable import DatabaseCable
from tests.scripted.tokens import token_for
from tests.services import Database

LIMIT = 256 * 1024


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, allowed_origins=("https://atma.example",)) as running:
        yield running


@pytest.fixture(scope="module")
def api(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, new_uuid()) as mine:
        yield mine


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="not JSON"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b'["a"]', id="a list"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b'{"title": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"title": NaN}', id="NaN"),
        pytest.param(b'{"metadata": {"n": 1e999}}', id="a number too great"),
        pytest.param(b'{"metadata": {"n": 18446744073709551616}}', id="a whole number too great"),
        pytest.param(b'{"metadata": {"n": [-9223372036854775809]}}', id="a whole number too small"),
        pytest.param(b'{"title": "\\u0000"}', id="NUL"),
        pytest.param(b'{"title": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"metadata": ' + b'{"a":' * 20 + b"1" + b"}" * 21, id="too deep"),
        pytest.param(b'{"metadata": ' + b"[" * 100_000, id="endlessly deep"),
    ],
)
def test_a_body_that_is_none_is_refused(api: httpx.Client, body: bytes):
    conversation = begin(api)

    refused = api.put(f"/conversations/{conversation}", content=body)

    assert "canary" not in problem(refused, 400, "VALIDATION_ERROR")["detail"]


def test_numbers_at_the_edge_are_kept(api: httpx.Client):
    conversation = begin(api)
    numbers = {"most": 2**64 - 1, "least": -(2**63), "small": 5e-324, "great": 1.7e308}

    changed = api.put(f"/conversations/{conversation}", json={"metadata": numbers})

    assert changed.json()["conversation"]["metadata"] == numbers


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/xml"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind_is_415(api: httpx.Client, headers: dict[str, str]):
    refused = api.post("/conversations", content=b'{"title": "x"}', headers=headers)

    problem(refused, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 201), (b" \t\r\n", 201), (b"\x0b", 400), (b"\x0c\n", 400)]
)
def test_only_what_json_takes_for_white_space_is_an_absent_body(api: httpx.Client, body: bytes, status: int):
    """RFC 8259, 2."""
    answer = api.post("/conversations", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "text/json"])
def test_json_is_json_however_it_is_written(api: httpx.Client, kind: str):
    made = api.post("/conversations", content=b'{"title": "x"}', headers={"Content-Type": kind})

    assert made.status_code == 201


def test_a_body_may_be_256_kib_and_not_a_byte_more(api: httpx.Client):
    empty = json.dumps({"context_data": {"a": ""}}).encode()

    def of_size(size: int) -> bytes:
        return empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')

    assert api.post("/conversations", content=of_size(LIMIT)).status_code == 201
    problem(api.post("/conversations", content=of_size(LIMIT + 1)), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_too_large_is_not_read_to_its_end(node: RunningNode, declared: bool):
    head = [
        "POST /api/chat/conversations HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token_for(new_uuid())}",
        "Content-Type: application/json",
        "Content-Length: 4000000000" if declared else "Transfer-Encoding: chunked",
    ]
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        if not declared:
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            # more than is taken, and never an end: that is read as well, or closing would reset the connection
            for _ in range(40):
                connection.sendall(chunk)
        answer = b""
        while part := connection.recv(65536):
            answer += part

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"PAYLOAD_TOO_LARGE"' in answer


def test_a_body_that_breaks_off_changes_nothing(node: RunningNode, api: httpx.Client):
    before = api.get("/conversations").json()["total"]
    head = f"POST /conversations HTTP/1.1\r\nHost: x\r\n{_authorization(api)}\r\nContent-Length: 50\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"title": ')
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    assert api.get("/conversations").json()["total"] == before


def _authorization(api: httpx.Client) -> str:
    return f"Authorization: {api.headers['authorization']}"


# --- methods and paths ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/conversations", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("DELETE", "/conversations", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/conversations/x", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
        ("PUT", "/usage/summary", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/tickets", {"POST", "OPTIONS"}),
        ("TRACE", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("HEAD", "/events", {"GET", "OPTIONS"}),
        ("PROPFIND", "/conversations", {"GET", "HEAD", "POST", "OPTIONS"}),
    ],
)
def test_a_method_a_path_has_not_is_405_with_those_it_has(
    node: RunningNode, method: str, path: str, allowed: set[str]
):
    with client(node) as nobody:
        refused = nobody.request(method, path)

    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        problem(refused, 405, "METHOD_NOT_ALLOWED")


def test_options_says_what_a_path_has_and_head_is_get_without_a_body(api: httpx.Client):
    conversation = begin(api)

    options = api.options(f"/conversations/{conversation}")
    head = api.head(f"/conversations/{conversation}")

    assert (options.status_code, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PUT")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "path", ["/", "/conversation", "/conversations/", "/conversations//messages", "/ws", "/internal/users"]
)
def test_a_path_that_is_none_is_a_problem_too(api: httpx.Client, path: str):
    problem(api.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize("prefix", ["/api/chat", "/api/chatbot", ""])
def test_every_prefix_answers(node: RunningNode, prefix: str):
    with client(node, new_uuid(), prefix=prefix) as api:
        turn = say(node, api, begin(api))
        assert api.get("/usage/summary").json()["messages_count"] == 2
        assert api.get(f"/generations/{turn['generation']}").json()["status"] == "completed"
        assert api.get("/health/live").json()["status"] == "alive"
        for path in ("/openapi.json", "/asyncapi.json", "/docs", "/docs/wire", "/metrics"):
            assert api.get(path).status_code == 200


# --- origins ----------------------------------------------------------------------------------


def test_pages_of_allowed_origins_may_ask_and_read(api: httpx.Client):
    asking = {
        "Origin": "https://atma.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key, last-event-id, x-request-id",
    }

    preflight = api.options("/conversations", headers=asking)
    read = api.get("/conversations", headers={"Origin": "https://atma.example"})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://atma.example"
    methods = set(preflight.headers["access-control-allow-methods"].split(", "))
    assert methods == {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
    assert read.headers["access-control-allow-origin"] == "https://atma.example"
    exposed = set(read.headers["access-control-expose-headers"].lower().split(", "))
    assert exposed == {
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
    }
    assert "access-control-allow-credentials" not in read.headers


def test_a_page_of_the_own_origin_may_ask_and_read(node: RunningNode, api: httpx.Client):
    own = {"Origin": f"http://127.0.0.1:{node.port}", "Access-Control-Request-Method": "POST"}

    preflight = api.options("/conversations", headers=own)
    read = api.get("/conversations", headers={"Origin": own["Origin"]})

    assert preflight.status_code == 200
    for response in (preflight, read):
        assert response.headers["access-control-allow-origin"] == own["Origin"]
        assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "https://atma.example.evil.example", "null"])
def test_pages_of_other_origins_read_nothing(api: httpx.Client, origin: str):
    asking = {"Origin": origin, "Access-Control-Request-Method": "GET"}

    refused = api.options("/conversations", headers=asking)
    problem(refused, 400, "VALIDATION_ERROR")
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in api.get("/conversations", headers={"Origin": origin}).headers


@pytest.mark.parametrize(
    ("public_url", "base", "origin"),
    [
        ("https://chat.example/", "https://chat.example/api/chat", "https://chat.example"),
        ("https://api.example/api/chatbot", "https://api.example/api/chatbot", "https://api.example"),
    ],
)
def test_links_lead_to_where_clients_reach_the_service_and_its_pages_may_connect(
    services: EmbeddedServices, database: Database, public_url: str, base: str, origin: str
):
    async def go() -> None:
        async with running_node(services, database, public_url=public_url) as running:
            user = new_uuid()
            async with running.http(user) as api:
                made = (await api.post("/conversations", json={})).json()["id"]
                sent = await api.post(
                    f"/conversations/{made}/messages",
                    json={"content": "hi"},
                    headers={"Prefer": "respond-async"},
                )
            assert sent.json()["events"] == f"{base}/generations/{sent.json()['generation']}/events"
            client = await running.client(user, connect=False)
            await client.connect(running.ws_url, headers={"Origin": origin})

    asyncio.run(go())


# --- correlation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("order-5:a_b.c", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ('a"b', False),
        ("a;b", False),
    ],
)
def test_a_sane_request_id_comes_back_and_another_is_replaced(api: httpx.Client, given: str, kept: bool):
    answers = [
        api.get("/conversations", headers={"X-Request-ID": given}),
        api.get("/nowhere", headers={"X-Request-ID": given}),
        api.get("/health/live", headers={"X-Request-ID": given}),
    ]

    for answer in answers:
        assert (answer.headers["x-request-id"] == given) is kept
    assert answers[1].json()["request_id"] == answers[1].headers["x-request-id"]


def test_answers_are_for_the_asker_alone(api: httpx.Client):
    answer = api.get("/conversations")

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- outages ----------------------------------------------------------------------------------


def test_without_postgres_what_needs_it_is_unavailable_and_the_rest_goes_on(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with (
            DatabaseCable(database.app_url) as cable,
            running_node(services, database, database_url=cable.url) as running,
            running.http(new_uuid()) as api,
        ):
            made = (await api.post("/conversations", json={})).json()["id"]
            cable.unplug()

            needing: list[tuple[str, str, Any]] = [
                ("GET", "/conversations", None),
                ("POST", "/conversations", {}),
                ("GET", f"/conversations/{made}", None),
                ("PUT", f"/conversations/{made}", {"title": "x"}),
                ("DELETE", f"/conversations/{made}", None),
                ("GET", f"/conversations/{made}/usage", None),
                ("GET", f"/conversations/{made}/suggestions", None),
                ("GET", f"/conversations/{made}/messages", None),
                ("POST", f"/conversations/{made}/messages", {"content": "hi"}),
                ("GET", f"/generations/{new_uuid()}", None),
                ("GET", "/usage/summary", None),
            ]
            answers = await asyncio.gather(
                *(api.request(method, path, json=body) for method, path, body in needing)
            )
            for away in answers:
                assert problem(away, 503, "UNAVAILABLE")["retryAfter"] > 0
            assert (await api.post("/tickets")).status_code == 201
            assert (await api.get("/health/ready")).status_code == 200
            health = await api.get("/health")
            assert health.status_code == 503
            assert health.json()["dependencies"]["database"]["status"] == "unhealthy"
            assert health.json()["dependencies"]["redis"]["status"] == "healthy"
            cable.plug()

    asyncio.run(go())


def test_a_draining_node_sends_everybody_elsewhere(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running, running.http(new_uuid()) as api:
            made = (await api.post("/conversations", json={})).json()["id"]
            await running.node.drain(0.1)

            send = await api.post(f"/conversations/{made}/messages", json={"content": "hi"})
            problem(send, 503, "DRAINING")
            problem(await api.get("/events"), 503, "DRAINING")
            assert (await api.get("/health/ready")).json() == {"status": "not ready", "reason": "draining"}
            assert (await api.get(f"/conversations/{made}")).status_code == 200
            socket_client = await running.client(connect=False)
            mark = await socket_client.open(running.ws_url)
            assert await socket_client.wait_end() == 1012
            assert socket_client.recording.heard[mark].frame["code"] == "draining"

    asyncio.run(go())


def test_health_full_asks_the_upstream_too(api: httpx.Client):
    plain, full = api.get("/health").json(), api.get("/health?full=true").json()

    assert plain["dependencies"].keys() == {"database", "redis", "rabbitmq"}
    assert plain["dependencies"]["rabbitmq"] == {"status": "disabled"}
    assert full["dependencies"].keys() == {"database", "redis", "rabbitmq", "openrouter"}
    assert full["dependencies"]["openrouter"]["status"] == "healthy"
    assert full["dependencies"]["openrouter"]["latency_ms"] >= 0
    assert (plain["status"], plain["service"], plain["version"]) == ("healthy", "chatbot-service", "1.0.0")
