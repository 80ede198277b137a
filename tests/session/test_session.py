from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from server.adapters.redis import keys
from server.channels.broker import Revoked
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.conversations.refusal import unavailable
from tests.adapters.redis.support import a_client, an_adapter, away, kill, new_id
from tests.channels.author import Author
from tests.scripted.memory_transport import MemoryTransport
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.session.support import Office, an_office, at_an_office, ends


async def places(client: Any, user: str) -> int:
    return int(await client.hlen(keys.places(user)))


# --- hello ----------------------------------------------------------------------------------------


def test_hello_is_answered_by_welcome_and_the_channel_follows(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        position = await author.settle()
        generation = await author.start()
        await author.say(generation, "Hello")
        visitor = office.client()

        welcome = await visitor.hello(author.user)

        session = visitor.session
        assert {**welcome, "token_expires_at": ""} == {
            "type": "welcome",
            "re": "h",
            "protocol": 1,
            "session": session.id,
            "user": author.user,
            "resume": "fresh",
            "position": f"{position.epoch}:2",
            "heartbeat_ms": 25000,
            "token_expires_at": "",
            "limits": {
                "max_frame_bytes": 65536,
                "max_message_length": 4000,
                "max_sessions": 10,
                "max_generations": 3,
            },
        }
        assert welcome["token_expires_at"].endswith("Z")
        await visitor.transport.frame("synced")
        assert visitor.transport.kinds() == ["welcome", "generation.state", "delta", "synced"]
        assert ("resume", {"result": "fresh"}) in office.observed

        await author.say(generation, " you")
        await visitor.transport.frame(lambda f: f.get("text") == " you")

    at_an_office(redis_url, test)


def test_a_bearer_of_the_upgrade_request_needs_no_token(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        principal = Principal(author.user, expires_at=time.time() + 60, issued_at=time.time())
        visitor = office.client(principal=principal)
        visitor.transport.say("hello", id="h")

        assert (await visitor.transport.answer("h"))["user"] == author.user

    at_an_office(redis_url, test)


def test_the_token_of_hello_counts_more_than_that_of_the_upgrade_request(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = office.client(principal=Principal(new_id()))

        assert (await visitor.hello(author.user))["user"] == author.user

    at_an_office(redis_url, test)


@pytest.mark.parametrize(
    ("fields", "code", "close"),
    [
        pytest.param({}, "unauthenticated", 4003, id="no token"),
        pytest.param({"token": "nonsense"}, "unauthenticated", 4003, id="no token at all"),
        pytest.param(
            {"token": token_for(new_id(), secret="x" * 40)}, "unauthenticated", 4003, id="signed by another"
        ),
        pytest.param({"token": token_for("nobody")}, "unauthenticated", 4003, id="not a user"),
        pytest.param({"token": token_for(new_id(), ttl=-60)}, "token_expired", 4004, id="expired"),
    ],
)
def test_a_hello_that_is_not_authenticated_is_refused(
    redis_url: str, fields: dict[str, Any], code: str, close: int
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = office.client()
        visitor.transport.say("hello", id="h", **fields)

        error = await visitor.transport.answer("h")

        assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)
        assert await visitor.gone() == close
        assert visitor.transport.kinds() == ["error"]
        assert ("close", {"code": str(close)}) in office.observed

    at_an_office(redis_url, test)


@pytest.mark.parametrize(
    ("answer", "code", "close"),
    [
        pytest.param(BadToken(), "unauthenticated", 4003, id="not valid any more"),
        pytest.param(ExpiredToken(), "token_expired", 4004, id="expired"),
        pytest.param(unavailable(), "unavailable", 4000, id="nobody can be asked"),
    ],
)
def test_a_token_that_whoever_issued_it_does_not_confirm_is_refused(
    redis_url: str, answer: Exception, code: str, close: int
) -> None:
    asked: list[str] = []

    async def confirm(token: str, principal: Principal) -> None:
        asked.append(principal.user)
        if len(asked) != 2:
            raise answer

    async def test(office: Office, author: Author) -> None:
        refused = office.client()
        assert (await refused.hello(author.user))["code"] == code
        assert await refused.gone() == close

        visitor = await office.greeted(author)
        assert (await visitor.command("auth", token=token_for(author.user)))["code"] == code
        assert (await visitor.command("ping"))["type"] == "pong"
        assert asked == [author.user] * 3

    at_an_office(redis_url, test, confirm=confirm)


def test_an_expired_bearer_of_the_upgrade_request_is_refused_as_expired(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        # clocks may differ by ten seconds, at every door
        late = office.client(principal=Principal(author.user, expires_at=time.time() - 5))
        late.transport.say("hello", id="h")
        assert (await late.transport.answer("h"))["type"] == "welcome"

        visitor = office.client(principal=Principal(author.user, expires_at=time.time() - 11))
        visitor.transport.say("hello", id="h")

        assert (await visitor.transport.answer("h"))["code"] == "token_expired"
        assert await visitor.gone() == 4004

        again = office.client(principal=Principal(author.user, expires_at=time.time() - 11))
        assert (await again.hello(author.user))["type"] == "welcome"

    at_an_office(redis_url, test)


def test_a_revoked_token_is_refused(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        token = token_for(author.user)
        await office.node.adapter.users.revoke(author.user)
        visitor = office.client()

        error = await visitor.hello(author.user, token=token)

        assert (error["type"], error["code"]) == ("error", "forbidden")
        assert await visitor.gone() == 4005
        assert office.node.hub.readers == 0

        newer = token_for(author.user, iat=int(time.time()) + 5)
        assert (await office.client().hello(author.user, token=newer))["type"] == "welcome"

    at_an_office(redis_url, test)


def test_one_session_too_many_is_refused_and_the_others_stay(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        first, second = [await office.greeted(author) for _ in range(2)]
        visitor = office.client()

        error = await visitor.hello(author.user)

        assert (error["code"], error["retry_after_ms"]) == ("rate_limited", 30_000)
        assert await visitor.gone() == 4010
        assert (first.transport.close_code, second.transport.close_code) == (None, None)

        replacing = await office.client().hello(author.user, resume={"session": first.session.id})
        assert replacing["type"] == "welcome"

    at_an_office(redis_url, test, max_sessions=2)


def test_without_the_store_hello_is_unavailable() -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = office.client()

        error = await visitor.hello(author.user)

        assert (error["code"], error["retryable"]) == ("unavailable", True)
        assert await visitor.gone() == 4000

    at_an_office("redis://127.0.0.1:1", test, call_seconds=0.3)


def test_a_store_that_goes_away_while_hello_is_answered_is_unavailable(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        async with a_client(redis_url) as redis:
            visitor = office.client()
            async with away(redis):
                assert (await visitor.hello(author.user))["code"] == "unavailable"
            assert await visitor.gone() == 4000

    at_an_office(redis_url, test, call_seconds=0.3)


def test_a_hello_that_fails_for_no_known_reason_is_answered_too(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(office: Office, author: Author) -> None:
        await author.settle()
        async with a_client(redis_url) as redis:
            await redis.hset(keys.head(author.user), "user", new_id())
            visitor = office.client()

            error = await visitor.hello(author.user)

            assert (error["code"], error["retryable"]) == ("internal", True)
            assert "another" not in error["message"]
            assert await visitor.gone() == 4000
            assert await places(redis, author.user) == 0
        assert "a hello failed" in caplog.text

    at_an_office(redis_url, test)


def test_a_hello_that_does_not_come_closes(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = office.client()
        await eventually(lambda: len(office.desk.sessions) == 1)

        office.tick(5.0)

        assert await visitor.gone() == 4001

    at_an_office(redis_url, test)


@pytest.mark.parametrize(
    ("raw", "kinds", "close"),
    [
        ('{"type":"ping","id":"1"}', ["error"], 4003),
        (b"{}", [], 4002),
        ('{"type":"hello","x":"' + "x" * 65536 + '"}', [], 1009),
    ],
)
def test_what_may_not_come_first_closes(
    redis_url: str, raw: str | bytes, kinds: list[str], close: int
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = office.client()
        visitor.transport.say_raw(raw)

        assert await visitor.gone() == close
        assert visitor.transport.kinds() == kinds

    at_an_office(redis_url, test)


# --- coming back ----------------------------------------------------------------------------------


def test_a_client_that_comes_back_goes_on_where_it_was_on_any_node(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()
        await author.say(generation, "Hel")
        await visitor.transport.frame("delta")
        held = visitor.transport.frames[-2]["position"]
        visitor.transport.hang_up()
        await visitor.gone()
        await author.switch(generation)
        await author.say(generation, "p", at=3)

        async with an_office(redis_url) as other:
            again = other.client()
            welcome = await again.hello(
                author.user,
                resume={
                    "session": visitor.session.id,
                    "position": held,
                    "texts": {generation: {"attempt": 1, "at": 3}},
                },
            )
            synced = await again.transport.frame("synced")

            assert (welcome["resume"], welcome["position"]) == ("replay", synced["position"])
            assert again.transport.kinds() == [
                *["welcome", "generation.switched", "generation.state", "delta", "synced"]
            ]
            delta = again.transport.frames[3]
            assert (delta["attempt"], delta["at"], delta["text"]) == (2, 3, "p")
            # a client cut before any replayed event presents what it held
            assert again.transport.sent[0].position == held

    at_an_office(redis_url, test)


@pytest.mark.parametrize("resume", ["live", "reset"])
def test_texts_are_taken_up_only_where_the_position_is(redis_url: str, resume: str) -> None:
    async def test(office: Office, author: Author) -> None:
        generation = await author.start()
        await author.say(generation, "Hello")
        head = str((await office.node.adapter.broker.snapshot(author.user)).head)
        presented = {
            "position": head if resume == "live" else "another:1",
            "texts": {generation: {"attempt": 1, "at": 3}},
        }
        visitor = office.client()

        welcome = await visitor.hello(author.user, resume=presented)
        await visitor.transport.frame("synced")

        assert (welcome["resume"], welcome["position"]) == (resume, head)
        assert visitor.transport.frames[2]["at"] == (3 if resume == "live" else 0)

    at_an_office(redis_url, test)


def test_a_store_that_goes_away_during_the_replay_closes_and_nothing_is_lost(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        first = await author.settle(size=8000)
        for _ in range(20):
            await author.settle(size=8000)
        transport = MemoryTransport()
        transport.reads = 2
        visitor = office.client(transport=transport)
        welcome = await visitor.hello(author.user, resume={"position": str(first)})
        assert welcome["resume"] == "replay"
        await eventually(lambda: len(transport.sent) == 2)
        async with a_client(redis_url) as redis, away(redis):
            await transport.read_again()

            assert await visitor.gone() == 4000
        assert "synced" not in transport.kinds()

    at_an_office(redis_url, test, call_seconds=0.3)


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_that_ends_is_announced_then_refused_then_closes(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author, token=token_for(author.user, ttl=100))

        office.tick(50.0)
        expiring = await visitor.transport.frame("auth.expiring")
        assert 45_000 < expiring["expires_in_ms"] <= 50_000

        office.tick(51.0)
        refused = await visitor.command("message.send", content="hi", client_message_id=new_id())
        assert refused["code"] == "token_expired"
        await author.settle()
        await visitor.transport.frame("usage.settled")

        office.tick(25.0)
        assert await visitor.gone() == 4004

    at_an_office(redis_url, test)


def test_a_newer_token_keeps_the_session(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author, token=token_for(author.user, ttl=100))

        ack = await visitor.command("auth", token=token_for(author.user, ttl=1000))
        office.tick(200.0)

        assert ack["token_expires_at"].endswith("Z")
        assert (await visitor.command("ping"))["type"] == "pong"
        assert visitor.transport.close_code is None

    at_an_office(redis_url, test)


def test_revoking_closes_every_session_of_the_user_on_every_node(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        async with an_office(redis_url) as other:
            visitors = [await each.greeted(author) for each in (office, office, other)]
            stranger = await office.greeted(Author(office.node.adapter))

            await other.node.adapter.users.revoke(author.user)

            assert [await visitor.gone() for visitor in visitors] == [4005] * 3
            assert (await stranger.command("ping"))["type"] == "pong"

    at_an_office(redis_url, test)


def test_a_revocation_that_was_missed_is_found_after_the_gap(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        stranger = await office.greeted(Author(office.node.adapter))
        visitor = await office.greeted(author)
        office.node.line.loses = lambda arrival: isinstance(arrival, Revoked)
        await office.node.adapter.users.revoke(author.user)
        await eventually(lambda: len(office.node.line.lost) == 1)
        office.tick()
        assert (await visitor.command("ping"))["type"] == "pong"
        async with a_client(redis_url) as redis:
            await kill(redis, "listen", office.node.adapter)
        await eventually(lambda: office.node.hub.gaps == 1)

        office.tick()

        assert await visitor.gone() == 4005
        assert (await stranger.command("ping"))["type"] == "pong"

    at_an_office(redis_url, test)


def test_whether_one_was_revoked_is_asked_again_when_the_store_was_away(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        async with a_client(redis_url) as redis, an_adapter(redis_url) as other:
            office.node.line.loses = lambda arrival: isinstance(arrival, Revoked)
            await other.users.revoke(author.user)
            async with away(redis):
                office.node.hub.gaps += 1
                office.tick()
                await eventually(lambda: visitor.session._gaps == -1)
                assert visitor.transport.close_code is None

            await eventually(lambda: _gone_after_a_tick(office, visitor.transport))
            assert await visitor.gone() == 4005

    at_an_office(redis_url, test, call_seconds=0.3)


def _gone_after_a_tick(office: Office, transport: MemoryTransport) -> bool:
    office.tick()
    return transport.close_code is not None


# --- silence, slowness, floods --------------------------------------------------------------------


def test_silence_is_filled_and_what_is_sent_is_no_silence(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        office.tick(19.0)
        assert (await visitor.command("ping"))["type"] == "pong"
        office.tick(19.0)
        assert "heartbeat" not in visitor.transport.kinds()
        office.tick(12.0)

        await visitor.transport.frame("heartbeat")

    at_an_office(redis_url, test)


def test_one_who_does_not_read_is_closed_and_resumes_without_loss(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()
        await author.say(generation, "Hello")
        await visitor.transport.frame("delta")
        held = visitor.transport.frames[-2]["position"]
        visitor.transport.stop_reading()
        await author.settle()
        await eventually(lambda: visitor.session.outlet.stuck_since is not None)

        office.tick(29.0)
        await author.say(generation, " you")
        assert visitor.transport.close_code is None
        office.tick(1.0)
        assert await visitor.gone() == 4008

        again = office.client()
        texts = {generation: {"attempt": 1, "at": 5}}
        await again.hello(author.user, resume={"position": held, "texts": texts})
        await again.transport.frame("synced")
        assert again.transport.kinds() == ["welcome", "usage.settled", "generation.state", "delta", "synced"]
        assert again.transport.frames[3]["text"] == " you"

    at_an_office(redis_url, test)


def test_one_who_reads_slowly_is_not_closed(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.stop_reading()
        for count in range(4):
            await author.settle()
            await eventually(lambda: visitor.session.outlet.stuck_since is not None)
            office.tick(20.0)
            await visitor.transport.read_again(1)
            await visitor.transport.frame("usage.settled", since=2 + count)

        assert visitor.transport.close_code is None

    at_an_office(redis_url, test)


def test_a_flood_closes(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        for count in range(50):
            visitor.transport.say("ping", id=str(count))

        assert await visitor.gone() == 4011
        assert visitor.transport.kinds().count("pong") == 39

    at_an_office(redis_url, test)


def test_the_tenth_bad_frame_closes(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.say("hello", id="again")
        assert (await visitor.transport.answer("again"))["code"] == "bad_request"
        for _ in range(9):
            visitor.transport.say_raw("{")

        assert await visitor.gone() == 4002
        assert visitor.transport.kinds().count("error") == 10

    at_an_office(redis_url, test)


# --- leaving --------------------------------------------------------------------------------------


def test_one_who_goes_leaves_nothing_behind(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        async with a_client(redis_url) as redis:
            visitor = await office.greeted(author)
            assert await places(redis, author.user) == 1
            assert (len(office.desk.sessions), office.node.hub.readers) == (1, 1)
            before = len(asyncio.all_tasks())

            visitor.transport.hang_up()

            assert await visitor.gone() is None
            assert await places(redis, author.user) == 0
            assert (len(office.desk.sessions), office.node.hub.readers) == (0, 0)
            assert visitor.session._tasks == set()
            assert len(asyncio.all_tasks()) < before

    at_an_office(redis_url, test)


def test_what_was_said_before_leaving_is_carried_out(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        generation = await author.start()
        async with a_client(redis_url) as redis:
            await redis.client_pause(300)
            visitor.transport.say("generation.stop", id="s", generation=generation)
            visitor.transport.hang_up()
            await visitor.gone()

        record = await office.node.adapter.generations.read(author.user, generation)
        assert record is not None
        assert record.stop

    at_an_office(redis_url, test)


def test_a_session_whose_task_is_cancelled_leaves_as_well(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        await ends(visitor.task)

        assert visitor.task.cancelled()
        assert (len(office.desk.sessions), office.node.hub.readers) == (0, 0)

    at_an_office(redis_url, test)


def test_drain_sends_the_client_elsewhere_and_closes_after_the_time_given(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        visitor.session.drain(100, "deploy")
        told = await visitor.transport.frame("drain")
        assert told == {"type": "drain", "reconnect_in_ms": 100, "reason": "deploy"}
        assert visitor.transport.close_code is None
        await author.settle()
        await visitor.transport.frame("usage.settled")

        assert await visitor.gone() == 1012

    at_an_office(redis_url, test)


def test_drain_closes_also_one_who_does_not_read(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.stop_reading()

        visitor.session.drain(50, "deploy")

        assert await visitor.gone() == 1012

    at_an_office(redis_url, test)


# --- faults of our own ----------------------------------------------------------------------------


def test_a_transport_that_breaks_while_receiving_ends_the_session(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        visitor.transport.fail(RuntimeError("a fault"))

        assert await visitor.gone() == 4000
        assert "session failed" in caplog.text
        assert len(office.desk.sessions) == 0

    at_an_office(redis_url, test)


def test_a_transport_that_breaks_while_sending_ends_the_session(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)
        visitor.transport.breaks = RuntimeError("a fault")

        await author.settle()

        assert await visitor.gone() == 4000
        assert "session failed" in caplog.text

    at_an_office(redis_url, test)


def test_a_session_closes_once(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        visitor = await office.greeted(author)

        await office.node.adapter.users.revoke(author.user)
        await office.node.adapter.users.revoke(author.user)

        assert await visitor.gone() == 4005
        assert [labels for name, labels in office.observed if name == "close"] == [{"code": "4005"}]

    at_an_office(redis_url, test)


def test_no_frame_tells_a_token(redis_url: str) -> None:
    async def test(office: Office, author: Author) -> None:
        canary = "canary-of-the-tests"
        visitor = office.client()
        visitor.transport.say("hello", id="h", token=canary)
        await visitor.gone()

        assert canary not in json.dumps(visitor.transport.frames)

    at_an_office(redis_url, test)
