"""The adapter against the OpenRouter simulator: every shape of answer, every failure, and the bill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from server.adapters.openrouter.keys import fingerprint_of
from server.adapters.openrouter.listing import ListingPace, watch_listing
from server.adapters.openrouter.upstream import OpenRouter
from server.embedded.openrouter.account import KeySettings
from server.embedded.openrouter.behaviour import Behaviour, Failure, Framing, Insertion
from server.embedded.openrouter.catalogue import Model
from server.embedded.openrouter.errors import ERRORS
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.simulator import Simulator
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Opened,
    Progress,
    SettlementUnavailable,
    UpstreamFact,
)
from tests.adapters.openrouter.asking import (
    KEY,
    a_request,
    all_facts,
    an_adapter,
    bills_of,
    opened_of,
    reasoning_of,
    served_of,
    text_of,
)
from tests.adapters.openrouter.test_classify import MEANING
from tests.scripted.waiting import eventually

TEXT = "Überlegen wir: 😀 first\u2028 the facts, then 👩‍🔧 the wishes.\n\nThen go."

T = TypeVar("T")


def with_simulator(act: Callable[[Simulator, OpenRouter], Awaitable[T]], **changes: Any) -> T:
    async def run() -> T:
        keys = tuple(changes.get("keys", [KEY]))
        async with Simulator(human_speed=False, keys=keys) as simulator, asyncio.timeout(20):
            openrouter = an_adapter(simulator.base_url, **changes)
            try:
                return await act(simulator, openrouter)
            finally:
                await openrouter.aclose()

    return asyncio.run(run())


def facts_of(behaviour: Behaviour, **request: Any) -> tuple[list[UpstreamFact], Call]:
    async def act(simulator: Simulator, openrouter: OpenRouter) -> tuple[list[UpstreamFact], Call]:
        simulator.script(behaviour)
        facts = await all_facts(openrouter, **request)
        call = simulator.calls()[0]
        await eventually(lambda: call.state != "open")
        return facts, call

    return with_simulator(act)


SHAPES = {
    "2025": Behaviour(text=TEXT, layout="2025"),
    "2026": Behaviour(text=TEXT),
    "usage without choices": Behaviour(text=TEXT, usage="no_choices"),
    "usage with the finish": Behaviour(text=TEXT, usage="with_finish"),
    "usage with content": Behaviour(text=TEXT, usage="with_content"),
    "finish twice": Behaviour(text=TEXT, duplicate_finish=True),
    "no DONE": Behaviour(text=TEXT, done=False),
    "closed by the connection": Behaviour(text=TEXT, chunked=False),
    "surrogates cut": Behaviour(text=TEXT, split_surrogates=True),
    "comments": Behaviour(text=TEXT, comments_first=5),
    "byte by byte": Behaviour(text=TEXT, framing=Framing(split="bytes", size=1)),
    "CRLF cut": Behaviour(text=TEXT, framing=Framing(newline="crlf", split="newline")),
    "CR": Behaviour(text=TEXT, framing=Framing(newline="cr", split="newline")),
    "characters cut": Behaviour(text=TEXT, framing=Framing(split="utf8")),
    "fields cut": Behaviour(text=TEXT, framing=Framing(split="field", space=False)),
    "many events a write": Behaviour(text=TEXT, framing=Framing(events_per_write=9)),
    "oddities": Behaviour(
        text=TEXT,
        insert=(
            Insertion(at=0, what="bom"),
            Insertion(at=1, what="comment"),
            Insertion(at=2, what="empty"),
            Insertion(at=3, what="null"),
            Insertion(at=4, what="no_choices"),
            Insertion(at=5, what="huge"),
            Insertion(at=6, what="unknown_fields"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_a_good_answer_gives_its_text_finish_and_bill(name: str):
    """I2 and I4: the text is the upstream's, and so is the bill."""
    facts, call = facts_of(SHAPES[name])

    assert text_of(facts) == call.seen == TEXT
    assert facts[-1] == Done()
    assert [fact.reason for fact in facts if isinstance(fact, Finish)] == ["stop"]
    served = served_of(facts)
    assert served is not None
    assert (served.model, served.generation_id) == (call.served_as, call.generation_id)
    assert opened_of(facts) == Opened(call.generation_id, fingerprint_of(KEY))
    (bill,) = bills_of(facts)
    assert (bill.prompt_tokens, bill.completion_tokens, bill.cost) == (
        call.usage.prompt_tokens,
        call.usage.completion_tokens,
        call.usage.cost,
    )


