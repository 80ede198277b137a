"""Stopping an answer, from wherever and whenever: what was shown is kept, and what it cost is known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
import redis.asyncio

from server.adapters.redis import keys
from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.openrouter.ledger import Call
from server.embedded.services import EmbeddedServices
from tests.node.turns import Turn, ask
from tests.running import MODELS, RunningNode, new_uuid, running_node
from tests.scripted.recording import Frame
from tests.scripted.waiting import eventually
from tests.services import Database

WORDS = tuple(f"{number} 職業, " for number in range(60))
TEXT = "".join(WORDS)
PARTIAL = "".join(WORDS[:20])

PAID: dict[str, Any] = {
    "premium_models": "openai/gpt-4o-mini,mistralai/mistral-small-3.2-24b-instruct",
    "use_free_models_only": False,
}
"""The first one's provider stops, and bills what it sent, when its reader leaves; the second's goes on."""

Stop = Callable[[RunningNode, Turn], Awaitable[object]]


def held(at: int, gate: str = "held", **fields: Any) -> Behaviour:
    """An answer that waits before a token until the gate opens."""
    return Behaviour(tokens=WORDS, gate=gate, gate_at=at, **fields)


async def stop(turn: Turn) -> Frame:
    return await turn.client.send("generation.stop", generation=turn.generation)


async def assert_left(call: Call) -> None:
    """The upstream saw its reader leave."""
    assert await eventually(lambda: call.state == "aborted", what="the connection is closed")


async def from_its_session(running: RunningNode, turn: Turn) -> None:
    assert await stop(turn) | {"re": ""} == {"type": "ack", "re": "", "generation": turn.generation}


async def from_another_session(running: RunningNode, turn: Turn) -> None:
    other = await running.client(turn.client.recording.user)
    ack = await other.send("generation.stop", generation=turn.generation)
    assert ack["type"] == "ack"


async def by_rest(running: RunningNode, turn: Turn) -> None:
    async with running.http(turn.client.recording.user) as http:
        answer = await http.post(f"/api/chat/generations/{turn.generation}/stop")
    assert (answer.status_code, answer.json()["generation"]) == (202, turn.generation)


@pytest.mark.parametrize("way", [from_its_session, from_another_session, by_rest])
def test_a_stopped_answer_keeps_what_was_shown_and_is_billed_later(
    services: EmbeddedServices, database: Database, way: Stop
):
    async def go() -> None:
        async with running_node(services, database, **PAID) as running:
            client = await running.client(tier="premium")
            turn = await ask(running, client, held(20))
            await turn.shown(len(PARTIAL))

            await way(running, turn)

            finished = await turn.finished()
            assert (finished["status"], finished["finish_reason"]) == ("cancelled", None)
            assert finished["message"]["content"] == client.text(turn.generation) == PARTIAL
            assert finished["message"]["metadata"]["status"] == "cancelled"
            assert finished.get("error") is None
            (call,) = turn.calls
            await assert_left(call)
            assert finished["usage"]["state"] == "estimated"
            settled = await turn.heard("usage.settled")
            assert call.bill is not None
            assert settled["usage"]["state"] == "settled"
            assert Decimal(settled["usage"]["cost"]) == call.bill.cost > 0
            assert settled["usage"]["completion_tokens"] == call.bill.completion_tokens
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_an_answer_that_runs_on_another_node_is_stopped_too(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with (
            running_node(services, database) as running,
            running_node(services, database, simulator=running.simulator) as elsewhere,
        ):
            client = await running.client()
            turn = await ask(running, client, held(20))
            await turn.shown(len(PARTIAL))

            other = await elsewhere.client(client.recording.user)
            ack = await other.send("generation.stop", generation=turn.generation)

            assert ack["type"] == "ack"
            assert (await turn.finished())["message"]["content"] == PARTIAL
            await assert_left(turn.calls[0])
            await running.assert_holds(client, other, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_a_provider_that_goes_on_when_its_reader_leaves_bills_all_of_it(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, **PAID) as running:
            client = await running.client(tier="premium")
            turn = await ask(running, client, held(20), model="mistralai/mistral-small-3.2-24b-instruct")
            await turn.shown(len(PARTIAL))
            await stop(turn)

            settled = await turn.heard("usage.settled")
            assert settled["usage"]["completion_tokens"] == turn.calls[0].usage.completion_tokens
            assert (await turn.finished())["usage"]["completion_tokens"] < settled["usage"][
                "completion_tokens"
            ]
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


SILENT = {
    "before the headers": (Behaviour(text=TEXT, before_headers="hang"), "unknown"),
    "before the first token": (held(0), "estimated"),
    "among comments": (Behaviour(text=TEXT, comment_every_ms=5, fail=Failure(how="stall_comments")), "estimated"),
    "after thoughts": (held(0, reasoning="Let me think. "), "estimated"),
}  # fmt: skip


@pytest.mark.parametrize("when", SILENT)
def test_an_answer_stopped_before_its_first_token_has_no_message(
    services: EmbeddedServices, database: Database, when: str
):
    behaviour, state = SILENT[when]

    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turn = await ask(running, client, behaviour)
            await eventually(lambda: turn.calls, what="the model is asked")
            if state == "estimated":
                await eventually(lambda: turn.calls[0].headers_at, what="the headers are sent")
                await eventually(lambda: running_note(running, turn), what="the headers are noted")

            await stop(turn)

            finished = await turn.finished()
            assert (finished["status"], finished["message"], finished["length"]) == ("cancelled", None, 0)
            assert [segment["usage"]["state"] for segment in finished["segments"]] == [state]
            await assert_left(turn.calls[0])
            if state == "estimated":
                assert (await turn.heard("usage.settled"))["usage"]["state"] == "settled"
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


async def running_note(running: RunningNode, turn: Turn) -> bool:
    """Whether the store knows of the call's headers."""
    record = await running.node.redis.generations.read(turn.client.recording.user, turn.generation)
    return record is not None and bool(record.notes)


