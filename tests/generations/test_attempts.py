"""The answer so far and who wrote which part of it (attempts.py)."""

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from server.generations.attempts import Answer, Draft, decode_note, encode_note, inherited
from server.generations.effects import AttemptNote
from server.generations.upstream import FailureKind, UsageReported
from tests.generations.notes import a_note, notes


def spans(account: list[AttemptNote] | tuple[AttemptNote, ...]) -> list[tuple[int, int]]:
    return [(note.start, note.to) for note in account]


def assert_covers(account: list[AttemptNote] | tuple[AttemptNote, ...], length: int) -> None:
    """Every attempt in order, and those that have something cover the text."""
    assert [note.attempt for note in account] == list(range(1, len(account) + 1))
    at = 0
    for note in account:
        if note.start < note.to:
            assert note.start == at
            at = note.to
        else:
            assert note.start == note.to
    assert at == length


# --- notes ---------------------------------------------------------------------------------


@given(notes)
def test_a_note_survives_the_store(note: AttemptNote):
    assert decode_note(encode_note(note)) == note


def test_costs_are_kept_exactly_as_decimal_strings():
    note = a_note(usage=UsageReported(1, 2, 0, Decimal("7.434e-07")))
    kept = msgspec.json.decode(encode_note(note))
    assert Decimal(kept["usage"]["cost"]) == Decimal("0.0000007434")
    assert isinstance(kept["usage"]["cost"], str)


@pytest.mark.parametrize("raw", [b"", b"{", b"{}", b"[]", b'{"attempt":"1","model":"m","start":0,"to":0}'])
def test_what_is_no_note_is_refused(raw: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode_note(raw)


# --- drafts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "opened", "failure", "status", "reached", "refused"),
    [
        (True, True, FailureKind.TRUNCATED, None, True, False),
        (True, False, FailureKind.OVERLOADED, 503, True, True),
        (True, True, FailureKind.OVERLOADED, 503, True, False),  # in band, after the headers
        (True, False, FailureKind.UPSTREAM_ERROR, None, True, False),
        (True, False, FailureKind.CONNECT_TIMEOUT, None, False, False),
        (True, False, FailureKind.CONNECT_REFUSED, None, False, False),
        (True, False, FailureKind.CONNECTION_LOST, None, True, False),
        (True, False, "first_token_timeout", None, True, False),
        (False, False, "first_token_timeout", None, False, False),
    ],
)
def test_a_call_counts_as_reached_unless_it_was_never_sent_and_as_refused_by_a_status_before_the_stream(
    sent: bool, opened: bool, failure: str, status: int | None, reached: bool, refused: bool
):
    draft = Draft(1, "m", 0, 0, sent=sent, opened=opened)
    draft.fail(failure, status)
    note = draft.note(0)
    assert (note.reached, note.refused) == (reached, refused)
    assert note.failure == failure


def test_a_draft_is_noted_with_all_that_is_known():
    usage = UsageReported(10, 5, 0, Decimal("0.1"))
    draft = Draft(2, "m", 3, 7, opened=True, served_model="n", generation_id="g", key="k", usage=usage)
    draft.prompt_tokens, draft.finish = 9, "stop"
    assert draft.note(6) == AttemptNote(
        2, "m", 3, 7, "n", "g", "k", True, usage, None, 9, 6, "stop"
    )  # fmt: skip


# --- the answer ----------------------------------------------------------------------------


def test_a_new_answer_has_nothing():
    answer = Answer()
    assert (answer.text, answer.length, answer.notes, answer.begins, answer.is_open) == ("", 0, (), (), False)


def test_an_attempt_that_has_said_nothing_has_an_empty_span_at_the_end():
    answer = Answer("abc", [a_note(1, start=0, to=3)])
    answer.open(2, "m")
    assert answer.is_open
    assert spans(answer.notes) == [(0, 3), (3, 3)]
    assert answer.begins == ((1, 0),)


def test_an_attempt_that_cuts_takes_what_lies_beyond_from_those_before():
    answer = Answer("abcdef", [a_note(1, start=0, to=2), a_note(2, start=2, to=6)])
    answer.open(3, "m")
    answer.put(1, "XY")
    assert answer.text == "aXY"
    assert spans(answer.notes) == [(0, 1), (1, 1), (1, 3)]
    assert answer.begins == ((1, 0), (3, 1))


def test_an_attempt_that_begins_again_takes_everything():
    answer = Answer("abc", [a_note(1, start=0, to=3)])
    answer.open(2, "m")
    answer.put(0, "new")
    assert (answer.text, spans(answer.notes)) == ("new", [(0, 0), (0, 3)])


def test_an_attempt_that_was_withdrawn_never_was():
    answer = Answer("abc", [a_note(1, start=0, to=3)])
    before = answer.notes
    answer.open(2, "m")
    answer.withdraw(2)
    assert (answer.notes, answer.is_open) == (before, False)


def test_nor_was_one_behind_it():
    answer = Answer("abc", [a_note(1, start=0, to=3)])
    before = answer.notes
    for attempt in (2, 3, 4):
        answer.open(attempt, "m")
    answer.withdraw(2)
    assert (answer.notes, answer.is_open) == (before, False)


