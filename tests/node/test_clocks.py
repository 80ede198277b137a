"""The clocks of an answer: notices while nothing can be shown, and what is late, and what never is."""

from __future__ import annotations

import asyncio
from typing import Any

from server.embedded.openrouter.behaviour import Behaviour, Failure, Pause
from server.embedded.openrouter.wire import DONE
from server.embedded.services import EmbeddedServices
from tests.node.turns import Case, Turn, ask, ask_all, intended
from tests.running import MODELS, of_type, running_node
from tests.scripted.recording import Frame
from tests.scripted.waiting import eventually
from tests.services import Database

WORDS = tuple(f"{number} 職業, " for number in range(60))
TEXT = "".join(WORDS)
PARTIAL = "".join(WORDS[:20])
THOUGHTS = "Let me think about what a career is, 😀 and what it is not. "
GOOD = Behaviour(text=TEXT)

NOTICES: dict[str, Any] = {"interim_after_seconds": 0.3, "interim_every_seconds": 0.3}
SLOW: dict[str, Any] = {"interval_ms": 150.0}
"""A pace at which fifteen words take far longer than any of these clocks allow for one."""


async def notices(turn: Turn, phase: str, count: int) -> list[Frame]:
    """The first notices of a phase."""
    of_phase = of_type("interim", generation=turn.generation, phase=phase)
    await turn.client.wait_for(lambda _: sum(map(of_phase, turn.of_type("interim"))) >= count)
    return [frame for frame in turn.of_type("interim") if of_phase(frame)][:count]


def reasoning_of(turn: Turn, attempt: int = 1) -> str:
    """The thoughts shown, put together by the rule of texts."""
    text = ""
    for delta in turn.of_type("delta"):
        if delta.get("kind") == "reasoning" and delta["attempt"] == attempt:
            assert delta["at"] == len(text)
            text += delta["text"]
    return text


# --- notices ------------------------------------------------------------------------------------


def test_while_nothing_can_be_shown_notices_say_why(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database, **NOTICES) as running:
            client = await running.client()
            waiting = await ask(running, client, Behaviour(text=TEXT, gate="a"), name="waiting")
            thinking = await ask(
                running, client, Behaviour(text=TEXT, reasoning=THOUGHTS, gate="b"), name="thinking"
            )
            stalled = await ask(
                running, client, Behaviour(tokens=WORDS, gate="c", gate_at=20), name="stalled"
            )
            switching = await ask(
                running,
                client,
                Behaviour(tokens=WORDS, fail=Failure(how="error", at=20)),
                Behaviour(text=TEXT, gate="d"),
                name="switching",
            )
            turns = {"waiting": waiting, "thinking": thinking, "stalled": stalled, "switching": switching}

            for phase, turn in turns.items():
                told = await notices(turn, phase, 3)
                assert all(frame["text"] for frame in told), phase
                elapsed = [frame["elapsed_ms"] for frame in told]
                assert elapsed == sorted(set(elapsed)), phase
            assert {frame["model"] for frame in waiting.of_type("interim")} == {MODELS[0]}
            first, *rest = switching.of_type("interim")
            assert (first["model"], first["next_model"]) == (MODELS[0], MODELS[1])
            assert {(frame["model"], frame.get("next_model")) for frame in rest} == {(MODELS[1], None)}

            for gate in "abcd":
                running.simulator.release(gate)
            assert {(await turn.finished())["status"] for turn in turns.values()} == {"completed"}
            await running.assert_holds(client, intended={turn.generation: TEXT for turn in turns.values()})

    asyncio.run(go())


def test_a_notice_is_not_shown_while_text_comes(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database, interim_after_seconds=1.5) as running:
            client = await running.client()
            turn = await ask(running, client, Behaviour(tokens=WORDS[:15], **SLOW))

            await turn.finished()
            assert turn.of_type("interim") == []
            await running.assert_holds(client)

    asyncio.run(go())


