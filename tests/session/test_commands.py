from __future__ import annotations

import time
from typing import Any

import pytest

from protocol.codec import COMMAND_TYPES
from protocol.frames import Auth, GenerationStop, Hello, MessageRegenerate, MessageSend, Ping, Sync
from server.conversations.principal import Principal
from server.session.commands import COMMANDS, waits
from tests.adapters.redis.support import a_client, away, new_id
from tests.channels.author import Author
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.session.support import Office, Visitor, at_an_office


def test_every_command_of_the_wire_is_carried_out_by_one_function() -> None:
    assert set(COMMANDS) == set(COMMAND_TYPES.values()) - {Hello}


def a_send(**fields: Any) -> dict[str, Any]:
    return {"content": "hi", "client_message_id": new_id(), **fields}


def answers(visitor: Visitor) -> list[tuple[str, str | None]]:
    """What was answered to commands, after the welcome."""
    frames = visitor.transport.frames[1:]
    return [(f["type"], f.get("code")) for f in frames if f["type"] in {"ack", "error", "pong"}]


# --- auth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param("nonsense", "unauthenticated", id="no token"),
        pytest.param(token_for(new_id()), "forbidden", id="another user's"),
        pytest.param(token_for(new_id(), ttl=-60), "token_expired", id="expired"),
    ],
)
def test_a_token_that_does_not_extend_the_session_is_refused_and_the_session_goes_on(
    redis_url: str, token: str, code: str
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        error = await visitor.command("auth", token=token)

        assert (error["type"], error["code"]) == ("error", code)
        assert (await visitor.command("ping"))["type"] == "pong"

    at_an_office(redis_url, test)


def test_a_revoked_token_does_not_extend_the_session(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        # a session of after the revocation, and a token of before it
        old = token_for(author.user, ttl=9000)
        await office.node.adapter.users.revoke(author.user)
        visitor = await office.greeted(author, token=token_for(author.user, iat=int(time.time()) + 5))

        error = await visitor.command("auth", token=old)

        assert (error["code"], error["message"]) == ("forbidden", "The token was revoked.")
        assert visitor.session.principal is not None
        assert visitor.session.principal.expires_at < time.time() + 4000

    at_an_office(redis_url, test)


def test_a_token_that_cannot_be_looked_up_is_unavailable(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        async with a_client(redis_url) as redis, away(redis):
            error = await visitor.command("auth", token=token_for(author.user))

            assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("unavailable", True, 2000)

    at_an_office(redis_url, test, call_seconds=0.3)


def test_auth_extends_the_session(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        ack = await visitor.command("auth", token=token_for(author.user, ttl=9000, tier="premium"))

        assert set(ack) == {"type", "re", "token_expires_at"}
        assert visitor.session.principal is not None
        assert visitor.session.principal.tier == "premium"
        assert visitor.session.machine._token_ends == visitor.session.principal.expires_at

    at_an_office(redis_url, test)


# --- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        pytest.param("message.send", a_send(content=" "), "bad_request", id="nothing said"),
        pytest.param("message.send", a_send(content="x" * 4001), "message_too_long", id="too much said"),
        pytest.param("message.send", a_send(model="no/such"), "bad_request", id="no such model"),
    ],
)
def test_a_refusal_is_answered_with_its_code(
    redis_url: str, kind: str, fields: dict[str, Any], code: str
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        error = await visitor.command(kind, **fields)

        assert (error["type"], error["code"]) == ("error", code)
        assert error["message"]
        assert (await visitor.command("ping"))["type"] == "pong"

    at_an_office(redis_url, test)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("message.send", a_send()),
        ("message.regenerate", {"message": new_id(), "client_message_id": new_id()}),
    ],
)
def test_a_draining_node_takes_no_turns_and_says_when_to_come_again(
    redis_url: str, kind: str, fields: dict[str, Any]
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        office.desk.turns.draining = True

        error = await visitor.command(kind, **fields)

        assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("draining", True, 250)
        # and moves whom it refused at once, before that time is over
        assert (await visitor.transport.frame("drain"))["reconnect_in_ms"] < 250
        assert await visitor.gone() == 1012

    at_an_office(redis_url, test)


def test_stop_is_acked_as_often_as_it_is_asked(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()

        for _ in range(2):
            ack = await visitor.command("generation.stop", generation=generation.upper())
            assert ack["type"] == "ack"
            assert ack["generation"] == generation

        record = await office.node.adapter.generations.read(author.user, generation)
        assert record is not None
        assert record.stop

    at_an_office(redis_url, test)


def test_what_needs_a_database_that_is_away_is_unavailable(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        error = await visitor.command("generation.stop", generation=new_id())

        assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("unavailable", True, 2000)

    at_an_office(redis_url, test)


def test_what_needs_a_store_that_is_away_is_unavailable(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        async with a_client(redis_url) as redis, away(redis):
            error = await visitor.command("generation.stop", generation=new_id())

            assert (error["code"], error["retryable"]) == ("unavailable", True)

    at_an_office(redis_url, test, call_seconds=0.3)


def test_a_command_that_fails_for_no_known_reason_is_answered_and_the_session_goes_on(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        # there is nobody in this node who could answer
        error = await visitor.command("message.send", **a_send(content="canary"))

        assert (error["code"], error["retryable"]) == ("internal", True)
        assert "NoneType" not in error["message"]
        assert (await visitor.command("ping"))["type"] == "pong"
        assert "a command failed" in caplog.text
        assert "canary" not in caplog.text

    at_an_office(redis_url, test)


def test_a_command_without_an_id_is_answered_without_one(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.say("ping")
        visitor.transport.say("generation.stop", generation=new_id())
        await visitor.transport.frame("error")

        assert answers(visitor) == [("pong", None), ("error", "unavailable")]
        assert all("re" not in frame for frame in visitor.transport.frames[-2:])

    at_an_office(redis_url, test)


# --- sync and ping --------------------------------------------------------------------------------


def test_sync_is_acked_with_the_position_and_answered_like_hello(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()
        await author.say(generation, "Hello")
        await visitor.transport.frame("delta")
        before = len(visitor.transport.sent)

        ack = await visitor.command("sync", texts={generation.upper(): {"attempt": 1, "at": 4}})
        synced = await visitor.transport.frame("synced", since=before)

        assert ack["position"] == synced["position"] == visitor.transport.frames[2]["position"]
        assert visitor.transport.kinds(before) == ["ack", "generation.state", "delta", "synced"]
        delta = visitor.transport.frames[-2]
        assert (delta["at"], delta["text"]) == (4, "o")

    at_an_office(redis_url, test)


@pytest.mark.parametrize("name", ["1", "", "x" * 64])
def test_a_ping_is_answered_by_its_pong(redis_url: str, name: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.say("ping", id=name)

        assert await visitor.transport.answer(name) == {"type": "pong", "re": name}

    at_an_office(redis_url, test)


# --- beside one another ---------------------------------------------------------------------------


def test_only_what_waits_for_the_database_runs_beside_the_rest() -> None:
    commands = [
        Auth(token="t"),
        MessageSend(**a_send()),
        MessageRegenerate(message=new_id(), client_message_id=new_id()),
        GenerationStop(generation=new_id()),
        Sync(),
        Ping(),
    ]

    assert [waits(command) for command in commands] == [False, True, True, True, False, False]


def test_a_ping_does_not_wait_for_slow_commands_and_every_command_is_answered_once(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()
        async with a_client(redis_url) as redis:
            await redis.client_pause(10_000, all=False)
            for count in range(8):
                visitor.transport.say("generation.stop", id=f"s{count}", generation=generation)
            assert (await visitor.command("ping"))["type"] == "pong"
            assert answers(visitor) == [("pong", None)]

            # the next one waits for a place, and so does what is said after it
            for count in range(8, 12):
                visitor.transport.say("generation.stop", id=f"s{count}", generation=generation)
            visitor.transport.say("ping", id="p")
            await eventually(lambda: visitor.transport._said.qsize() == 4)
            assert len(visitor.session._commands) == 8
            await redis.client_unpause()

        await visitor.transport.answer("p")
        given = [await visitor.transport.answer(f"s{count}") for count in range(12)]
        assert {frame["type"] for frame in given} == {"ack"}
        await eventually(lambda: not visitor.session._commands)
        assert len(answers(visitor)) == 12 + 2

    at_an_office(redis_url, test)


def test_nobody_is_answered_who_has_gone(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        async with a_client(redis_url) as redis:
            async with away(redis):
                visitor.transport.say("generation.stop", id="s", generation=new_id())
                await eventually(lambda: visitor.session._commands)
                await visitor.transport.close(1000)
            await visitor.gone()

        assert visitor.transport.kinds() == ["welcome", "synced"]
        assert caplog.text == ""

    at_an_office(redis_url, test)


def test_who_asks_is_whoever_said_hello(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        stranger = Author(office.node.adapter)
        theirs = await stranger.start()
        visitor = await office.greeted(author)

        # another user's generation is no generation
        error = await visitor.command("generation.stop", generation=theirs)

        assert error["code"] == "unavailable"  # the database would be asked, and would not know it
        record = await office.node.adapter.generations.read(stranger.user, theirs)
        assert record is not None
        assert not record.stop

    at_an_office(redis_url, test)


def test_a_token_without_a_time_of_issue_is_taken_until_the_user_is_revoked(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        timeless = Principal(author.user)
        assert not await office.desk.is_revoked(timeless)

        await office.node.adapter.users.revoke(author.user)

        assert await office.desk.is_revoked(timeless)

    at_an_office(redis_url, test)