def test_all_text_received_is_counted_shown_or_not():
    answer = Answer()
    answer.open(1, "m")
    answer.draft.unshown = 4
    assert answer.present.completion_chars == 4
    answer.put(0, "abc")
    assert answer.present.completion_chars == 7


@given(
    st.lists(
        st.one_of(
            st.just("open"),
            st.just("withdraw"),
            st.tuples(st.integers(0, 40), st.text("xyz", min_size=1, max_size=8)),
            st.text("abc", min_size=1, max_size=8),
        ),
        max_size=25,
    )
)
def test_the_spans_cover_the_text_in_order_whatever_attempts_do(steps: list[str | tuple[int, str]]):
    answer, expected, attempt = Answer(), "", 1
    answer.open(1, "m")
    for step in steps:
        draft = answer.draft if answer.is_open else None
        if step == "open" or draft is None:
            # after a withdrawn attempt comes the end; another answer goes on from the notes
            if draft is None:
                answer = Answer(expected, answer.notes)
            attempt += 1
            answer.open(attempt, "m")
        elif step == "withdraw":
            if attempt > 1 and not draft.begun:
                answer.withdraw(attempt)
                attempt -= 1
        elif isinstance(step, tuple):
            if not draft.begun:
                at = min(step[0], answer.length)
                answer.put(at, step[1])
                expected = expected[:at] + step[1]
        elif draft.begun:
            answer.pieces.append(step)
            answer.length += len(step)
            expected += step
        assert answer.length == len(expected)
        assert_covers(answer.notes, len(expected))
        assert [at for _, at in answer.begins] == sorted(at for _, at in answer.begins)
    assert answer.text == expected


# --- a successor's account -----------------------------------------------------------------


def test_a_successor_finds_the_spans_in_the_store_and_not_in_the_notes():
    held = [a_note(1, start=0, to=2, failure="overloaded"), a_note(2, start=9, to=9)]
    account = inherited("abcdef", 2, "m", held, [(1, 0), (2, 3)], "node_lost")
    assert spans(account) == [(0, 3), (3, 6)]
    assert [note.failure for note in account] == ["overloaded", "node_lost"]
    assert [note.completion_chars for note in account] == [3, 3]


def test_an_attempt_that_had_not_begun_is_empty():
    account = inherited("abc", 3, "m", [], [(1, 0)], "node_lost")
    assert spans(account) == [(0, 3), (3, 3), (3, 3)]


def test_an_attempt_that_was_cut_away_is_empty():
    account = inherited("abc", 3, "m", [], [(1, 0), (2, 2), (3, 1)], "node_lost")
    assert spans(account) == [(0, 1), (1, 1), (1, 3)]


def test_an_attempt_that_nobody_noted_may_have_reached_its_model():
    account = inherited("", 2, "m", [a_note(1, "a", reached=False, failure="overloaded")], [], "node_lost")
    assert account == [
        a_note(1, "a", reached=False, failure="overloaded"),
        AttemptNote(2, "m", 0, 0, reached=True, failure="node_lost"),
    ]


def test_of_an_attempt_that_was_running_nobody_knows_whether_it_reached_its_model():
    account = inherited("", 1, "m", [a_note(1, reached=False)], [], "node_drained")
    assert (account[0].reached, account[0].failure) == (True, "node_drained")


def test_the_failure_an_owner_noted_stays():
    account = inherited("", 1, "m", [a_note(1, reached=False, failure="overloaded")], [], "node_lost")
    assert (account[0].reached, account[0].failure) == (False, "overloaded")


def test_notes_beyond_the_attempt_that_was_announced_do_not_count():
    account = inherited("abc", 1, "m", [a_note(1), a_note(2)], [(1, 0)], "node_lost")
    assert [note.attempt for note in account] == [1]


def test_a_finish_counts_where_the_text_is_all_there():
    account = inherited("abc", 1, "m", [a_note(1, start=0, to=3, finish="stop")], [(1, 0)], "node_lost")
    assert (account[0].finish, account[0].failure) == ("stop", None)


@pytest.mark.parametrize("text", ["ab", "abcd", ""])
def test_a_finish_that_was_noted_at_another_length_does_not(text: str):
    account = inherited(text, 1, "m", [a_note(1, start=0, to=3, finish="stop")], [(1, 0)], "node_lost")
    assert (account[0].finish, account[0].failure) == (None, "node_lost")


def test_a_finish_without_any_text_does_not_hide_that_the_node_is_gone():
    account = inherited("", 1, "m", [a_note(1, finish="stop")], [], "node_lost")
    assert account[0].failure == "node_lost"


@given(
    st.text("ab", max_size=20),
    st.integers(1, 5),
    st.lists(notes.map(lambda note: replace(note, attempt=note.attempt % 6 + 1)), max_size=5),
    st.dictionaries(st.integers(1, 5), st.integers(0, 25), max_size=5),
)
def test_a_successors_spans_cover_the_text_whatever_it_finds(
    text: str, attempt: int, held: list[AttemptNote], begun: dict[int, int]
):
    account = inherited(text, attempt, "m", held, sorted(begun.items()), "node_lost")
    assert len(account) == attempt
    assert_covers(account, len(text))
    last = account[-1]
    assert last.failure is not None or last.finish is not None
    answer = Answer(text, account)
    answer.open(attempt + 1, "m")
    assert_covers(answer.notes, len(text))
