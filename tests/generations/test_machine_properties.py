"""What holds for every sequence of facts, with time moving (machine.py).

`Driving` holds every list of effects against the rules: what a client has that applied every delta is the
machine's text, attempts count up by one, a switch precedes the first text of its attempt, deadlines lie ahead.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import get_args

import hypothesis.strategies as st
from hypothesis import given

from protocol.codes import ErrorCode
from protocol.frames import Fallback
from server.generations.capabilities import Capability
from server.generations.effects import (
    Announce,
    AppendText,
    CloseUpstream,
    End,
    Fact,
    HandOver,
    KeepNote,
    OpenUpstream,
    PromptBuilt,
    PromptFailed,
    PromptPending,
    StopRequested,
    StoreAway,
    TakenOver,
    Tick,
    Yield,
)
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Opened,
    Progress,
    Reasoning,
    Served,
    Text,
    UsageReported,
)
from tests.generations.driving import LIMITS, Driving
from tests.generations.notes import CHAIN, a_plan, notes

ANSWER = "You like finding things out, and you finish what you begin.\n\n- Research 👩‍🔬\n- Teaching\n"

FINISHES = ("stop", "length", "content_filter", "tool_calls")

pieces = st.one_of(
    st.tuples(st.integers(0, len(ANSWER)), st.integers(1, 60)).map(
        lambda cut: ANSWER[cut[0] : cut[0] + cut[1]]
    ),
    st.sampled_from([ANSWER, ANSWER + "more " * 50, "Sure, continuing:\n\n", "other " * 50, " ", "\n", "x"]),
).filter(bool)
goes_on = st.one_of(
    pieces.map(Text),
    pieces.map(Text),
    pieces.map(Reasoning),
    st.just(Opened("gen-1", "k")),
    st.just(Served("served", "gen-2")),
    st.just(Progress()),
    st.just(UsageReported(1, 2, 0, Decimal("0.1"))),
    st.builds(Finish, st.sampled_from(FINISHES), st.none()),
    st.just(PromptBuilt(7)),
    st.just(PromptPending()),
    st.just(Tick()),
    st.floats(0, 60).map(StoreAway),
)
fails = st.builds(
    Failed, st.sampled_from(FailureKind), st.none() | st.just(503), st.none() | st.floats(0, 10)
)  # fmt: skip
ends = st.one_of(
    st.just(Done()),
    st.just(StopRequested()),
    st.just(TakenOver()),
    st.just(HandOver()),
    st.sampled_from([ErrorCode.NOT_FOUND, ErrorCode.INTERNAL]).map(PromptFailed),
)
facts: st.SearchStrategy[Fact] = st.integers(0, 19).flatmap(
    lambda dice: goes_on if dice < 14 else fails if dice < 19 else ends
)
waits = st.floats(0, 30) | st.sampled_from([0.0, 0.7, 2.8, 20.0])
plans = st.builds(
    lambda chain, fallback: a_plan(*chain, fallback=fallback),
    st.sampled_from([CHAIN, CHAIN[:1], CHAIN[2:], CHAIN[:2]]),
    st.sampled_from(get_args(Fallback)),
)
limits = st.builds(
    lambda attempts, hold, whole: replace(
        LIMITS, max_attempts=attempts, seam_hold_chars=hold, generation_seconds=whole
    ),
    st.integers(1, 6),
    st.sampled_from([10, 200]),
    st.sampled_from([5.0, 180.0]),
)
capabilities: st.SearchStrategy[Callable[[str], Capability]] = st.sampled_from(get_args(Capability)).map(
    lambda how: lambda _: how
)
cooling = st.sets(st.sampled_from(CHAIN))


@st.composite
def successors(draw: st.DrawFn) -> Driving:
    attempt = draw(st.integers(1, 4))
    text = draw(st.sampled_from(["", "x", ANSWER, ANSWER[:40]]))
    begins = {1: 0} if text else {}
    begins |= (
        draw(st.dictionaries(st.integers(1, attempt), st.integers(0, len(text)), max_size=3)) if text else {}
    )
    held = draw(
        st.lists(notes.map(lambda note: replace(note, attempt=note.attempt % attempt + 1)), max_size=4)
    )
    failures = st.sampled_from([None, "overloaded", "prefill_rejected", "node_drained", "key_rejected"])
    return Driving.resumed(
        text,
        attempt=attempt,
        notes=[replace(note, failure=draw(failures), model=CHAIN[0]) for note in held],
        begins=sorted(begins.items()),
        losses=draw(st.integers(0, 3)),
        cause=draw(st.sampled_from(["node_lost", "node_drained"])),
        elapsed=draw(st.sampled_from([0.0, 100.0, 179.0, 500.0])),
        plan=draw(plans),
        limits=draw(limits),
        capabilities=draw(capabilities),
        cooling=draw(cooling),
    )


firsts = st.builds(
    lambda plan, limits, capabilities, cooling: Driving(
        plan, limits=limits, capabilities=capabilities, cooling=cooling
    ),
    plans,
    limits,
    capabilities,
    cooling,
)


def brought_to_its_end(driving: Driving) -> None:
    """However long it takes: the whole answer's clock, put off only by time that does not count."""
    driving.wait(100_000.0)
    assert driving.over


