"""An answer that goes well (machine.py): from the question to the last word."""

from decimal import Decimal

import pytest

from protocol.codes import ErrorCode
from server.generations.effects import (
    AppendText,
    CloseUpstream,
    End,
    KeepNote,
    OpenUpstream,
    PromptBuilt,
    PromptFailed,
    ShowReasoning,
)
from server.generations.machine import State
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
from tests.generations.driving import Driving, kinds, only
from tests.generations.notes import CHAIN, a_plan

USAGE = UsageReported(10, 3, 0, Decimal("0.001"))


def streaming(*facts) -> Driving:
    driving = Driving()
    driving.begin()
    driving.hear(PromptBuilt(12), Opened("gen-1", "k"), *facts)
    return driving


def test_a_generation_begins_by_asking_the_first_model():
    driving = Driving()
    assert driving.begin() == [OpenUpstream(1, CHAIN[0], "fresh", "", 1000)]
    assert driving.machine.state is State.WAITING


def test_a_model_that_is_cooling_is_passed_over_at_the_beginning():
    driving = Driving(cooling=[CHAIN[0]])
    assert only(OpenUpstream, driving.begin()).model == CHAIN[1]


def test_every_word_is_appended_where_the_last_one_ended():
    driving = streaming()
    assert driving.hear(Text("Hello")) == [AppendText(1, 0, "Hello")]
    assert driving.machine.state is State.STREAMING
    assert driving.hear(Text(" you"), Text("!")) == [AppendText(1, 5, " you"), AppendText(1, 9, "!")]
    assert driving.machine.text == "Hello you!"
    assert driving.machine.begins == ((1, 0),)


def test_places_are_code_points():
    driving = streaming(Text("👩\u200d🔬"))
    assert driving.hear(Text("é")) == [AppendText(1, 3, "é")]


def test_thoughts_are_shown_with_a_count_of_their_own_and_are_no_part_of_the_text():
    driving = streaming()
    assert driving.hear(Reasoning("Let me"), Reasoning(" see")) == [
        ShowReasoning(1, 0, "Let me"),
        ShowReasoning(1, 6, " see"),
    ]
    assert driving.hear(Text("Yes")) == [AppendText(1, 0, "Yes")]
    assert driving.machine.notes[0].completion_chars == 13


def test_comments_say_nothing():
    assert streaming().hear(Progress()) == []


def test_what_the_upstream_calls_itself_is_noted_at_once():
    driving = Driving()
    driving.begin()
    note = only(KeepNote, driving.hear(Opened("gen-1", "k"))).note
    assert (note.generation_id, note.key, note.reached) == ("gen-1", "k", True)
    note = only(KeepNote, driving.hear(Served("one-0901", "gen-2"))).note
    assert (note.served_model, note.generation_id) == ("one-0901", "gen-1")


def test_the_id_in_a_chunk_stands_in_for_the_header():
    driving = Driving()
    driving.begin()
    driving.hear(Opened(None, "k"))
    assert only(KeepNote, driving.hear(Served("m", "gen-2"))).note.generation_id == "gen-2"


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
def test_an_answer_ends_with_the_upstreams_reason(reason):
    driving = streaming(Text("Hi"), Finish(reason, None))
    effects = driving.hear(USAGE, Done())
    assert kinds(effects) == [CloseUpstream, End]
    assert (driving.end.status, driving.end.finish_reason, driving.end.code) == ("completed", reason, None)
    note = driving.end.notes[0]
    assert (note.usage, note.failure, note.finish) == (USAGE, None, reason)
    assert (note.start, note.to, note.completion_chars, note.prompt_tokens_estimate) == (0, 2, 2, 12)


def test_a_stream_that_ends_as_it_should_without_a_reason_has_stopped():
    driving = streaming(Text("Hi"), Done())
    assert (driving.end.status, driving.end.finish_reason) == ("completed", "stop")


def test_the_finish_is_noted_so_that_a_successor_need_not_go_on():
    driving = streaming(Text("Hi"))
    note = only(KeepNote, driving.hear(Finish("stop", None))).note
    assert (note.finish, note.to) == ("stop", 2)
    assert not driving.over


def test_a_finish_may_come_twice_and_text_after_it():
    driving = streaming(Text("Hi"), Finish("stop", None), Finish("stop", None))
    assert driving.hear(Text("!")) == [AppendText(1, 2, "!")]
    driving.hear(Done())
    assert driving.machine.text == "Hi!"


@pytest.mark.parametrize("kind", FailureKind)
def test_what_the_upstream_has_finished_is_complete_whatever_becomes_of_the_connection(kind: FailureKind):
    driving = streaming(Text("Hi"), Finish("stop", None))
    driving.hear(Failed(kind))
    assert (driving.end.status, driving.end.finish_reason) == ("completed", "stop")
    assert driving.end.notes[0].failure is None


def test_a_prompt_that_cannot_be_built_is_the_end():
    driving = Driving()
    driving.begin()
    driving.hear(PromptFailed(ErrorCode.NOT_FOUND))
    assert (driving.end.status, driving.end.code) == ("failed", ErrorCode.NOT_FOUND)
    assert driving.end.notes[0].reached is False


def test_a_prompt_built_before_the_beginning_tells_nothing():
    driving = Driving()
    assert driving.hear(PromptBuilt(12)) == []
    assert driving.machine.notes == ()


def test_after_the_end_nothing_has_any_effect():
    driving = streaming(Text("Hi"), Done())
    assert driving.hear(Text("more"), Reasoning("r"), USAGE, Done(), Failed(FailureKind.EMPTY)) == []
    assert driving.machine.next_deadline is None
    assert driving.begin() == []
    assert driving.machine.text == "Hi"


def test_a_limit_of_tokens_goes_with_the_call():
    driving = Driving(a_plan(max_tokens=77))
    assert only(OpenUpstream, driving.begin()).max_tokens == 77
