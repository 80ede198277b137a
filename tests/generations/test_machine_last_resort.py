"""Where a plan has a last resort, no failure is the end before that was asked (machine.py, rule 7)."""

import pytest

from protocol.codes import ErrorCode
from server.generations.effects import (
    Announce,
    AppendText,
    End,
    HandOver,
    KeepNote,
    OpenUpstream,
    PromptFailed,
    StopRequested,
)
from server.generations.upstream import Done, Failed, FailureKind, Finish, Reasoning, Text
from tests.generations.driving import LIMITS, Driving
from tests.generations.notes import a_note, a_plan

RESORT = "house/words"
SAID = "What the house has to say."


def a_last_plan(*chain: str):
    return a_plan(*(chain or ("a/one:free",)), last_resort=RESORT)


def say(driving: Driving) -> None:
    """The last resort speaks."""
    driving.hear(Text(SAID))
    driving.hear(Finish("stop", None))
    driving.hear(Done())


def opened(driving: Driving) -> list[str]:
    return [effect.model for effect in driving.told if isinstance(effect, OpenUpstream)]


@pytest.mark.parametrize(
    "kind", [kind for kind in FailureKind if kind is not FailureKind.PREFILL_REJECTED], ids=str
)
def test_whatever_failed_the_last_resort_is_asked_and_completes(kind: FailureKind):
    driving = Driving(a_last_plan())
    driving.begin()
    for _ in range(LIMITS.max_attempts + 1):
        if opened(driving)[-1] == RESORT:
            break
        driving.hear(Failed(kind, status=400))
        driving.wait(1.0)
    assert opened(driving)[-1] == RESORT
    say(driving)
    assert driving.end.status == "completed"
    assert driving.text == SAID
    assert [note.failure for note in driving.end.notes][-1] is None
    assert driving.end.notes[-1].model == RESORT
    assert not driving.end.notes[-1].reached


def test_half_an_answer_gives_way_to_the_whole_of_the_last_resort():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(Text("Half of what was to be sa"))
    while opened(driving)[-1] != RESORT:
        driving.hear(Failed(FailureKind.BUDGET_EXHAUSTED, status=402))
    announced = [effect for effect in driving.told if isinstance(effect, Announce)][-1]
    assert (announced.mode, announced.keep, announced.to_model) == ("restart", 0, RESORT)
    say(driving)
    assert driving.text == SAID
    spans = [(note.start, note.to) for note in driving.end.notes]
    assert spans == [(0, 0), (0, len(SAID))]


def test_the_time_of_the_whole_answer_ends_the_models_and_not_the_last_resort():
    driving = Driving(a_last_plan())
    driving.begin()
    while opened(driving)[-1] != RESORT:
        assert driving.now - 100.0 <= LIMITS.generation_seconds
        driving.hear(Reasoning("Hmm. "))
        driving.wait(LIMITS.stall_seconds - 1)
    driving.wait(LIMITS.first_token_seconds / 2)
    assert not driving.over
    say(driving)
    assert driving.end.status == "completed"


def test_a_last_resort_that_fails_is_the_end():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(Failed(FailureKind.BUDGET_EXHAUSTED, status=402))
    assert opened(driving)[-1] == RESORT
    driving.hear(Failed(FailureKind.UPSTREAM_ERROR))
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.ALL_MODELS_FAILED)


def test_a_prompt_that_cannot_be_built_leaves_the_last_resort():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(PromptFailed(ErrorCode.INTERNAL))
    assert opened(driving)[-1] == RESORT


def test_a_conversation_that_is_gone_has_no_last_resort():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(PromptFailed(ErrorCode.NOT_FOUND))
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.NOT_FOUND)
    assert opened(driving) == ["a/one:free"]


def test_a_stop_is_a_stop_also_with_a_last_resort():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(StopRequested())
    assert driving.end.status == "cancelled"
    assert RESORT not in opened(driving)


@pytest.mark.parametrize(("losses", "model"), [(0, RESORT), (1, RESORT)])
def test_a_successor_goes_on_with_the_last_resort(losses: int, model: str):
    driving = Driving.resumed(
        attempt=2,
        model=RESORT,
        notes=[a_note(1, "a/one:free", failure=FailureKind.OVERLOADED), a_note(2, RESORT, reached=False)],
        losses=losses,
        elapsed=LIMITS.generation_seconds * 2,
        plan=a_last_plan(),
    )
    driving.begin()
    assert opened(driving) == [model]
    say(driving)
    assert driving.end.status == "completed"
    assert driving.text == SAID


def test_a_question_that_kills_nodes_is_answered_by_the_last_resort():
    driving = Driving.resumed(losses=LIMITS.max_losses - 1, plan=a_last_plan())
    driving.begin()
    assert opened(driving) == [RESORT]


def test_a_last_resort_that_kills_nodes_ends():
    driving = Driving.resumed(
        attempt=2,
        model=RESORT,
        notes=[a_note(1, "a/one:free", failure=FailureKind.OVERLOADED), a_note(2, RESORT)],
        losses=LIMITS.max_losses - 1,
        plan=a_last_plan(),
    )
    driving.begin()
    assert (driving.end.status, driving.end.code) == ("interrupted", ErrorCode.NODE_LOST)


def test_a_drained_node_hands_the_last_resort_over():
    driving = Driving(a_last_plan())
    driving.begin()
    driving.hear(Failed(FailureKind.BUDGET_EXHAUSTED, status=402))
    driving.hear(HandOver())
    assert driving.over
    assert not any(isinstance(effect, End) for effect in driving.told)
    assert [effect.note.model for effect in driving.told if isinstance(effect, KeepNote)][-1] == RESORT


def test_without_a_last_resort_nothing_is_said_that_no_model_said():
    driving = Driving(a_plan("a/one:free"))
    driving.begin()
    driving.hear(Failed(FailureKind.BUDGET_EXHAUSTED, status=402))
    assert driving.end.status == "failed"
    assert not any(isinstance(effect, AppendText) for effect in driving.told)
