"""Attempts that fail and what comes after them (machine.py)."""

import pytest

from protocol.codes import ErrorCode
from server.generations.effects import (
    Announce,
    AppendText,
    CloseUpstream,
    CoolDown,
    KeepNote,
    OpenUpstream,
    PromptBuilt,
    ShowInterim,
)
from server.generations.machine import State
from server.generations.policy import RULES
from server.generations.upstream import Done, Failed, FailureKind, Finish, Opened, Reasoning, Text
from tests.generations.driving import Driving, kinds, only
from tests.generations.notes import CHAIN, a_plan

A, B, C = CHAIN
HALF = "You like finding things out, and you finish"
LIST = f"{HALF}:\n\n122. Research"
HELD = "123"
"""After `LIST` this may be the next item's number, and nothing else is known of it yet."""
TRUNCATED = Failed(FailureKind.TRUNCATED)
OVERLOADED = Failed(FailureKind.OVERLOADED, status=503)


def begun(plan=None, *, text: str = "", **options) -> Driving:
    driving = Driving(plan, **options)
    driving.begin()
    driving.hear(PromptBuilt(12), Opened("gen-1", "k"), *([Text(text)] if text else []))
    return driving


def test_a_failure_before_any_text_is_followed_by_a_clean_attempt():
    driving = Driving()
    driving.begin()
    effects = driving.hear(OVERLOADED)
    assert kinds(effects) == [CloseUpstream, KeepNote, Announce, ShowInterim, OpenUpstream]
    assert only(Announce, effects) == Announce(2, A, B, "upstream_status", "continue", 0)
    assert only(OpenUpstream, effects) == OpenUpstream(2, B, "fresh", "", 1000)
    assert only(ShowInterim, effects) == ShowInterim("switching", 0, A, B)
    assert driving.machine.state is State.WAITING
    assert driving.hear(Text("Hi")) == [AppendText(2, 0, "Hi")]


def test_the_failed_attempts_note_is_kept_before_the_switch():
    note = only(KeepNote, begun(text="Hi").hear(TRUNCATED)).note
    assert (note.attempt, note.failure, note.start, note.to) == (1, "truncated", 0, 2)


@pytest.mark.parametrize("kind", FailureKind)
def test_the_cause_is_the_rows(kind: FailureKind):
    driving = begun()
    announced = [effect for effect in driving.hear(Failed(kind)) if isinstance(effect, Announce)]
    assert [each.cause for each in announced] == ([RULES[kind].cause] if announced else [])
    assert bool(announced) != driving.over


def test_after_text_the_next_model_is_asked_for_the_rest():
    driving = begun(text=HALF)
    effects = driving.hear(TRUNCATED)
    assert only(Announce, effects) == Announce(2, A, B, "upstream_truncated", "continue", len(HALF))
    call = only(OpenUpstream, effects)
    assert (call.continuation, call.partial, call.max_tokens) == ("user_turn", HALF, 1000 - 11)
    assert driving.machine.state is State.SWITCHING


def test_the_rest_is_joined_by_the_seam():
    driving = begun(text=HALF)
    driving.hear(TRUNCATED)
    assert driving.hear(Text("and you"), Text(" finish")) == []
    assert driving.hear(Text(" what you begin.")) == [AppendText(2, len(HALF), " what you begin.")]
    driving.hear(Finish("stop", None), Done())
    assert driving.machine.text == f"{HALF} what you begin."
    spans = [(note.start, note.to, note.completion_chars) for note in driving.end.notes]
    assert spans == [(0, 43, 43), (43, 59, 30)]


def test_an_answer_that_leaves_the_old_one_cuts_below_what_was_announced():
    driving = begun(text=f"{HALF} what you begin")
    driving.hear(TRUNCATED)
    effects = driving.hear(Text(f"{HALF} what others leave." + " So" * 60))
    assert only(AppendText, effects).at == len(f"{HALF} what")
    assert driving.machine.state is State.STREAMING


def test_after_the_seam_every_word_is_appended_at_once():
    driving = begun(text=HALF)
    driving.hear(TRUNCATED)
    driving.hear(Text(" what" * 50))
    assert driving.hear(Text(" next")) == [AppendText(2, len(HALF) + 250, " next")]


