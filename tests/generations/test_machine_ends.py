"""Stops, take-overs and hand-overs (machine.py)."""

import pytest

from server.generations.effects import (
    CloseUpstream,
    End,
    HandOver,
    KeepNote,
    OpenUpstream,
    PromptBuilt,
    StopRequested,
    TakenOver,
    Yield,
)
from server.generations.upstream import Failed, FailureKind, Finish, Opened, Text
from tests.generations.driving import Driving, kinds, only

HALF = "You like finding things out, and you finish"
TRUNCATED = Failed(FailureKind.TRUNCATED)
STATES = {
    "waiting": (),
    "opened": (PromptBuilt(1), Opened("g", "k")),
    "streaming": (PromptBuilt(1), Opened("g", "k"), Text(HALF)),
    "switching": (Text(HALF), TRUNCATED),
    "holding": (Text(HALF), TRUNCATED, Text(" what")),
    "pausing": (Failed(FailureKind.CONNECT_REFUSED),),
    "finished": (Text(HALF), Finish("stop", None)),
}


def in_state(state: str) -> Driving:
    driving = Driving()
    driving.begin()
    driving.hear(*STATES[state])
    return driving


@pytest.mark.parametrize("state", STATES)
def test_a_stop_keeps_what_was_shown(state: str):
    driving = in_state(state)
    shown = driving.text
    assert kinds(driving.hear(StopRequested())) == [CloseUpstream, End]
    assert (driving.end.status, driving.end.finish_reason, driving.end.code) == ("cancelled", None, None)
    assert driving.machine.text == shown
    assert driving.hear(StopRequested()) == []


@pytest.mark.parametrize("state", STATES)
def test_who_was_taken_over_writes_nothing_more(state: str):
    driving = in_state(state)
    assert driving.hear(TakenOver()) == [CloseUpstream(), Yield()]
    assert driving.hear(StopRequested(), Text("x"), HandOver()) == []


@pytest.mark.parametrize("state", [state for state in STATES if state != "finished"])
def test_who_hands_over_leaves_a_note_and_no_end(state: str):
    driving = in_state(state)
    effects = driving.hear(HandOver())
    assert kinds(effects) == [CloseUpstream, KeepNote, Yield]
    note = only(KeepNote, effects).note
    assert (note.attempt, note.failure) == (driving.attempt, "node_drained")


def test_what_is_finished_is_not_handed_over():
    driving = in_state("finished")
    driving.hear(HandOver())
    assert (driving.end.status, driving.end.finish_reason) == ("completed", "stop")


@pytest.mark.parametrize("state", ["switching", "pausing"])
def test_a_switch_that_the_store_refused_for_a_stop_never_was(state: str):
    driving = in_state(state)
    model = driving.machine.model
    assert kinds(driving.hear(StopRequested(unannounced=2))) == [CloseUpstream, End]
    assert [note.attempt for note in driving.end.notes] == [1]
    assert driving.end.notes[0].failure is not None
    assert driving.end.status == "cancelled"
    assert driving.machine.model == (model if state == "pausing" else "a/one:free")


def test_nor_was_what_was_to_follow_a_refused_switch():
    driving = in_state("switching")
    driving.wait(60.0)  # nobody answers, while the store has not told yet that it refuses
    assert driving.attempt > 3
    driving.hear(StopRequested(unannounced=2))
    assert [note.attempt for note in driving.end.notes] == [1]
    assert driving.machine.model == "a/one:free"


@pytest.mark.parametrize("end", [StopRequested(), HandOver()])
def test_an_end_decided_meanwhile_does_not_count_where_the_switch_was_refused(end):
    driving = in_state("switching")
    driving.hear(end)
    effects = driving.hear(StopRequested(unannounced=2))
    assert kinds(effects) == [CloseUpstream, End]
    assert [note.attempt for note in only(End, effects).notes] == [1]


def test_a_stop_before_the_beginning_asks_nobody():
    driving = Driving()
    driving.hear(StopRequested())
    assert (driving.end.status, driving.end.notes) == ("cancelled", ())
    assert driving.begin() == []


def test_a_hand_over_before_the_beginning_leaves_everything_to_the_next():
    driving = Driving()
    assert driving.hear(HandOver()) == [CloseUpstream(), Yield()]
    assert driving.begin() == []


def test_a_stop_in_a_pause_asks_nobody_afterwards():
    driving = in_state("pausing")
    driving.hear(StopRequested())
    assert driving.wait(10.0) == []
    assert not any(isinstance(effect, OpenUpstream) and effect.attempt == 2 for effect in driving.told)
