"""Who is asking, over every door: tokens, tickets, the service key, revocation, the auth service, addresses."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.services import EmbeddedServices
from tests.node.rest import AS_SERVICE, begin, begin_endless, client, problem, serving, until
from tests.running import INTERNAL_KEY, RunningNode, new_uuid, of_type, running_node
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.tokens import SECRET, token_for
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

KEY = {"X-Service-Key": INTERNAL_KEY}
# the same in every worker, and nobody else's
ME, OTHER = "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e01", "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e02"


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, trusted_proxies=("127.0.0.0/8",)) as running:
        yield running


@pytest.fixture(scope="module")
def anybody(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node) as plain:
        yield plain


@pytest.fixture(scope="module")
def mine(node: RunningNode) -> str:
    """A conversation of `ME`."""
    with client(node, ME) as api:
        return begin(api)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- tokens -----------------------------------------------------------------------------------


def by_hand(user: str, algorithm: str, digest: str | None) -> str:
    """A token as no library of ours would sign it."""
    parts = ({"alg": algorithm, "typ": "JWT"}, {"id": user, "exp": time.time() + 600})
    body = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(SECRET.encode(), body.encode(), digest) if digest else b""
    return f"{body}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "UNAUTHENTICATED", id="nothing"),
        pytest.param({"Authorization": ""}, "UNAUTHENTICATED", id="an empty header"),
        pytest.param({"Authorization": "Bearer"}, "UNAUTHENTICATED", id="no token"),
        pytest.param({"Authorization": f"Basic {token_for(ME)}"}, "UNAUTHENTICATED", id="another scheme"),
        pytest.param(bearer("x.y.z"), "UNAUTHENTICATED", id="no JWT"),
        pytest.param(bearer(by_hand(ME, "none", None)), "UNAUTHENTICATED", id="alg none"),
        pytest.param(bearer(by_hand(ME, "None", "sha256")), "UNAUTHENTICATED", id="alg None, signed"),
        pytest.param(bearer(by_hand(ME, "HS512", "sha512")), "UNAUTHENTICATED", id="another algorithm"),
        pytest.param(bearer(token_for(ME, secret="x" * 32)), "UNAUTHENTICATED", id="another key"),
        pytest.param(bearer(token_for("42")), "UNAUTHENTICATED", id="no UUID"),
        pytest.param(bearer(token_for(ME, iss="somebody")), "UNAUTHENTICATED", id="another issuer"),
        pytest.param(bearer(token_for(ME, aud="others")), "UNAUTHENTICATED", id="another audience"),
        pytest.param(bearer(token_for(ME, exp=None)), "UNAUTHENTICATED", id="no end"),
        pytest.param(bearer(token_for(ME, nbf=time.time() + 86_400)), "UNAUTHENTICATED", id="not yet"),
        pytest.param(bearer(token_for(ME, junk="x" * 9000)), "UNAUTHENTICATED", id="huge"),
        pytest.param(bearer(token_for(ME, ttl=-60)), "TOKEN_EXPIRED", id="over"),
    ],
)
def test_a_bad_token_is_401_and_says_why_only_where_it_is_over(
    anybody: httpx.Client, headers: dict[str, str], code: str
):
    refused = anybody.get("/conversations", headers=headers)

    body = problem(refused, 401, code)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "eyJ" not in str(body)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="id"),
        pytest.param({"id": None, "userId": ME}, id="userId"),
        pytest.param({"id": None, "sub": ME}, id="sub"),
        pytest.param({"sub": OTHER, "userId": OTHER}, id="id goes first"),
        pytest.param({"iss": None, "aud": None}, id="no issuer and no audience"),
        pytest.param({"aud": ["others", "atma-services"]}, id="one of several audiences"),
        pytest.param({"iat": None}, id="no issue time"),
        pytest.param({"nbf": time.time() + 5}, id="a clock five seconds ahead"),
        pytest.param({"id": ME.upper()}, id="in capitals"),
    ],
)
def test_a_sound_token_speaks_for_its_user(anybody: httpx.Client, mine: str, claims: dict[str, Any]):
    shown = anybody.get(f"/conversations/{mine}", headers=bearer(token_for(ME, **claims)))

    assert shown.json()["conversation"]["user_id"] == ME


# --- services ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"X-User-ID": ME}, 401, id="a name without a key"),
        pytest.param({"X-User-ID": ME, "X-Internal-Service": "true"}, 403, id="a missing key"),
        pytest.param({"X-User-ID": ME, "X-Service-Key": "wrong"}, 403, id="a wrong key"),
        pytest.param({"X-User-ID": ME, "X-Service-Key": ""}, 403, id="an empty key"),
        pytest.param({"X-User-ID": ME, "X-Service-Key": "schlüssel".encode()}, 403, id="odd"),
        pytest.param({"X-User-ID": ME, **KEY}, 200, id="a name with the key"),
        pytest.param({"X-User-ID": ME.upper(), **AS_SERVICE}, 200, id="a service for a user"),
        pytest.param({"X-User-ID": "42", **AS_SERVICE}, 401, id="a name that is no UUID"),
        pytest.param({"X-User-ID": "", **AS_SERVICE}, 401, id="an empty name"),
        pytest.param({**AS_SERVICE}, 401, id="a service for nobody"),
        pytest.param({"X-User-ID": ME, **KEY, **bearer(token_for(ME))}, 200, id="both agree"),
        pytest.param({"X-User-ID": OTHER, **KEY, **bearer(token_for(ME))}, 401, id="both differ"),
        pytest.param({"X-User-ID": ME, **KEY, **bearer(token_for(ME, ttl=-60))}, 401, id="the token is over"),
        pytest.param({"X-User-ID": ME, **KEY, **bearer("x")}, 401, id="the token is bad"),
        pytest.param(
            {"X-User-ID": OTHER, **bearer(token_for(ME))}, 200, id="a name without a key means nothing"
        ),
        pytest.param({"X-Service-Key": "wrong", **bearer(token_for(ME))}, 200, id="a key nobody asked for"),
        pytest.param(
            {"X-Internal-Service": "true", "X-Service-Key": "wrong", **bearer(token_for(ME))},
            403,
            id="a user who says they are a service",
        ),
    ],
)
def test_a_name_counts_only_with_the_service_key_and_never_against_a_token(
    anybody: httpx.Client, mine: str, headers: dict[str, Any], status: int
):
    answered = anybody.get(f"/conversations/{mine}", headers=headers)

    assert answered.status_code == status, answered.text
    if status == 200:
        assert answered.json()["conversation"]["user_id"] == ME


INTERNAL = [
    ("DELETE", f"/internal/users/{OTHER}"),
    ("GET", f"/internal/users/{OTHER}/export"),
    ("POST", f"/internal/users/{OTHER}/revoke"),
]


@pytest.mark.parametrize(("method", "path"), INTERNAL, ids=["erase", "export", "revoke"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nobody"),
        pytest.param(bearer(token_for(OTHER)), id="the user"),
        pytest.param({"X-Internal-Service": "true"}, id="no key"),
        pytest.param({"X-Internal-Service": "true", "X-Service-Key": INTERNAL_KEY[:-1]}, id="a wrong key"),
        pytest.param(KEY, id="no word of being a service"),
        pytest.param({**KEY, "X-Internal-Service": "false", "X-User-ID": OTHER}, id="a gateway for the user"),
    ],
)
def test_internal_doors_are_for_services_with_the_key(
    anybody: httpx.Client, method: str, path: str, headers: dict[str, str]
):
    problem(anybody.request(method, path, headers=headers), 403, "FORBIDDEN")


# --- tickets ----------------------------------------------------------------------------------


def test_a_ticket_opens_one_stream_as_its_user(node: RunningNode):
    async def go() -> None:
        issuer, stream = node_sse(node, ME), SseClient(node.base, None, user=ME)
        try:
            issued = await issuer.rest("POST", "/api/chat/tickets")
            ticket = issued.json()["ticket"]
            assert issued.status_code == 201
            assert issued.json()["expires_in"] == 30

            welcome = await stream.connect(query={"ticket": ticket})
            assert welcome["user"] == ME

            for spent in (ticket, "never issued", "", "x" * 200):
                with pytest.raises(StreamRefusedError) as refused:
                    await stream.connect(query={"ticket": spent})
                assert (refused.value.status, refused.value.problem["code"]) == (401, "UNAUTHENTICATED")
        finally:
            await issuer.close()
            await stream.close()

    asyncio.run(go())


def test_a_ticket_of_a_user_whom_a_service_vouches_for_opens_a_stream(
    node: RunningNode, anybody: httpx.Client
):
    async def go(ticket: str) -> None:
        stream = SseClient(node.base, None, user=ME)
        try:
            assert (await stream.connect(query={"ticket": ticket}))["user"] == ME
        finally:
            await stream.close()

    asyncio.run(go(anybody.post("/tickets", headers={**AS_SERVICE, "X-User-ID": ME}).json()["ticket"]))


def test_a_ticket_has_the_leeway_its_token_has(node: RunningNode, anybody: httpx.Client):
    async def go(ticket: str) -> None:
        stream = SseClient(node.base, None, user=ME)
        try:
            assert (await stream.connect(query={"ticket": ticket}))["type"] == "welcome"
        finally:
            await stream.close()

    asyncio.run(go(anybody.post("/tickets", headers=bearer(token_for(ME, ttl=-2))).json()["ticket"]))


def test_a_ticket_is_good_for_a_stream_and_nothing_else(anybody: httpx.Client):
    ticket = anybody.post("/tickets", headers=bearer(token_for(ME))).json()["ticket"]

    problem(anybody.get(f"/conversations?ticket={ticket}"), 401, "UNAUTHENTICATED")


def node_sse(node: RunningNode, user: str) -> SseClient:
    return SseClient(node.base, token_for(user), user=user)


# --- revocation -------------------------------------------------------------------------------


def test_revoked_tokens_are_refused_at_every_door_and_open_sessions_end(node: RunningNode):
    user = new_uuid()
    old = token_for(user, iat=int(time.time()) - 5)

    async def go() -> None:
        socket = RecordingClient(old, user=user)
        stream, turn, later = (SseClient(node.base, old, user=user) for _ in range(3))
        try:
            await socket.connect(node.ws_url)
            await stream.connect()
            with client(node, user) as api:
                generation = begin_endless(node, api, begin(api))
            await turn.stream("GET", f"/api/chat/generations/{generation}/events")

            with client(node) as service:
                voided = service.post(f"/internal/users/{user}/revoke", headers=AS_SERVICE)
            assert voided.status_code == 204

            assert await socket.wait_end() == 4005
            for each in (stream, turn):
                await each.wait_end()
                last = each.recording.heard[-1].frame
                assert (last["type"], last["code"]) == ("error", "forbidden")
            with pytest.raises(ConnectionEndedError) as closed:
                await socket.connect(node.ws_url)
            assert closed.value.code == 4005
            with pytest.raises(StreamRefusedError) as refused:
                await later.connect()
            assert refused.value.problem["code"] == "UNAUTHENTICATED"
        finally:
            await socket.cut()
            for each in (stream, turn, later):
                await each.close()

    asyncio.run(go())
    with client(node) as plain:
        for method, path in (("GET", "/conversations"), ("POST", "/conversations"), ("POST", "/tickets")):
            problem(plain.request(method, path, headers=bearer(old)), 401, "UNAUTHENTICATED")
        no_issue_time = bearer(token_for(user, iat=None))
        problem(plain.get("/conversations", headers=no_issue_time), 401, "UNAUTHENTICATED")
        newer = bearer(token_for(user, iat=int(time.time()) + 2))
        assert plain.get("/conversations", headers=newer).status_code == 200
        # a gateway that knows the user vouches for them anew
        named = {"X-User-ID": user, **KEY}
        assert until(lambda: plain.get("/conversations", headers=named).status_code == 200)


def test_a_ticket_of_a_revoked_token_opens_nothing(node: RunningNode, anybody: httpx.Client):
    user = new_uuid()
    ticket = anybody.post("/tickets", headers=bearer(token_for(user))).json()["ticket"]
    anybody.post(f"/internal/users/{user}/revoke", headers=AS_SERVICE)

    problem(anybody.get(f"/events?ticket={ticket}"), 401, "UNAUTHENTICATED")


# --- sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(token_for(ME, ttl=-60), 4004, id="over"),
        pytest.param("x", 4003, id="none"),
        pytest.param(token_for(ME, secret="x" * 32), 4003, id="another key"),
    ],
)
def test_a_bad_token_of_the_upgrade_request_closes_like_one_of_hello(
    node: RunningNode, token: str, code: int
):
    async def go() -> None:
        socket = RecordingClient(None, user=ME)
        with pytest.raises(ConnectionEndedError) as closed:
            await socket.connect(node.ws_url, headers=bearer(token))
        assert closed.value.code == code

    asyncio.run(go())


def test_hello_needs_no_token_after_a_good_upgrade_request(node: RunningNode):
    async def go() -> None:
        socket = RecordingClient(None, user=ME)
        welcome = await socket.connect(node.ws_url, headers=bearer(token_for(ME)))
        assert welcome["user"] == ME
        await socket.cut()

    asyncio.run(go())


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
def test_a_page_of_another_origin_opens_no_socket(node: RunningNode, origin: str):
    async def go() -> None:
        socket = RecordingClient(token_for(ME), user=ME)
        with pytest.raises(Exception, match="403"):
            await socket.open(node.ws_url, headers={"Origin": origin})

    asyncio.run(go())


# --- the auth service -------------------------------------------------------------------------


def test_where_the_auth_service_is_asked_its_word_counts_at_every_door(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with Neighbours(jwt_secret=SECRET) as neighbours:
            remote: dict[str, Any] = {"auth_verify_remote": True, "auth_service_url": neighbours.url}
            async with running_node(services, database, **remote) as running:
                known, stranger = new_uuid(), new_uuid()
                async with running.http(known) as api:
                    for _ in range(5):
                        assert (await api.get("/api/chat/conversations")).status_code == 200
                asked = [call for call in neighbours.world.calls if call.path == "/auth/verify-token"]
                assert len(asked) == 1
                assert (await running.client(known)).connected

                neighbours.world.jwt_secret = "the auth service signs with another one by now"
                async with running.http(stranger) as api:
                    problem(await api.get("/api/chat/conversations"), 401, "UNAUTHENTICATED")
                with pytest.raises(ConnectionEndedError) as closed:
                    await running.client(stranger)
                assert closed.value.code == 4003

    asyncio.run(go())


def test_while_the_auth_service_is_away_nobody_is_let_in_and_all_are_told_to_come_back(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        remote: dict[str, Any] = {"auth_verify_remote": True, "auth_service_url": "http://127.0.0.1:9"}
        async with running_node(services, database, **remote) as running, running.http(ME) as api:
            problem(await api.get("/api/chat/conversations"), 503, "UNAVAILABLE")
            with pytest.raises(ConnectionEndedError) as closed:
                await running.client(ME)
            assert closed.value.code == 4000
            assert of_type("error", code="unavailable")(closed.value.last)
            assert (await api.get("/api/chat/health/live")).status_code == 200

    asyncio.run(go())