def test_an_answer_stopped_as_soon_as_it_is_acked_is_stopped(services: EmbeddedServices, database: Database):
    """The ack of a stop means that the intent is stored, also where nobody has begun to answer yet."""

    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turns = []
            for number in range(20):
                turn = await ask(
                    running, client, Behaviour(text=TEXT, before_headers="hang"), name=f"turn {number}"
                )
                assert (await stop(turn))["type"] == "ack"
                turns.append(turn)

            assert {(await turn.finished())["status"] for turn in turns} == {"cancelled"}
            await running.assert_holds(client)

    asyncio.run(go())


def test_an_answer_stopped_inside_a_seam_keeps_what_was_shown_before_it(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, seam_hold_seconds=30) as running:
            client = await running.client()
            broken = Behaviour(tokens=WORDS, fail=Failure(how="error", at=20))
            # a beginning that stands there already is held, since it may be the answer begun again
            again = Behaviour(text=TEXT, continuation="restart", gate="seam", gate_at=8)
            turn = await ask(running, client, broken, again)
            await running.simulator.reached("seam")

            await stop(turn)

            finished = await turn.finished()
            assert finished["status"] == "cancelled"
            assert finished["message"]["content"] == client.text(turn.generation) == PARTIAL
            _, second = finished["segments"]
            assert (second["from"], second["to"]) == (len(PARTIAL), len(PARTIAL))
            await assert_left(turn.calls[1])
            await running.assert_holds(client, intended={turn.generation: TEXT})
            # what was held back is paid for all the same
            rows = [row for row in (await running.rows())["usage"] if row["attempt"] == 2]
            assert [row["completion_tokens"] for row in rows] != [0]

    asyncio.run(go())