@given(firsts | successors(), st.lists(st.tuples(waits, facts), max_size=25), st.data())
def test_every_sequence_of_facts_has_one_end(driving: Driving, steps: list[tuple[float, Fact]], data):
    driving.begin()
    for seconds, fact in steps:
        driving.wait(seconds)
        driving.hear(fact)
    brought_to_its_end(driving)
    last = [effect for effect in driving.told if isinstance(effect, End | Yield)]
    assert len(last) == 1
    assert driving.told[-1] is last[0]
    assert driving.machine.next_deadline is None
    assert driving.hear(data.draw(facts), data.draw(facts), data.draw(fails), StopRequested()) == []


@given(firsts | successors(), st.lists(st.tuples(waits, facts), max_size=25))
def test_every_call_is_announced_and_every_text_comes_from_the_last_call(
    driving: Driving, steps: list[tuple[float, Fact]]
):
    asked = driving.attempt or 1
    driving.begin()
    for seconds, fact in steps:
        driving.wait(seconds)
        driving.hear(fact)
    for effect in driving.told:
        match effect:
            case Announce(attempt=attempt):
                assert attempt == asked + 1
                asked = attempt
            case OpenUpstream(attempt=attempt) | AppendText(attempt=attempt):
                assert attempt == asked
            case _:
                pass
    opened = [effect.attempt for effect in driving.told if isinstance(effect, OpenUpstream)]
    assert opened == sorted(set(opened))


@given(firsts | successors(), st.lists(st.tuples(waits, facts), max_size=25))
def test_the_last_note_of_every_attempt_that_is_over_is_kept_before_the_next_is_announced(
    driving: Driving, steps: list[tuple[float, Fact]]
):
    driving.begin()
    for seconds, fact in steps:
        driving.wait(seconds)
        driving.hear(fact)
    kept: dict[int, str | None] = {}
    for effect in driving.told:
        if isinstance(effect, KeepNote):
            kept[effect.note.attempt] = effect.note.failure
        elif isinstance(effect, Announce):
            assert kept[effect.attempt - 1] is not None


@given(
    firsts | successors(),
    st.lists(st.tuples(waits, facts), max_size=25),
    st.lists(st.booleans(), min_size=60),
)
def test_an_attempt_whose_switch_was_refused_never_was(
    driving: Driving, steps: list[tuple[float, Fact]], refusals: list[bool]
):
    refused = iter(refusals)
    for step in [None, *steps]:
        effects = driving.begin() if step is None else [*driving.wait(step[0]), *driving.hear(step[1])]
        announced = [effect for effect in effects if isinstance(effect, Announce)]
        if announced and not driving.over and next(refused, True):
            attempt = announced[0].attempt
            after = effects[effects.index(announced[0]) :]
            if any(isinstance(effect, AppendText) for effect in after):
                continue  # it was carried out long ago
            told = driving.hear(StopRequested(unannounced=attempt))
            assert [type(effect) for effect in told] == [CloseUpstream, End]
            end = told[-1]
            assert isinstance(end, End)
            assert [note.attempt for note in end.notes] == list(range(1, attempt))
            assert end.status == "cancelled"
            break
    else:
        brought_to_its_end(driving)
    assert driving.over


@given(firsts | successors(), st.lists(st.tuples(waits, goes_on), max_size=25))
def test_whoever_ends_it_every_segment_is_accounted_for(driving: Driving, steps: list[tuple[float, Fact]]):
    driving.begin()
    for seconds, fact in steps:
        driving.wait(seconds)
        driving.hear(fact)
    brought_to_its_end(driving)
    end = driving.end
    assert [note.attempt for note in end.notes] == list(range(1, driving.attempt + 1))
    covered = 0
    for note in end.notes:
        assert note.completion_chars >= note.to - note.start
        if note.start < note.to:
            assert note.start == covered
            covered = note.to
    assert covered == len(driving.machine.text)
    assert (end.code is None) == (end.status in {"completed", "cancelled"})