def test_reasoning_is_apart_from_the_text_and_told_once():
    facts, call = facts_of(Behaviour(text="Yes.", reasoning="Let me think. "))

    assert (text_of(facts), reasoning_of(facts)) == ("Yes.", "Let me think. ")
    assert bills_of(facts)[0].reasoning_tokens == call.usage.reasoning_tokens > 0


def test_comments_are_progress():
    facts, _ = facts_of(Behaviour(text="Yes.", comments_first=3))

    assert any(isinstance(fact, Progress) for fact in facts)


def test_without_a_header_the_id_in_the_chunks_is_the_handle():
    facts, call = facts_of(Behaviour(text="Yes.", generation_header=False, dated_model=True))

    opened, served = opened_of(facts), served_of(facts)
    assert opened is not None
    assert opened.generation_id is None
    assert served is not None
    assert served.generation_id == call.generation_id


def test_with_the_accounts_own_provider_key_the_bill_is_the_providers():
    facts, call = facts_of(Behaviour(text="Yes.", byok=True))

    assert bills_of(facts)[0].cost == call.usage.upstream_cost


@pytest.mark.parametrize("name", ERRORS)
def test_every_refusal_by_status_has_its_meaning(name: str):
    facts, _ = facts_of(Behaviour(error=name))

    (failed,) = facts
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.status) == (MEANING[name], ERRORS[name].status)


ENDS: dict[str, FailureKind] = {
    "error": FailureKind.OVERLOADED,
    "error_empty_choices": FailureKind.OVERLOADED,
    "error_string_code": FailureKind.OVERLOADED,
    "error_choice_only": FailureKind.UPSTREAM_ERROR,
    "error_native_only": FailureKind.UPSTREAM_ERROR,
    "error_availability": FailureKind.OVERLOADED,
    "reset": FailureKind.TRUNCATED,
    "close": FailureKind.TRUNCATED,
    "eof": FailureKind.TRUNCATED,
    "malformed": FailureKind.MALFORMED,
    "endless_line": FailureKind.MALFORMED,
}


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", [0, 2, 99])
@pytest.mark.parametrize("how", ENDS)
def test_every_failure_inside_a_stream_has_its_meaning(how: Any, at: int, done: bool):
    """quality.md §2: at token 0, in the middle, after the last token."""
    facts, call = facts_of(
        Behaviour(text="One two three four.", fail=Failure(how=how, at=at, done=done, size=1_100_000))
    )

    assert isinstance(facts[-1], Failed)
    assert (facts[-1].kind, facts[-1].status) == (ENDS[how], None)
    assert [fact for fact in facts if isinstance(fact, Done | Failed)] == [facts[-1]]
    assert call.seen.startswith(text_of(facts))
    if how != "reset":  # a reset may overtake what was sent
        assert text_of(facts) == call.seen


@pytest.mark.parametrize("how", ["hang", "reset", "close", "garbage"])
def test_what_happens_before_headers_has_its_meaning(how: Any):
    meaning = {
        "reset": FailureKind.CONNECTION_LOST,
        "close": FailureKind.CONNECTION_LOST,
        "garbage": FailureKind.MALFORMED,
    }
    if how != "hang":
        facts, _ = facts_of(Behaviour(text="x", before_headers=how))
        assert [fact.kind for fact in facts if isinstance(fact, Failed)] == [meaning[how]]
        return

    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        simulator.script(Behaviour(text="x", before_headers="hang"))
        task = asyncio.create_task(all_facts(openrouter))
        await eventually(simulator.calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: simulator.calls()[0].state == "aborted")

    with_simulator(act)


def test_a_connection_that_is_never_made_times_out():
    async def act(simulator: Simulator, _: OpenRouter) -> list[UpstreamFact]:
        elsewhere = an_adapter(simulator.unreachable_url)
        facts = await all_facts(elsewhere, connect_seconds=0.3)
        await elsewhere.aclose()
        return facts

    (failed,) = with_simulator(act)
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.CONNECT_TIMEOUT