def test_an_answer_stopped_while_it_waits_to_ask_again_asks_nobody(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            # no model is left, and the last is asked again after as long as it said
            limited = Behaviour(error="capacity_exhausted", headers={"Retry-After": "5"})
            turn = await ask(running, client, limited, limited, limited, Behaviour(text=TEXT))
            await turn.heard("generation.switched", attempt=4)

            await stop(turn)

            finished = await turn.finished()
            assert (finished["status"], finished["message"]) == ("cancelled", None)
            assert [segment["attempt"] for segment in finished["segments"]] == [1, 2, 3, 4]
            assert len(turn.calls) == 3
            await running.assert_holds(client)

    asyncio.run(go())


@pytest.mark.parametrize("at", [0, 20])
def test_a_stop_that_the_owner_was_not_told_of_is_found_when_another_model_is_to_be_asked(
    services: EmbeddedServices, database: Database, redis_url: str, at: int
):
    """The message to the owner may be lost; the intent is stored, and the store refuses the switch."""

    async def go() -> None:
        async with (
            running_node(services, database) as running,
            redis.asyncio.Redis.from_url(redis_url) as store,
        ):
            client = await running.client()
            turn = await ask(
                running, client, held(at, fail=Failure(how="error", at=at)), Behaviour(text=TEXT)
            )
            await running.simulator.reached("held")
            await turn.shown(len("".join(WORDS[:at])))
            await store.hset(keys.generation(client.recording.user, turn.generation), "stop", "1")

            running.simulator.release("held")

            finished = await turn.finished()
            assert finished["status"] == "cancelled"
            assert client.text(turn.generation) == "".join(WORDS[:at])
            assert [segment["model"] for segment in finished["segments"]] == [MODELS[0]]
            assert turn.switches == []
            assert len(turn.calls) == 1
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_a_stop_that_the_owner_was_not_told_of_is_found_with_the_next_text(
    services: EmbeddedServices, database: Database, redis_url: str
):
    async def go() -> None:
        async with (
            running_node(services, database) as running,
            redis.asyncio.Redis.from_url(redis_url) as store,
        ):
            client = await running.client()
            behaviour = Behaviour(tokens=WORDS, gate="held", gate_at=20, fail=Failure(how="stall", at=25))
            turn = await ask(running, client, behaviour)
            await turn.shown(len(PARTIAL))
            await store.hset(keys.generation(client.recording.user, turn.generation), "stop", "1")

            running.simulator.release("held")

            finished = await turn.finished()
            assert finished["status"] == "cancelled"
            assert finished["message"]["content"] == "".join(WORDS[:25])
            await assert_left(turn.calls[0])
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


@pytest.mark.parametrize("at", [0, 20])
def test_a_stop_that_the_owner_was_not_told_of_is_found_while_the_model_is_silent(
    services: EmbeddedServices, database: Database, redis_url: str, at: int
):
    async def go() -> None:
        async with (
            running_node(services, database, lease_seconds=1) as running,
            redis.asyncio.Redis.from_url(redis_url) as store,
        ):
            client = await running.client()
            turn = await ask(running, client, held(at))
            await running.simulator.reached("held")
            await turn.shown(len("".join(WORDS[:at])))

            await store.hset(keys.generation(client.recording.user, turn.generation), "stop", "1")

            finished = await turn.finished()
            assert finished["status"] == "cancelled"
            assert client.text(turn.generation) == "".join(WORDS[:at])
            await assert_left(turn.calls[0])
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_a_stop_after_the_end_changes_nothing(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turn = await ask(running, client, Behaviour(text=TEXT))
            finished = await turn.finished()

            await from_its_session(running, turn)
            await from_another_session(running, turn)
            await by_rest(running, turn)

            assert finished["status"] == "completed"
            assert len(turn.of_type("generation.finished")) == 1
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_a_stop_asked_twice_is_one_stop(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turn = await ask(running, client, held(20))
            await turn.shown(len(PARTIAL))

            answers = await asyncio.gather(*(stop(turn) for _ in range(5)), by_rest(running, turn))

            assert {answer["type"] for answer in answers if answer} == {"ack"}
            assert (await turn.finished())["status"] == "cancelled"
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_the_answer_of_a_deleted_conversation_is_found_by_no_door(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turn = await ask(running, client, held(20))
            await turn.shown(len(PARTIAL))
            async with running.http(client.recording.user) as http:
                deleted = await http.delete(f"/api/chat/conversations/{turn.ack['conversation']}")
                assert deleted.status_code == 204
                by_rest = await http.post(f"/api/chat/generations/{turn.generation}/stop")
            by_socket = await client.send("generation.stop", generation=turn.generation)

            assert (by_rest.status_code, by_rest.json()["code"]) == (404, "NOT_FOUND")
            assert (by_socket["type"], by_socket["code"]) == ("error", "not_found")

    asyncio.run(go())


def test_nobody_stops_the_answer_of_another_user(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            client, stranger = await running.client(), await running.client()
            turn = await ask(running, client, held(20))
            await turn.shown(len(PARTIAL))

            for generation in (turn.generation, new_uuid()):
                answer = await stranger.send("generation.stop", generation=generation)
                assert (answer["type"], answer["code"]) == ("error", "not_found")
                async with running.http(stranger.recording.user) as http:
                    refused = await http.post(f"/api/chat/generations/{generation}/stop")
                assert refused.status_code == 404

            running.simulator.release("held")
            assert (await turn.finished())["status"] == "completed"
            await running.assert_holds(client, stranger, intended={turn.generation: TEXT})

    asyncio.run(go())


def test_an_answer_stopped_at_any_moment_is_whole_or_a_beginning(
    services: EmbeddedServices, database: Database, seed: int
):
    rng = random.Random(seed)

    async def go() -> None:
        async with running_node(services, database, **PAID) as running:
            # enough of them that none says too much at once, however late the node hears it
            clients = [await running.client(tier=tier) for tier in ("free", "premium") * 4]

            async def one(number: int) -> Turn:
                first = Behaviour(text=TEXT, interval_ms=2, fail=Failure(how="eof", at=rng.randint(0, 80)))
                turn = await ask(
                    running,
                    rng.choice(clients),
                    first,
                    Behaviour(text=TEXT, interval_ms=2),
                    name=f"turn {number}",
                )
                await asyncio.sleep(rng.random() * 0.4)
                assert (await stop(turn))["type"] == "ack"
                return turn

            turns = await asyncio.gather(*(one(number) for number in range(40)))

            ends = [await turn.finished() for turn in turns]
            assert {end["status"] for end in ends} <= {"completed", "cancelled"}
            await running.assert_holds(*clients, intended={turn.generation: TEXT for turn in turns})
            calls = running.simulator.calls()
            assert await eventually(lambda: all(call.state != "open" for call in calls))

    asyncio.run(go())