def test_the_seam_lets_go_when_its_time_is_up():
    driving = begun(text=LIST)
    driving.hear(TRUNCATED)
    driving.hear(Text(HELD))
    assert driving.machine.next_deadline == pytest.approx(driving.now + 0.7)
    assert driving.wait(0.8) == [AppendText(2, len(LIST), HELD)]


@pytest.mark.parametrize("end", [Done(), Finish("stop", None)])
def test_the_seam_lets_go_when_the_model_has_finished(end):
    driving = begun(text=LIST)
    driving.hear(TRUNCATED, Text(HELD))
    assert only(AppendText, driving.hear(end)).text == HELD


def test_a_model_that_only_repeats_adds_nothing_and_the_answer_is_complete():
    driving = begun(text=HALF)
    driving.hear(TRUNCATED, Text(HALF), Finish("stop", None), Done())
    assert driving.machine.text == HALF
    assert driving.end.status == "completed"
    assert [(note.start, note.to) for note in driving.end.notes] == [(0, 43), (43, 43)]


def test_text_held_by_a_seam_is_lost_with_its_attempt_and_nothing_is_taken_away():
    driving = begun(text=LIST)
    driving.hear(TRUNCATED, Text(HELD), TRUNCATED)
    assert driving.machine.text == LIST
    assert driving.machine.notes[1].completion_chars == len(HELD)
    assert driving.attempt == 3


def test_text_held_by_a_seam_is_shown_where_nobody_goes_on():
    driving = begun(text=LIST)
    for _ in range(3):
        driving.hear(TRUNCATED)
        driving.wait(1.0)
    effects = driving.hear(Opened("g", "k"), Text(HELD), TRUNCATED)
    assert only(AppendText, effects) == AppendText(4, len(LIST), HELD)
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.ALL_MODELS_FAILED)
    assert [(note.start, note.to, note.completion_chars) for note in driving.end.notes][-1] == (59, 62, 3)


@pytest.mark.parametrize("again", [HALF[:3], HALF[:25], HALF])
def test_text_held_that_only_begins_the_answer_again_is_not_shown_in_the_end(again: str):
    driving = begun(text=HALF)
    for _ in range(3):
        driving.hear(TRUNCATED)
        driving.wait(1.0)
    driving.hear(Opened("g", "k"), Text(again), TRUNCATED)
    assert driving.machine.text == HALF
    assert driving.end.notes[-1].completion_chars == len(again)


def test_what_has_barely_begun_begins_again():
    driving = begun(text="Hel")
    effects = driving.hear(TRUNCATED)
    assert only(Announce, effects) == Announce(2, A, B, "upstream_truncated", "restart", 0)
    assert only(OpenUpstream, effects).continuation == "fresh"
    assert driving.machine.text == "Hel"
    assert driving.hear(Text("Hi")) == [AppendText(2, 0, "Hi")]


def test_with_fallback_restart_the_answer_begins_again():
    driving = begun(a_plan(fallback="restart"), text=HALF)
    effects = driving.hear(TRUNCATED)
    assert only(Announce, effects) == Announce(2, A, B, "upstream_truncated", "restart", 0)
    assert only(OpenUpstream, effects) == OpenUpstream(2, B, "fresh", "", 1000)
    assert driving.hear(Text("New")) == [AppendText(2, 0, "New")]


def test_with_fallback_restart_a_silent_failure_is_announced_as_restart():
    effects = begun(a_plan(fallback="restart")).hear(TRUNCATED)
    assert only(Announce, effects).mode == "restart"


def test_with_fallback_off_the_first_failure_is_the_end_and_the_text_is_the_message():
    driving = begun(a_plan(fallback="off"), text=HALF)
    driving.hear(TRUNCATED)
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.ALL_MODELS_FAILED)
    assert driving.machine.text == HALF


def test_a_model_that_cannot_go_on_begins_again():
    driving = begun(text=HALF, capabilities=lambda model: "none" if model == B else "user_turn")
    effects = driving.hear(TRUNCATED)
    assert (only(Announce, effects).mode, only(Announce, effects).keep) == ("restart", 0)
    effects = driving.hear(TRUNCATED)
    assert (only(Announce, effects).mode, only(Announce, effects).keep) == ("continue", len(HALF))


