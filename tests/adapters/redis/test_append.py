"""Appending: cuts at code points, replays, merges, and what subscribers see of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.channels.broker import TextArrived
from tests.adapters.redis.support import (
    Listener,
    a_record,
    an_adapter,
    begun,
    eventually,
    held_text,
    switch,
)

# One to four bytes each: ASCII, accents as marks of their own, CJK, an emoji with its modifier.
PIECES = ["a", "é", "e\u0301", "漢", "👋", "👋🏽", "👩‍👩‍👧", "\u200d", " ", "\n", "\ufffd", "\U0010ffff"]


@pytest.mark.parametrize("at", range(13))
def test_an_attempt_cuts_at_any_code_point(redis_url: str, at: int) -> None:
    """Architecture §7.13: places are in code points, cuts in bytes; every place of every width is met."""
    text = "aé漢👋🏽e\u0301👩‍👧z\ufffd"
    assert len(text) == 12

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            name = (start.user, start.generation)
            await adapter.generations.append(*name, 1, 0, text)
            await switch(adapter, start, 1)
            told = await adapter.generations.append(*name, 2, min(at, 12), "→")
            assert told.length == min(at, 12) + 1
            assert await held_text(adapter, start) == text[:at] + "→"

    asyncio.run(scenario())


def test_an_attempt_may_take_text_away_without_bringing_any(redis_url: str) -> None:
    """Protocol §1: a truncation is a delta at a smaller `at`; its text may be empty."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            await adapter.subscription.subscribe(start.user)
            name = (start.user, start.generation)
            await adapter.generations.append(*name, 1, 0, "abc")
            await switch(adapter, start, 1)
            assert (await adapter.generations.append(*name, 2, 1, "")).length == 1
            assert await held_text(adapter, start) == "a"
            await eventually(lambda: len(listener.texts) == 2)
            assert listener.texts[1] == TextArrived(start.user, start.generation, 2, 1, 1, 1, "")

    asyncio.run(scenario())


def test_what_is_appended_twice_is_there_once_and_heard_once(redis_url: str) -> None:
    """Architecture §7.3: a lost reply is answered by asking again, whole, in part, or merged with more."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            await adapter.subscription.subscribe(start.user)
            name = (start.user, start.generation)
            for at, text, length in [
                (0, "añb", 3),
                (0, "añb", 3),
                (1, "ñ", 3),
                (3, "😀d", 5),
                (0, "añb😀d", 5),
                (3, "😀d", 5),
                (1, "ñb😀dée", 7),  # knows 4 of 6
                (7, "!", 8),
            ]:
                told = await adapter.generations.append(*name, 1, at, text)
                assert told.length == length
            assert await held_text(adapter, start) == "añb😀dée!"
            await eventually(lambda: bool(listener.texts) and listener.texts[-1].length == 8)
            assert [(each.at, each.text, each.previous) for each in listener.texts] == [
                (0, "añb", 0),
                (3, "😀d", 1),
                (5, "ée", 1),
                (7, "!", 1),
            ]

    asyncio.run(scenario())


def test_the_first_append_of_an_attempt_names_the_attempt_before_it(redis_url: str) -> None:
    """The broker port: `previous`, so that one lost publish is seen."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            await adapter.subscription.subscribe(start.user)
            name = (start.user, start.generation)
            await adapter.generations.append(*name, 1, 0, "abc")
            await switch(adapter, start, 1)
            await switch(adapter, start, 2)
            await adapter.generations.append(*name, 3, 2, "x")
            await adapter.generations.append(*name, 3, 3, "y")
            await eventually(lambda: len(listener.texts) == 3)
            assert [(each.attempt, each.previous) for each in listener.texts] == [(1, 0), (3, 1), (3, 3)]
            (running,) = (await adapter.broker.snapshot(start.user)).running
            assert (running.attempt, running.text_attempt, running.begins) == (3, 3, ((1, 0), (3, 2)))

    asyncio.run(scenario())