@pytest.mark.parametrize("cancellations", [0, 1, 2])
def test_the_upstream_sees_a_reader_that_left_and_its_bill_comes_later(cancellations: int):
    """I4: a cancelled call is settled by its generation id; 0 cancellations is closing the generator."""

    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        simulator.script(Behaviour(text="One two three four.", gate="middle", gate_at=2))
        facts: list[UpstreamFact] = []
        some_text = asyncio.Event()

        async def read() -> None:
            async with aclosing(openrouter.stream(a_request())) as stream:
                async for more in stream:
                    facts.extend(more)
                    if text_of(facts):
                        some_text.set()
                        if not cancellations:
                            return

        task = asyncio.create_task(read())
        await some_text.wait()
        await simulator.reached("middle")
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        call = simulator.calls()[0]
        await eventually(lambda: call.state == "aborted")
        opened = opened_of(facts)
        assert opened is not None
        assert opened.generation_id is not None
        settlement = await openrouter.settle(opened.generation_id, opened.key)
        assert settlement is not None
        assert call.bill is not None
        assert settlement.cancelled
        assert (
            settlement.prompt_tokens,
            settlement.completion_tokens,
            settlement.cost,
            settlement.served_model,
        ) == (
            call.bill.prompt_tokens,
            call.bill.completion_tokens,
            call.bill.cost,
            call.served_as,
        )

    with_simulator(act)


def test_a_bill_that_is_not_there_yet_is_none_and_an_upstream_in_trouble_says_so():
    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        simulator.script(Behaviour(text="Yes.", generation_statuses=(404, 500, 429)))
        opened = opened_of(await all_facts(openrouter))
        assert opened is not None
        assert opened.generation_id is not None
        assert await openrouter.settle(opened.generation_id, opened.key) is None
        for _ in range(2):
            with pytest.raises(SettlementUnavailable) as told:
                await openrouter.settle(opened.generation_id, opened.key)
            assert not told.value.final
        settlement = await openrouter.settle(opened.generation_id, "gone-fingerprint")
        assert settlement is not None
        assert not settlement.cancelled

    with_simulator(act)


def test_settling_with_nobody_there_is_unavailable():
    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        elsewhere = an_adapter("http://127.0.0.1:9/api/v1")
        with pytest.raises(SettlementUnavailable) as told:
            await elsewhere.settle("gen-1", fingerprint_of(KEY))
        assert not told.value.final
        assert not await elsewhere.reachable()
        assert not await elsewhere.refresh_models()
        await elsewhere.aclose()

    with_simulator(act)


def test_keys_take_turns_and_a_refused_one_rests():
    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        simulator.account.keys["k-2"] = KeySettings(state="unknown")
        simulator.account.keys["k-3"] = KeySettings(state="exhausted")
        ends = [(await all_facts(openrouter))[-1] for _ in range(5)]
        kinds = [end.kind if isinstance(end, Failed) else None for end in ends]
        assert kinds == [None, FailureKind.KEY_REJECTED, FailureKind.BUDGET_EXHAUSTED, None, None]
        used = [call.key_fingerprint for call in simulator.calls() if call.status == 200]
        assert used == [fingerprint_of("k-1")] * 3

    with_simulator(act, keys=["k-1", "k-2", "k-3"])


def test_reachable_means_an_answer_that_takes_the_key():
    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        assert await openrouter.reachable()
        simulator.account.keys[KEY] = KeySettings(state="unknown")
        assert not await openrouter.reachable()

    with_simulator(act)


def test_the_listing_is_watched_and_a_missing_model_is_told_once():
    async def act(simulator: Simulator, openrouter: OpenRouter) -> None:
        told: list[tuple[str, str]] = []
        fetches = 0
        refresh = openrouter.refresh_models

        async def counted() -> bool:
            nonlocal fetches
            fetches += 1
            if fetches <= 2:
                return False
            if fetches == 5:
                simulator.models["late/model"] = Model(
                    slug="late/model", name="", provider="", context_length=9, expires="2026-12-31"
                )
            return await refresh()

        openrouter.refresh_models = counted  # type: ignore[method-assign]
        watching = asyncio.create_task(
            watch_listing(
                openrouter,
                ["openai/gpt-4o-mini", "no/such", "late/model"],
                lambda slug, problem: told.append((slug, problem)),
                pace=ListingPace(refresh_seconds=0.01, retry_seconds=0.01, longest_retry_seconds=0.02),
            )
        )
        await eventually(lambda: fetches >= 7)
        watching.cancel()
        assert told == [
            ("no/such", "is not in OpenRouter's listing"),
            ("late/model", "is not in OpenRouter's listing"),
            ("late/model", "will be retired on 2026-12-31"),
        ]
        assert openrouter.catalogue.fetched
        assert not openrouter.catalogue.is_known("no/such")

    with_simulator(act)