def test_a_model_that_refuses_prefill_is_asked_by_a_users_turn():
    driving = begun(text=HALF + " ", capabilities=lambda _: "prefill")
    call = only(OpenUpstream, driving.hear(TRUNCATED))
    assert (call.model, call.continuation, call.partial) == (B, "prefill", HALF + " ")
    call = only(OpenUpstream, driving.hear(Failed(FailureKind.PREFILL_REJECTED, status=400)))
    assert (call.model, call.continuation) == (B, "user_turn")
    call = only(OpenUpstream, driving.hear(TRUNCATED))
    assert (call.model, call.continuation) == (C, "prefill")


def test_prefill_that_lost_its_white_space_is_put_right():
    driving = begun(text=HALF + " ", capabilities=lambda _: "prefill")
    driving.hear(TRUNCATED, Text(" what you begin."), Done())
    assert driving.machine.text == f"{HALF} what you begin."


def test_a_refused_connection_is_tried_again_after_a_pause():
    driving = Driving()
    driving.begin()
    effects = driving.hear(Failed(FailureKind.CONNECT_REFUSED))
    assert OpenUpstream not in kinds(effects)
    assert only(Announce, effects).to_model == A
    assert driving.machine.next_deadline == driving.now + 0.25
    assert driving.wait(0.25) == [OpenUpstream(2, A, "fresh", "", 1000)]


@pytest.mark.parametrize(
    ("kind", "pool"), [(FailureKind.RATE_LIMITED_MODEL, False), (FailureKind.RATE_LIMITED_POOL, True)]
)
def test_a_rate_limit_cools_down_what_it_limits(kind: FailureKind, pool: bool):
    effects = begun().hear(Failed(kind, status=429, retry_after_seconds=30.0))
    assert effects[0] == CoolDown(A, 30.0, pool)


def test_a_short_rate_limit_of_the_only_model_is_waited_for():
    driving = begun(a_plan(C))
    driving.hear(Failed(FailureKind.RATE_LIMITED_MODEL, retry_after_seconds=3.0))
    assert [type(effect) for effect in driving.wait(2.9)] == []
    assert only(OpenUpstream, driving.wait(0.1)).attempt == 2


def test_a_model_that_says_nothing_in_time_is_given_up():
    driving = begun()
    driving.wait(19.9)
    announced = only(Announce, driving.wait(0.1))
    assert (announced.cause, announced.to_model) == ("first_token_timeout", B)


def test_a_model_that_stops_in_the_middle_is_given_up():
    driving = begun(text=HALF)
    driving.wait(10.0)
    driving.hear(Text(" what"))
    driving.wait(14.9)
    announced = only(Announce, driving.wait(0.1))
    assert (announced.cause, announced.keep) == ("stall_timeout", len(HALF) + 5)


def test_thoughts_are_data_but_no_text():
    driving = begun()
    driving.wait(15)
    driving.hear(Reasoning("hm"))
    driving.wait(14)
    announced = only(Announce, driving.wait(1))
    assert (announced.cause, announced.mode) == ("stall_timeout", "continue")
    assert driving.machine.notes[0].completion_chars == 2


def test_when_every_model_failed_the_text_held_is_the_message():
    driving = begun(text=HALF)
    for _ in range(4):
        driving.wait(1.0)
        driving.hear(Opened("g", "k"), TRUNCATED)
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.ALL_MODELS_FAILED)
    assert [note.failure for note in driving.end.notes] == ["truncated"] * 4
    assert driving.machine.text == HALF


def test_a_call_refused_by_a_status_has_reached_the_upstream_and_a_silent_one_may_have():
    driving = Driving()
    driving.begin()
    driving.hear(PromptBuilt(12), OVERLOADED, PromptBuilt(12))
    driving.wait(20.0)
    assert [(note.reached, note.refused) for note in driving.machine.notes] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_one_empty_rest_may_be_a_cold_start_and_two_running_are_the_end():
    driving = begun(text=HALF)
    driving.hear(TRUNCATED, Finish("stop", None), Failed(FailureKind.EMPTY))
    assert not driving.over
    driving.hear(Finish("stop", None), Failed(FailureKind.EMPTY))
    assert (driving.end.status, driving.machine.text) == ("completed", HALF)


def test_a_finish_without_a_word_is_no_answer():
    driving = begun()
    driving.hear(Finish("stop", None))
    assert only(Announce, driving.wait(5.0)).cause == "empty_answer"