def test_pending_appends_that_touch_become_one_and_others_keep_their_order(redis_url: str) -> None:
    """Group commit: several pending appends of one generation and attempt are one script call."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            one, two = await begun(adapter), await begun(adapter)
            for start in (one, two):
                await adapter.subscription.subscribe(start.user)
                await adapter.generations.append(start.user, start.generation, 1, 0, "-")
            calls, batches = adapter.flusher.calls, adapter.flusher.batches
            append = adapter.generations.append
            told = await asyncio.gather(
                *(
                    append(start.user, start.generation, 1, 1 + 2 * number, f"{number}é")
                    for number in range(8)
                    for start in (one, two)
                )
            )
            assert (adapter.flusher.calls - calls, adapter.flusher.batches - batches) == (2, 1)
            assert {each.length for each in told} == {17}
            for start in (one, two):
                assert await held_text(adapter, start) == "-" + "".join(f"{number}é" for number in range(8))
            await eventually(lambda: len(listener.texts) == 4)

    asyncio.run(scenario())


def test_pending_appends_that_do_not_touch_are_judged_each_for_itself(redis_url: str) -> None:
    """A refusal belongs to the append that earned it; neighbours in the batch are none the wiser."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start, other = await begun(adapter), await begun(adapter)
            append = adapter.generations.append
            results = await asyncio.gather(
                append(start.user, start.generation, 1, 0, "ab"),
                append(start.user, start.generation, 1, 9, "far"),
                append(start.user, start.generation, 1, 2, "cd"),
                append(start.user, start.generation, 2, 4, "other attempt"),
                append(other.user, other.generation, 1, 0, "fine"),
                append(other.user, other.generation, 0, 4, "fenced"),
                return_exceptions=True,
            )
            assert [type(each).__name__ for each in results] == [
                "Appended",
                "Gone",
                "Appended",
                "Gone",
                "Appended",
                "Fenced",
            ]
            assert await held_text(adapter, start) == "abcd"
            assert await held_text(adapter, other) == "fine"

    asyncio.run(scenario())


def test_a_lone_surrogate_is_refused_before_it_meets_anybody_else(redis_url: str) -> None:
    """One caller's mistake must not spoil the batch of the others."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            append = adapter.generations.append
            before = append(start.user, start.generation, 1, 0, "ab")
            with pytest.raises(UnicodeEncodeError):
                await append(start.user, start.generation, 1, 2, "\ud83d")
            await asyncio.gather(before, append(start.user, start.generation, 1, 2, "cd"))
            assert await held_text(adapter, start) == "abcd"

    asyncio.run(scenario())


def test_a_restored_text_is_cut_as_any_other(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            memory = a_record(start, text="né漢", length=3, text_attempt=1, begins=((1, 0),))
            assert await adapter.generations.restore(memory)
            await switch(adapter, start, 1)
            await adapter.generations.append(start.user, start.generation, 2, 2, "😀")
            assert await held_text(adapter, start) == "né😀"

    asyncio.run(scenario())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
            st.integers(0, 3),
            st.integers(0, 5),
        ),
        max_size=25,
    )
)
def test_whatever_is_appended_replayed_and_cut_the_store_and_every_listener_hold_the_same_text(
    redis_url: str, steps: list[tuple[str, int, int]]
) -> None:
    """Protocol §1: `text = text[:at] + delta.text`, against a plain model, for any sequence."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            await adapter.subscription.subscribe(start.user)
            name = (start.user, start.generation)
            model, attempt, begin, fresh = "", 1, 0, True
            for text, action, back in steps:
                if action == 0:
                    await switch(adapter, start, attempt)
                    attempt, fresh = attempt + 1, True
                    continue
                if fresh:
                    begin = max(0, len(model) - back)
                    model, fresh = model[:begin] + text, False
                    told = await adapter.generations.append(*name, attempt, begin, text)
                else:
                    # Said again from a little before, as after a lost reply, and then the new text.
                    at = max(begin, len(model) - (back if action == 1 else 0))
                    again = model[at:] + text
                    model += text
                    told = await adapter.generations.append(*name, attempt, at, again)
                assert told.length == len(model)
                assert await held_text(adapter, start) == model
            await eventually(lambda: heard_by(listener.texts) == model, "the listener holds the model's text")

    asyncio.run(scenario())


def heard_by(texts: list[TextArrived]) -> str:
    heard = ""
    for each in texts:
        assert each.at <= len(heard), "a hole"
        heard = heard[: each.at] + each.text
        assert len(heard) == each.length
    return heard