def test_a_session_that_comes_later_is_told_the_state_and_gets_the_notices_that_follow(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, **NOTICES) as running:
            client = await running.client()
            turn = await ask(
                running, client, Behaviour(tokens=WORDS, reasoning=THOUGHTS, gate="a", gate_at=20)
            )
            await turn.shown(len(PARTIAL))

            late = await running.client(client.recording.user)
            state = await late.wait_for(of_type("generation.state", generation=turn.generation))
            assert (state["attempt"], state["model"], state["length"]) == (1, MODELS[0], len(PARTIAL))
            await late.wait_for(of_type("interim", phase="stalled"))
            # thoughts are shown live and never again
            assert [frame for frame in late.recording.of_type("delta") if frame.get("kind")] == []

            running.simulator.release("a")
            await late.wait_for(of_type("generation.finished"))
            await turn.finished()
            await running.assert_holds(client, late, intended={turn.generation: TEXT})

    asyncio.run(go())


# --- thoughts -----------------------------------------------------------------------------------


def test_thoughts_are_shown_live_with_a_place_of_their_own_and_are_no_part_of_the_message(
    services: EmbeddedServices, database: Database
):
    cases = {
        "at once": Case((Behaviour(text=TEXT, reasoning=THOUGHTS),), TEXT),
        "slowly": Case((Behaviour(text="Yes.", reasoning=THOUGHTS, interval_ms=10),), "Yes."),
        "in halves": Case((Behaviour(text=TEXT, reasoning=THOUGHTS, split_surrogates=True, layout="2025"),), TEXT),
    }  # fmt: skip

    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turns = await ask_all(running, [client], cases)

            for turn in turns.values():
                finished = await turn.finished()
                assert reasoning_of(turn) == THOUGHTS
                assert THOUGHTS not in finished["message"]["content"]
                assert finished["usage"]["completion_tokens"] == turn.calls[0].usage.completion_tokens
            await running.assert_holds(client, intended=intended(turns, cases))

    asyncio.run(go())


def test_every_attempt_thinks_from_the_beginning(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            broken = Behaviour(tokens=WORDS, reasoning=THOUGHTS, fail=Failure(how="error", at=20))
            turn = await ask(running, client, broken, Behaviour(text=TEXT, reasoning="Where was I? "))

            await turn.finished()
            assert (reasoning_of(turn, 1), reasoning_of(turn, 2)) == (THOUGHTS, "Where was I? ")
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())


# --- what is late, and what is not --------------------------------------------------------------


def test_data_keep_an_answer_alive_and_comments_do_not(services: EmbeddedServices, database: Database):
    comments: dict[str, Any] = {"comments": "always", "comment_every_ms": 10}
    cases = {
        "slow words": Case((Behaviour(tokens=WORDS[:15], **SLOW),), "".join(WORDS[:15])),
        "slow thoughts": Case((Behaviour(text="Yes.", reasoning=THOUGHTS, **SLOW),), "Yes."),
        "silence": Case((Behaviour(tokens=WORDS, fail=Failure(how="stall", at=20)), GOOD), TEXT),
        "comments": Case(
            (Behaviour(tokens=WORDS, fail=Failure(how="stall_comments", at=20), comment_every_ms=10), GOOD), TEXT
        ),
        "a long pause with comments": Case(
            (Behaviour(tokens=WORDS, pauses=(Pause(at=20, ms=60_000),), **comments), GOOD), TEXT
        ),
        "silence after thoughts": Case(
            (Behaviour(text=TEXT, reasoning=THOUGHTS, fail=Failure(how="stall")), GOOD), TEXT
        ),
        "comments before the first token": Case((Behaviour(text=TEXT, first_token_ms=60_000, **comments), GOOD), TEXT),
        "silence before the first token": Case((Behaviour(text=TEXT, first_token_ms=60_000), GOOD), TEXT),
        "no headers": Case((Behaviour(text=TEXT, headers_ms=60_000), GOOD), TEXT),
    }  # fmt: skip
    causes = {
        "silence": "stall_timeout",
        "comments": "stall_timeout",
        "a long pause with comments": "stall_timeout",
        "silence after thoughts": "stall_timeout",
        "comments before the first token": "first_token_timeout",
        "silence before the first token": "first_token_timeout",
        "no headers": "first_token_timeout",
    }

    async def go() -> None:
        clocks: dict[str, Any] = {"first_token_timeout_seconds": 1.5, "stall_timeout_seconds": 1.5}
        async with running_node(services, database, **clocks) as running:
            client = await running.client()
            turns = await ask_all(running, [client], cases)

            for name, turn in turns.items():
                told = [(MODELS[0], MODELS[1], causes[name], "continue")] if name in causes else []
                assert turn.switches == told, name
                if name in causes:
                    late = turn.calls[0]
                    assert await eventually(lambda late=late: late.state == "aborted"), name  # type: ignore[misc]
            await running.assert_holds(client, intended=intended(turns, cases))

    asyncio.run(go())


