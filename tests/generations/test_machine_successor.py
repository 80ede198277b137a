"""A successor on another node (machine.py)."""

import pytest

from protocol.codes import ErrorCode
from server.generations.effects import (
    Announce,
    AppendText,
    CloseUpstream,
    End,
    HandOver,
    KeepNote,
    OpenUpstream,
    PromptBuilt,
    ShowInterim,
    StopRequested,
    Yield,
)
from server.generations.machine import State
from server.generations.upstream import Text
from tests.generations.driving import Driving, kinds, only
from tests.generations.notes import CHAIN, a_note, a_plan

A, B, C = CHAIN
HALF = "You like finding things out, and you finish"


def test_a_successor_is_simply_the_next_attempt():
    driving = Driving.resumed(HALF)
    effects = driving.begin()
    assert kinds(effects) == [KeepNote, Announce, ShowInterim, OpenUpstream]
    assert only(Announce, effects) == Announce(2, A, A, "node_lost", "continue", len(HALF), lost_node=True)
    assert only(OpenUpstream, effects).partial == HALF
    assert only(ShowInterim, effects).phase == "recovering"
    assert only(KeepNote, effects).note.failure == "node_lost"
    assert driving.machine.state is State.SWITCHING
    driving.hear(PromptBuilt(9), Text("and you finish what" + " you begin" * 20))
    assert driving.machine.text == HALF + " what" + " you begin" * 20
    assert driving.machine.begins == ((1, 0), (2, len(HALF)))


def test_a_successor_where_nothing_was_said_begins():
    driving = Driving.resumed()
    effects = driving.begin()
    assert only(Announce, effects) == Announce(2, A, A, "node_lost", "continue", 0, lost_node=True)
    assert only(OpenUpstream, effects).continuation == "fresh"
    assert driving.machine.state is State.WAITING
    assert driving.hear(Text("Hi")) == [AppendText(2, 0, "Hi")]


def test_a_node_that_drained_is_no_lost_one():
    driving = Driving.resumed(HALF, cause="node_drained", losses=9)
    announced = only(Announce, driving.begin())
    assert (announced.cause, announced.lost_node) == ("node_drained", False)


def test_a_prompt_that_may_kill_nodes_is_not_asked_for_ever():
    assert only(Announce, Driving.resumed(HALF, losses=1).begin()).lost_node
    driving = Driving.resumed(HALF, losses=2)
    assert kinds(driving.begin()) == [CloseUpstream, End]
    assert (driving.end.status, driving.end.code) == ("interrupted", ErrorCode.NODE_LOST)
    assert driving.machine.text == HALF


def test_the_whole_answers_clock_runs_over_all_owners():
    driving = Driving.resumed(HALF, elapsed=170.0)
    driving.begin()
    driving.wait(10.0)
    assert driving.end.code == ErrorCode.GENERATION_TIMEOUT
    driving = Driving.resumed(HALF, elapsed=180.0, cause="node_drained")
    driving.begin()
    assert (driving.end.status, driving.end.code) == ("interrupted", ErrorCode.NODE_LOST)


def test_what_was_finished_is_complete():
    note = a_note(1, start=0, to=len(HALF), finish="length", completion_chars=len(HALF))
    driving = Driving.resumed(HALF, notes=[note], losses=5)
    driving.begin()
    assert (driving.end.status, driving.end.finish_reason) == ("completed", "length")
    assert driving.end.notes == (note,)


@pytest.mark.parametrize("to", [len(HALF) - 1, len(HALF) + 1])
def test_what_was_finished_at_another_length_goes_on(to: int):
    note = a_note(1, start=0, to=to, finish="stop", completion_chars=to)
    driving = Driving.resumed(HALF, notes=[note])
    driving.begin()
    assert not driving.over


def test_a_failure_that_was_noted_and_not_yet_acted_on_is_acted_on():
    driving = Driving.resumed(HALF, notes=[a_note(1, failure="overloaded")])
    announced = only(Announce, driving.begin())
    assert (announced.to_model, announced.cause) == (B, "node_lost")


def test_a_failure_after_which_there_is_nothing_ends_it():
    driving = Driving.resumed(HALF, notes=[a_note(1, failure="budget_exhausted")])
    driving.begin()
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.BUDGET_EXHAUSTED)


@pytest.mark.parametrize(
    ("text", "decision"), [("", "next"), (HALF, "end")], ids=["it had said nothing", "it had spoken"]
)
def test_whether_the_dead_attempt_had_spoken_is_seen_from_its_text(text: str, decision: str):
    driving = Driving.resumed(text, notes=[a_note(1, failure="content_filtered")])
    driving.begin()
    assert driving.over == (decision == "end")


def test_a_successor_passes_over_a_model_that_is_cooling():
    driving = Driving.resumed(HALF, cooling=[A])
    announced = only(Announce, driving.begin())
    assert (announced.from_model, announced.to_model) == (A, B)


def test_without_fallback_a_successor_asks_the_same_model():
    driving = Driving.resumed(HALF, cooling=[A], plan=a_plan(fallback="off"))
    assert only(Announce, driving.begin()).to_model == A


def test_where_no_other_model_is_left_the_same_is_asked_though_it_is_cooling():
    driving = Driving.resumed(HALF, plan=a_plan(C), model=C, cooling=[C])
    assert only(Announce, driving.begin()).to_model == C


def test_with_fallback_restart_a_successor_begins_again():
    driving = Driving.resumed(HALF, plan=a_plan(fallback="restart"))
    announced = only(Announce, driving.begin())
    assert (announced.mode, announced.keep) == ("restart", 0)


def test_failures_of_earlier_owners_count():
    notes = [a_note(number, model, failure="empty") for number, model in ((1, A), (2, B), (3, C))]
    driving = Driving.resumed("", attempt=4, model=A, notes=notes)
    driving.begin()
    assert driving.attempt == 5
    driving.wait(20.0)
    assert driving.end.code == ErrorCode.ALL_MODELS_FAILED


def test_a_stop_that_was_asked_of_the_dead_owner_is_honoured():
    driving = Driving.resumed(HALF)
    driving.hear(StopRequested())
    assert driving.end.status == "cancelled"
    assert [note.failure for note in driving.end.notes] == ["node_lost"]
    assert driving.begin() == []


def test_a_refused_switch_of_a_successor_leaves_what_the_dead_owner_had():
    driving = Driving.resumed(HALF)
    driving.begin()
    driving.hear(StopRequested(unannounced=2))
    assert [note.attempt for note in driving.end.notes] == [1]
    assert driving.machine.text == HALF


def test_a_successor_that_drains_before_it_began_lets_go():
    assert Driving.resumed(HALF).hear(HandOver()) == [CloseUpstream(), Yield()]
