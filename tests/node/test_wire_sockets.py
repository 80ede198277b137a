"""The wire over WebSocket, sentence by sentence (protocol README): what a stranger's client can check."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.node.rest import client as rest
from tests.node.rest import release, serving
from tests.running import RunningNode, new_uuid, of_type
from tests.scripted.recording import Frame
from tests.scripted.tokens import token_for
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

TEXT = "Héllo 😀 wörld 👩🏽‍🚀!"
"""Of every width: in UTF-8 and in UTF-16 its places have other numbers."""
UNKNOWN = "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e0a"

FIELDS = {
    "conversation.created": {"conversation"},
    "message.created": {"conversation", "message", "client_message_id"},
    "generation.started": {
        *("generation", "conversation", "message", "reply_to", "model", "attempt"),
        *("estimated_response_ms", "is_free_model"),
    },
    "generation.finished": {
        *("generation", "conversation", "status", "finish_reason", "message", "usage", "model"),
        *("served_model", "segments", "length", "sha256", "processing_time_ms", "persisted", "error"),
    },
}


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(
        services,
        module_database,
        auth_grace_seconds=3,
        max_sessions_per_user=3,
        max_generations_per_user=2,
    ) as running:
        yield running


def go(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@asynccontextmanager
async def a_socket(node: RunningNode, **options: Any) -> AsyncIterator[RecordingClient]:
    """An open socket on which nothing was said."""
    user = options.pop("user", None) or new_uuid()
    client = RecordingClient(token_for(user), user=user)
    await client.open(node.ws_url, **options)
    try:
        yield client
    finally:
        await client.cut()


@asynccontextmanager
async def a_session(
    node: RunningNode, user: str | None = None, **resume: Any
) -> AsyncIterator[RecordingClient]:
    """A session that was welcomed and synced."""
    async with a_socket(node, user=user) as client:
        await client.hello(resume)
        await client.wait_for(of_type("synced"))
        yield client


async def said(client: RecordingClient, frame: Any) -> Frame:
    """What is answered to a frame with the id `x`, sent as it is."""
    mark = client.mark()
    await client.say_raw(frame if isinstance(frame, str) else json.dumps(frame))
    return await client.wait_for(lambda f: f["type"] == "error" or f.get("re") == "x", since=mark)


async def refused(client: RecordingClient, code: str, close: int) -> Frame:
    """The last frame before the close, which must be this error."""
    assert await client.wait_end() == close
    last = client.recording.heard[-1].frame
    assert (last["type"], last["code"]) == ("error", code)
    return last


async def shown(node: RunningNode, client: RecordingClient, **fields: Any) -> tuple[Frame, str]:
    """A turn of which `TEXT` is shown and that waits for its gate: its ack and the gate."""
    gate = new_uuid()
    node.simulator.script(Behaviour(tokens=(TEXT, " The end."), gate=gate, gate_at=1), match=gate)
    ack = await client.send("message.send", content=f"[{gate}]", client_message_id=new_uuid(), **fields)
    assert ack["type"] == "ack", ack
    await client.wait_for(lambda _: client.text(ack["generation"]) == TEXT)
    return ack, gate


# --- connecting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "selected", "close"),
    [
        ((), None, None),
        (("atma.chat.v1",), "atma.chat.v1", None),
        (("atma.chat.v2", "atma.chat.v1"), "atma.chat.v1", None),
        (("atma.chat.v2", "graphql-ws"), "atma.chat.v2", 4006),
    ],
)
def test_of_the_subprotocols_offered_the_known_one_is_selected_else_the_first_and_closed(
    node: RunningNode, offered: tuple[str, ...], selected: str | None, close: int | None
):
    async def test() -> None:
        subprotocols = [Subprotocol(each) for each in offered] or None
        async with connect(node.ws_url, subprotocols=subprotocols, proxy=None) as socket:
            assert socket.subprotocol == selected
            if close is None:
                await socket.send('{"type":"ping","id":"x"}')
                assert json.loads(await socket.recv())["code"] == "unauthenticated"
            else:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == close

    go(test())


def test_an_origin_that_is_not_allowed_is_refused_with_403(node: RunningNode):
    async def test() -> None:
        for origin in ("https://elsewhere.example", "null"):
            headers = {"Origin": origin, "X-Request-ID": "mine"}
            with pytest.raises(InvalidStatus) as refusal:
                await connect(node.ws_url, additional_headers=headers, proxy=None)
            refused = refusal.value.response
            assert refused.status_code == 403
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["x-request-id"] == "mine"
            assert refused.body is not None
            assert json.loads(refused.body)["code"] == "FORBIDDEN"
        async with connect(node.ws_url, additional_headers={"Origin": node.base}, proxy=None) as socket:
            await socket.ping()

    go(test())


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x"},
        {"id": "x" * 64},
        {},
        {"id": "x", "resume": None, "client": None},
        {"id": "x", "resume": {"session": None, "position": None, "texts": None}},
        {"id": "x", "resume": {"texts": {UNKNOWN: {"attempt": 1, "at": 3}}}},
        {"id": "x", "client": {"name": "mine", "version": "1", "more": []}, "more": {"of": "it"}},
        {"id": "x", "resume": {"session": UNKNOWN}},
    ],
    ids=itertools.count(),
)
def test_hello_is_answered_by_a_whole_welcome_and_synced(node: RunningNode, fields: dict[str, Any]):
    async def test() -> None:
        async with a_socket(node) as client:
            await client.say_raw(json.dumps({"type": "hello", "token": client.token, **fields}))
            synced = await client.wait_for(of_type("synced"))
            welcome = client.recording.heard[0].frame

            assert welcome.get("re") == fields.get("id")
            assert set(welcome) - {"re"} == {
                "type",
                "protocol",
                "session",
                "user",
                "resume",
                "position",
                "heartbeat_ms",
                "token_expires_at",
                "limits",
            }
            assert (welcome["type"], welcome["protocol"], welcome["resume"]) == ("welcome", 1, "fresh")
            assert welcome["user"] == client.recording.user
            assert welcome["heartbeat_ms"] == 25_000
            assert welcome["token_expires_at"].endswith(".000Z")
            assert welcome["limits"] == {
                "max_frame_bytes": 65536,
                "max_message_length": 4000,
                "max_sessions": 3,
                "max_generations": 2,
            }
            assert synced == {"type": "synced", "position": welcome["position"]}

    go(test())


def test_hello_needs_no_token_where_the_upgrade_request_carried_one(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_socket(
            node, user=user, headers={"Authorization": f"Bearer {token_for(user)}"}
        ) as client:
            await client.say_raw('{"type":"hello","id":"x"}')

            assert (await client.wait_for(of_type("welcome")))["user"] == user

    go(test())


@pytest.mark.parametrize(
    ("claims", "code", "close"),
    [
        ({"secret": "another secret of the tests, which is long"}, "unauthenticated", 4003),
        ({"id": "nobody"}, "unauthenticated", 4003),
        ({"iss": "elsewhere"}, "unauthenticated", 4003),
        ({"exp": None}, "unauthenticated", 4003),
        ({"ttl": -60}, "token_expired", 4004),
    ],
    ids=lambda claims: "-".join(claims) if isinstance(claims, dict) else None,
)
def test_a_bad_token_closes_4003_and_an_expired_one_4004(
    node: RunningNode, claims: dict[str, Any], code: str, close: int
):
    async def test() -> None:
        async with a_socket(node) as client:
            client.token = token_for(**{"user": client.recording.user, **claims})
            await client.hello()

            error = await refused(client, code, close)
            assert (error["re"], error["retryable"]) == ("h1", False)

    go(test())


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "hello"},
        {"type": "hello", "token": "bad"},
        {"type": "ping"},
        {"type": "sync"},
        {"type": "auth", "token": "bad"},
        {"type": "message.send", "content": "hi"},
        {"type": "generation.stop", "generation": 5},
    ],
    ids=lambda frame: "-".join(frame.values()) if len(frame) == 1 else frame["type"],
)
def test_any_other_command_before_a_hello_with_a_token_closes_4003(node: RunningNode, frame: dict[str, Any]):
    async def test() -> None:
        async with a_socket(node) as client:
            await client.say_raw(json.dumps({"id": "x", **frame}))

            error = await refused(client, "unauthenticated", 4003)
            assert error["re"] == "x"

    go(test())


def test_a_session_too_many_is_closed_and_its_place_is_free_for_whoever_replaces_it(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_session(node, user) as first, a_session(node, user), a_session(node, user) as third:
            async with a_socket(node, user=user) as fourth:
                await fourth.hello()
                error = await refused(fourth, "rate_limited", 4010)
                assert (error["retryable"], error["retry_after_ms"]) == (True, 30_000)

            async with a_session(node, user, session=first.recording.heard[0].frame["session"]) as successor:
                assert (await successor.send("ping"))["type"] == "pong"
            await third.close()
            async with a_session(node, user) as another:
                assert (await another.send("ping"))["type"] == "pong"

    go(test())


def test_whoever_replaces_sessions_that_live_has_no_more_of_them(node: RunningNode):
    """quality.md: limits are not got round by many sockets."""

    async def test() -> None:
        user = new_uuid()
        async with contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(a_session(node, user)) for _ in range(3)]
            for _ in range(4):
                replaced = sessions.pop()
                session = replaced.recording.heard[0].frame["session"]
                sessions.append(await stack.enter_async_context(a_session(node, user, session=session)))
                assert await replaced.wait_end() == 1001
            for each in sessions:
                assert (await each.send("ping"))["type"] == "pong"
            async with a_socket(node, user=user) as fourth:
                await fourth.hello()
                await refused(fourth, "rate_limited", 4010)

    go(test())


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code", "answered"),
    [
        ("nonsense", "bad_request", False),
        ("[]", "bad_request", False),
        ("null", "bad_request", False),
        ("{}", "bad_request", False),
        ({"id": "x", "type": 5}, "bad_request", True),
        ({"id": "x", "type": "nonsense"}, "unknown_type", True),
        ({"id": 5, "type": "ping"}, "bad_request", False),
        ({"id": "x" * 65, "type": "ping"}, "bad_request", False),
        ({"id": "x", "type": "ping", "more": "a\0b"}, "bad_request", True),
        ({"id": "x", "type": "ping", "a\0b": 1}, "bad_request", True),
        ('{"id":"x","type":"ping","more":"\\ud83d"}', "bad_request", True),
        ('{"id":"x","type":"ping","more":' + "[" * 16 + "]" * 16 + "}", "bad_request", True),
        ('{"id":"x","type":"ping","more":' + "[" * 30_000 + "]" * 30_000 + "}", "bad_request", False),
        ('{"id":"x","type":"ping","more":NaN}', "bad_request", False),
        ({"id": "x", "type": "hello", "token": "again"}, "bad_request", True),
        ({"id": "x", "type": "auth"}, "bad_request", True),
        ({"id": "x", "type": "auth", "token": 5}, "bad_request", True),
        ({"id": "x", "type": "sync", "texts": []}, "bad_request", True),
        ({"id": "x", "type": "sync", "texts": {"x": {"attempt": 1, "at": 1}}}, "bad_request", True),
        ({"id": "x", "type": "sync", "texts": {UNKNOWN: {"attempt": 1, "at": -1}}}, "bad_request", True),
        ({"id": "x", "type": "sync", "texts": {UNKNOWN: {"attempt": 1.5, "at": 1}}}, "bad_request", True),
        ({"id": "x", "type": "sync", "texts": {UNKNOWN: {"at": 1}}}, "bad_request", True),
        ({"id": "x", "type": "generation.stop"}, "bad_request", True),
        ({"id": "x", "type": "generation.stop", "generation": "all"}, "bad_request", True),
        ({"id": "x", "type": "generation.stop", "generation": UNKNOWN}, "not_found", True),
        ({"id": "x", "type": "message.regenerate", "message": UNKNOWN}, "bad_request", True),
        ({"id": "x", "type": "message.send", "content": "hi"}, "bad_request", True),
        *(
            ({"id": "x", "type": "message.send", "client_message_id": UNKNOWN, **fields}, code, True)
            for code, fields in (
                ("bad_request", {}),
                ("bad_request", {"content": 5}),
                ("bad_request", {"content": " \n\t "}),
                ("bad_request", {"content": "hi", "client_message_id": "mine"}),
                ("bad_request", {"content": "hi", "conversation": "mine"}),
                ("bad_request", {"content": "hi", "content_type": "video"}),
                ("bad_request", {"content": "hi", "content_type": "image"}),
                ("bad_request", {"content": "hi", "fallback": "maybe"}),
                ("bad_request", {"content": "hi", "model": "no/such"}),
                ("message_too_long", {"content": "😀" * 4001}),
                ("not_found", {"content": "hi", "conversation": UNKNOWN}),
                ("not_found", {"content": "hi", "parent_message_id": UNKNOWN}),
            )
        ),
    ],
    ids=itertools.count(),
)
def test_what_is_no_command_is_refused_by_its_code_and_the_socket_stays_open(
    node: RunningNode, frame: Any, code: str, answered: bool
):
    async def test() -> None:
        async with a_session(node) as client:
            error = await said(client, frame)

            assert set(error) == {"type", "code", "message", "retryable"} | ({"re"} if answered else set())
            assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)
            assert error["message"]
            assert (await client.send("ping"))["type"] == "pong"

    go(test())


def test_a_frame_may_have_65536_bytes_of_utf_8_and_the_next_closes_1009(node: RunningNode):
    async def test() -> None:
        def padded(size: int, pad: str) -> str:
            frame = json.dumps({"type": "ping", "id": "x", "pad": ""})
            return frame[:-2] + pad * ((size - len(frame)) // len(pad.encode())) + frame[-2:]

        for pad in ("x", "é"):
            async with a_session(node) as client:
                fits = padded(65536, pad)
                assert 65535 <= len(fits.encode()) <= 65536
                assert (await said(client, fits))["type"] == "pong"
                await client.say_raw(padded(65538, pad))
                assert await client.wait_end() == 1009

    go(test())


def test_a_binary_frame_closes_4002_and_so_does_the_tenth_bad_one_once_it_is_answered(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            await client.say_raw(b'{"type":"ping"}')
            assert await client.wait_end() == 4002

        async with a_session(node) as client:
            await client.say_raw(b'{"type":"ping\xff"}', text=True)
            assert await client.wait_end() == 4002

        async with a_session(node) as client:
            for _ in range(9):
                await client.say_raw("nonsense")
            assert (await client.send("ping"))["type"] == "pong"
            await client.say("nonsense")
            assert await client.wait_end() == 4002
            assert len(client.recording.of_type("error")) == 10

    go(test())


def test_forty_commands_at_once_are_answered_and_a_flood_closes_4011(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            for _ in range(39):  # `hello` was one
                await client.say("ping")
            await client.wait_for(lambda _: len(client.recording.of_type("pong")) == 39)

        async with a_session(node) as client:
            # more than any refill while they are on the way
            await asyncio.gather(*(client.say("ping") for _ in range(400)), return_exceptions=True)
            assert await client.wait_end() == 4011
            assert len(client.recording.of_type("pong")) >= 39

    go(test())


# --- the channel ----------------------------------------------------------------------------------


def test_resume_says_what_follows_a_position(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            for number in range(3):
                await client.send("message.send", content=f"{number}", client_message_id=new_uuid())
                await client.wait_for(lambda _, n=number: len(client.held.finished) == n + 1)  # type: ignore[misc]
            user = client.recording.user
        events = client.recording.of_type(*FIELDS)
        epoch, _, last = events[-1]["position"].partition(":")
        assert [f["position"] for f in events] == [f"{epoch}:{n}" for n in range(1, int(last) + 1)]

        for position, resume, missed in (
            (f"{epoch}:{last}", "live", 0),
            (f"{epoch}:{int(last) - 2}", "replay", 2),
            (f"{epoch}:0", "replay", int(last)),
            (f"{epoch}:{int(last) + 1}", "reset", 0),
            ("zzzzzz:1", "reset", 0),
            (f"{epoch}:-1", "reset", 0),
            (f"{epoch}:01", "reset", 0),
            ("nonsense", "reset", 0),
            ("", "reset", 0),
        ):
            async with a_session(node, user, position=position) as again:
                frames = [each.frame for each in again.recording.heard]
                assert (frames[0]["resume"], frames[0]["position"]) == (resume, f"{epoch}:{last}"), position
                assert frames[1:-1] == events[int(last) - missed :], position
                assert frames[-1] == {"type": "synced", "position": f"{epoch}:{last}"}

    go(test())


def test_a_running_text_goes_on_at_the_code_point_the_client_holds(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            ack, gate = await shown(node, client)
            generation, position = ack["generation"], client.held.position
            for at in (*range(len(TEXT) + 1), len(TEXT) + 1):
                texts = {generation.upper(): {"attempt": 1, "at": at}}
                async with a_session(node, client.recording.user, position=position, texts=texts) as again:
                    heard = [each.frame for each in again.recording.heard]
                    # a machine that is slow today gets a notice, too
                    welcome, state, *deltas, synced = [f for f in heard if f["type"] != "interim"]
                    begins = at if at <= len(TEXT) else 0
                    assert (welcome["resume"], synced["type"]) == ("live", "synced")
                    assert (state["type"], state["length"], state["attempt"]) == (
                        "generation.state",
                        len(TEXT),
                        1,
                    )
                    assert "".join(delta["text"] for delta in deltas) == TEXT[begins:]
                    assert [delta["at"] for delta in deltas] == ([begins] if begins < len(TEXT) else [])

            # nothing of it is presented: all of it, whatever the position
            for presented in ({}, {"position": "zzzzzz:1", "texts": texts}, {"texts": texts}):
                async with a_session(node, client.recording.user, **presented) as again:
                    assert again.text(generation) == TEXT
                    assert again.recording.of_type("delta")[0]["at"] == 0

            mark = client.mark()
            synced_at = await client.send("sync", texts={generation: {"attempt": 1, "at": 7}})
            assert synced_at["position"] == client.held.position
            await client.wait_for(of_type("synced"), since=mark)
            heard = [each.frame for each in client.recording.heard[mark:]]
            assert [(f["type"], f.get("at")) for f in heard if f["type"] != "interim"] == [
                ("ack", None),
                ("generation.state", None),
                ("delta", 7),
                ("synced", None),
            ]
            release(node, gate)
            await client.wait_for(of_type("generation.finished"))

    go(test())


def test_a_turn_is_told_by_events_with_all_their_fields_and_by_deltas_without_a_position(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            ack, gate = await shown(node, client)
            release(node, gate)
            await client.wait_for(of_type("generation.finished"))

            assert set(ack) == {"type", "re", "conversation", "message", "generation", "duplicate"}
            events = client.recording.of_type(*FIELDS)
            assert [f["type"] for f in events] == list(FIELDS)
            assert [set(f) - {"type", "position"} for f in events] == list(FIELDS.values())
            for delta in client.recording.of_type("delta"):
                assert set(delta) == {"type", "generation", "attempt", "at", "text"}
            created, asked, started, finished = events
            assert set(created["conversation"]) == {
                *("id", "title", "context_type", "status", "created_at", "updated_at")
            }
            assert (
                set(asked["message"])
                == set(finished["message"])
                == {
                    *("id", "sender_type", "content", "content_type", "parent_message_id", "created_at"),
                    "metadata",
                }
            )
            assert asked["message"]["id"] == started["reply_to"] == ack["message"]
            assert finished["message"]["id"] == started["message"]
            assert set(finished["usage"]) == {
                *("prompt_tokens", "completion_tokens", "total_tokens", "cost", "state")
            }
            (segment,) = finished["segments"]
            assert set(segment) == {"attempt", "model", "served_model", "from", "to", "usage"}
            assert (segment["from"], segment["to"]) == (0, finished["length"])
            assert finished["message"]["content"] == f"{TEXT} The end."

    go(test())


def test_who_writes_too_much_at_once_is_refused_and_may_try_again(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            first, gate = await shown(node, client)
            _, other = await shown(node, client)
            turn: dict[str, Any] = {"content": "hi", "client_message_id": new_uuid()}

            too_many = await client.send("message.send", **turn)
            busy = await client.send("message.send", **turn, conversation=first["conversation"])
            again = await client.send(
                "message.regenerate", message=first["message"], client_message_id=new_uuid()
            )

            assert (too_many["code"], too_many["retryable"]) == ("too_many_generations", True)
            assert (busy["code"], busy["retryable"]) == ("generation_in_progress", True)
            assert (again["code"], again["retryable"]) == ("generation_in_progress", True)
            release(node, gate)
            release(node, other)
            await client.wait_for(lambda _: len(client.held.finished) == 2)
            assert (await client.send("message.send", **turn))["duplicate"] is False

    go(test())


def test_any_session_of_the_user_and_rest_may_stop_and_nobody_else(node: RunningNode):
    async def test() -> None:
        async with a_session(node) as client:
            ack, _ = await shown(node, client)
            generation, user = ack["generation"], client.recording.user
            async with a_session(node) as stranger:
                refusal = await stranger.send("generation.stop", generation=generation)
                assert refusal["code"] == "not_found"
            async with a_session(node, user) as other:
                for _ in range(2):
                    stopped = await other.send("generation.stop", generation=generation.upper())
                    assert {**stopped, "re": None} == {"type": "ack", "re": None, "generation": generation}
                finished = await other.wait_for(of_type("generation.finished"))
            assert (finished["status"], finished["message"]["content"]) == ("cancelled", TEXT)
            with rest(node, user) as api:
                late = await asyncio.to_thread(api.post, f"/generations/{generation}/stop")
            assert (late.status_code, late.json()) == (202, {"generation": generation})

    go(test())


# --- the token's end ------------------------------------------------------------------------------


def test_a_token_that_ends_is_announced_and_text_goes_on_until_the_session_is_closed(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_socket(node, user=user) as client:
            client.token = token_for(user, ttl=4)
            await client.hello()
            ack, gate = await shown(node, client)
            expiring = await client.wait_for(of_type("auth.expiring"))
            assert 0 <= expiring["expires_in_ms"] <= 4000

            async def ended() -> Frame:
                while True:
                    answer = await client.send(
                        "message.send", content="hi", client_message_id=new_uuid(), conversation=UNKNOWN
                    )
                    if answer["code"] != "not_found":
                        return answer
                    await asyncio.sleep(0.1)

            error = await ended()
            assert (error["code"], error["retryable"]) == ("token_expired", False)
            assert (await client.send("ping"))["type"] == "pong"
            release(node, gate)
            await client.wait_for(of_type("generation.finished", generation=ack["generation"]))
            assert await client.wait_end() == 4004

    go(test())


def test_auth_extends_the_session_with_a_token_of_the_same_user_alone(node: RunningNode):
    async def test() -> None:
        user = new_uuid()
        async with a_socket(node, user=user) as client:
            client.token = token_for(user, ttl=30)
            await client.hello()
            await client.wait_for(of_type("auth.expiring"))

            for token, code in (
                (token_for(new_uuid()), "forbidden"),
                (token_for(user, ttl=-60), "token_expired"),
                ("bad", "unauthenticated"),
            ):
                assert (await client.send("auth", token=token))["code"] == code
            ack = await client.send("auth", token=token_for(user, ttl=7200, exp=2_000_000_000))

            assert {**ack, "re": None} == {
                "type": "ack",
                "re": None,
                "token_expires_at": "2033-05-18T03:33:20.000Z",
            }

    go(test())