def test_an_answer_that_takes_too_long_ends_with_what_was_shown(
    services: EmbeddedServices, database: Database
):
    slow = Behaviour(tokens=WORDS, interval_ms=60)
    cases = {
        "words that never end": Case((slow,)),
        "silence in the middle": Case((Behaviour(tokens=WORDS, fail=Failure(how="stall", at=20)),)),
        "silence from the beginning": Case((Behaviour(before_headers="hang"),)),
        "the next model is silent": Case(
            (Behaviour(tokens=WORDS, fail=Failure(how="error", at=20)), Behaviour(before_headers="hang"))
        ),
        "one model after the other is slow": Case(
            (Behaviour(text=TEXT, headers_ms=1_200, fail=Failure(how="error", at=20)),
             Behaviour(text=TEXT, headers_ms=1_200)),
        ),
    }  # fmt: skip
    lengths = {
        "silence in the middle": len(PARTIAL),
        "silence from the beginning": 0,
        "the next model is silent": len(PARTIAL),
    }

    async def go() -> None:
        async with running_node(services, database, generation_timeout_seconds=2.0) as running:
            client = await running.client()
            turns = await ask_all(running, [client], cases)

            for name, turn in turns.items():
                end = await turn.finished()
                assert (end["status"], end["error"]["code"]) == ("failed", "generation_timeout"), name
                assert end["length"] == lengths.get(name, end["length"]), name
                assert client.text(turn.generation) == TEXT[: end["length"]], name
                last = turn.calls[-1]
                assert await eventually(lambda last=last: last.state == "aborted"), name  # type: ignore[misc]
            assert (await turns["silence from the beginning"].finished())["message"] is None
            await running.assert_holds(client, intended={turn.generation: TEXT for turn in turns.values()})

    asyncio.run(go())


def test_an_answer_that_is_finished_is_complete_though_its_stream_never_ends(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, stall_timeout_seconds=0.8) as running:
            client = await running.client()
            whole = await ask(running, client, GOOD, name="number 1")
            await whole.finished()
            size = whole.calls[0].bytes_sent

            hangs = Behaviour(text=TEXT, fail=Failure(how="stall", at_byte=size - len(DONE)))
            unbilled = Behaviour(text=TEXT, fail=Failure(how="stall", at_byte=size - len(DONE) - 10))
            reset = Behaviour(text=TEXT, fail=Failure(how="reset", at_byte=size - len(DONE)))
            turns = [
                await ask(running, client, behaviour, name=f"number {number}")
                for number, behaviour in enumerate((hangs, unbilled, reset), 2)
            ]

            ends = [await turn.finished() for turn in turns]
            assert [(end["status"], end["finish_reason"]) for end in ends] == [("completed", "stop")] * 3
            assert [end["usage"]["state"] for end in ends] == ["settled", "estimated", "settled"]
            assert [turn.switches for turn in turns] == [[], [], []]
            await running.assert_holds(client, intended={turn.generation: TEXT for turn in turns})

    asyncio.run(go())
