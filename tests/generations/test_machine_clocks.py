"""Notices and clocks (machine.py)."""

import pytest

from protocol.codes import ErrorCode
from server.generations.effects import (
    AppendText,
    End,
    PromptBuilt,
    PromptPending,
    ShowInterim,
    StoreAway,
    Tick,
)
from server.generations.upstream import Failed, FailureKind, Finish, Opened, Progress, Reasoning, Text
from tests.generations.driving import LIMITS, Driving, kinds, only
from tests.generations.notes import CHAIN

HALF = "You like finding things out, and you finish"


def begun(*facts) -> Driving:
    driving = Driving()
    driving.begin()
    driving.hear(PromptBuilt(12), *facts)
    return driving


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ((), "waiting"),
        ((Opened("g", "k"), Progress()), "waiting"),
        ((Reasoning("hm"),), "thinking"),
        ((Text("Hi"),), "stalled"),
        ((Reasoning("hm"), Text("Hi")), "stalled"),
        ((PromptPending(),), "recovering"),
    ],
)
def test_a_notice_says_what_is_waited_for(facts, phase):
    driving = begun(*facts)
    driving.wait(9.9)
    notice = only(ShowInterim, driving.wait(0.1))
    assert notice == ShowInterim(phase, 10_000, CHAIN[0], None)


def test_a_notice_says_that_the_rest_is_waited_for():
    driving = begun(Text(HALF), Failed(FailureKind.TRUNCATED))
    notice = only(ShowInterim, driving.wait(7.0))
    assert notice == ShowInterim("switching", 7_000, CHAIN[1], None)


def test_notices_come_regularly_while_nothing_else_does():
    driving = begun()
    effects = driving.wait(19.0)
    assert [effect.elapsed_ms for effect in effects if isinstance(effect, ShowInterim)] == [10_000, 17_000]


def test_every_word_puts_the_next_notice_off():
    driving = begun()
    for _ in range(30):
        driving.hear(Text("x"))
        assert driving.wait(5.0) == []


def test_comments_put_nothing_off():
    driving = begun()
    for _ in range(9):
        driving.hear(Progress())
        driving.wait(1.0)
    assert kinds(driving.wait(1.0)) == [ShowInterim]


def test_a_tick_before_its_time_does_nothing():
    assert begun(Text("Hi")).hear(Tick()) == []


def test_the_whole_answer_has_its_time_and_no_more():
    driving = begun()
    for _ in range(17):
        driving.hear(Text("x"))
        driving.wait(10.0)
    driving.hear(Text("x"))
    driving.wait(10.0)
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.GENERATION_TIMEOUT)
    assert driving.machine.text == "x" * 18


def test_an_answer_that_was_finished_in_time_is_complete_when_the_time_is_over():
    driving = begun()
    for _ in range(17):
        driving.hear(Text("x"))
        driving.wait(10.0)
    driving.wait(8.0)
    driving.hear(Text("y"), Finish("stop", None))
    driving.wait(2.0)
    assert driving.end.status == "completed"


def test_after_the_finish_the_bill_is_waited_for_a_little():
    driving = begun(Text("Hi"), Finish("stop", None))
    assert driving.wait(4.9) == []
    driving.wait(0.1)
    assert (driving.end.status, driving.end.finish_reason) == ("completed", "stop")


def test_time_without_the_store_does_not_count():
    driving = begun()
    driving.now += 300.0
    driving.hear(StoreAway(300.0))
    assert driving.hear(Tick()) == []
    notice = only(ShowInterim, driving.wait(10.0))
    assert notice.elapsed_ms == 10_000


def test_while_the_prompt_cannot_be_built_no_model_is_late():
    driving = begun(PromptPending())
    effects = driving.wait(100.0)
    assert set(kinds(effects)) == {ShowInterim}
    driving.hear(PromptBuilt(12))
    assert driving.machine.next_deadline is not None
    assert only(ShowInterim, driving.wait(7.0)).phase == "waiting"
    assert not driving.over


def test_while_the_prompt_cannot_be_built_the_whole_answers_clock_runs():
    driving = begun(PromptPending())
    effects = driving.wait(LIMITS.generation_seconds)
    assert isinstance(effects[-1], End)
    assert driving.end.code == ErrorCode.GENERATION_TIMEOUT


def test_a_seam_that_lets_go_in_the_moment_of_a_stall_shows_what_it_held_first():
    driving = Driving(limits=LIMITS.__class__(stall_seconds=0.7, seam_hold_seconds=0.7))
    driving.begin()
    shown = f"{HALF}:\n\n122. Research"
    driving.hear(Text(shown), Failed(FailureKind.TRUNCATED), Text("123"))
    effects = driving.wait(0.7)
    assert isinstance(effects[0], AppendText)
    assert driving.attempt == 3
    assert driving.machine.text == f"{shown}123"


def test_a_machine_that_waits_to_begin_says_so_and_gives_up_in_the_end():
    driving = Driving()
    assert only(ShowInterim, driving.wait(10.0)).phase == "waiting"
    driving.wait(170.0)
    assert driving.end.code == ErrorCode.GENERATION_TIMEOUT
    assert driving.begin() == []
