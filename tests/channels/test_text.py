from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.channels.text import GrowingText

WORDS = st.text(alphabet="ab éß漢😀\n", max_size=6)


@dataclass(frozen=True)
class Append:
    attempt: int
    previous: int
    at: int
    text: str


@dataclass(frozen=True)
class Moment:
    """The text at one time, and the attempt that had changed it last."""

    attempt: int
    text: str


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Append], list[Moment]]:
    """Appends as the store confirms them, and what the text was after each; some attempts yield nothing."""
    appends: list[Append] = []
    moments = [Moment(0, "")]
    previous = 0
    attempts = draw(st.lists(st.lists(WORDS, max_size=5), min_size=1, max_size=5))
    for attempt, words in enumerate(attempts, start=1):
        for index, word in enumerate(words):
            held = moments[-1].text
            at = draw(st.integers(0, len(held))) if index == 0 else len(held)
            appends.append(Append(attempt, previous, at, word))
            moments.append(Moment(attempt, held[:at] + word))
            previous = attempt
    return appends, moments


def grown(appends: list[Append]) -> GrowingText:
    text = GrowingText()
    for each in appends:
        assert text.append(each.attempt, each.previous, each.at, each.text)
    return text


def state(text: GrowingText) -> tuple[int, int, list[tuple[int, int]], str]:
    return text.attempt, text.length, list(text.begins), text.whole()


# --- growing ------------------------------------------------------------------------------------


@given(histories())
def test_the_text_is_what_the_appends_say(history: tuple[list[Append], list[Moment]]) -> None:
    appends, moments = history

    text = grown(appends)

    assert (text.attempt, text.whole()) == (moments[-1].attempt, moments[-1].text)
    assert text.length == len(moments[-1].text)


@given(histories(), st.integers(0, 40), st.integers(1, 40))
def test_any_part_can_be_read(history: tuple[list[Append], list[Moment]], at: int, limit: int) -> None:
    text = grown(history[0])

    assert text.read(at, limit) == text.whole()[at : at + limit]


@given(histories(), st.data())
def test_appends_told_again_change_nothing(
    history: tuple[list[Append], list[Moment]], data: st.DataObject
) -> None:
    appends, _ = history
    text = grown(appends)
    before = state(text)
    first = data.draw(st.integers(0, len(appends)))

    for each in appends[first:]:
        assert text.append(each.attempt, each.previous, each.at, each.text)

    assert state(text) == before


@given(histories(), st.data())
def test_an_append_after_a_missed_one_is_refused_or_makes_the_loss_good(
    history: tuple[list[Append], list[Moment]], data: st.DataObject
) -> None:
    appends, moments = history
    lost = data.draw(st.integers(0, len(appends)))
    text = grown(appends[:lost])

    for index, each in enumerate(appends[lost + 1 :], start=lost + 1):
        before = state(text)
        if not text.append(each.attempt, each.previous, each.at, each.text):
            assert state(text) == before
            return
        # what was lost left no trace: it was empty, or is covered by what came
        assert text.whole() == moments[index + 1].text


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_many_small_pieces_are_the_same_text_as_one(count: int) -> None:
    text = GrowingText()
    pieces = [f"{number} " for number in range(count)]
    at = 0
    for piece in pieces:
        assert text.append(1, 0 if at == 0 else 1, at, piece)
        at += len(piece)

    whole = "".join(pieces)
    assert text.whole() == whole
    assert [text.read(place, 7) for place in range(0, len(whole), 7)] == [
        whole[place : place + 7] for place in range(0, len(whole), 7)
    ]
    assert text.read(len(whole), 10) == ""


def test_pieces_are_few_however_long_the_text() -> None:
    text = GrowingText()
    for at in range(10_000):
        text.append(1, 0 if at == 0 else 1, at, "x")

    assert len(text._pieces) < 10_000 / 50


def test_a_cut_may_fall_into_merged_pieces() -> None:
    text = GrowingText()
    for at in range(200):
        text.append(1, 0 if at == 0 else 1, at, "x")

    assert text.append(2, 1, 100, "new")

    assert text.whole() == "x" * 100 + "new"
    assert text.begins == [(1, 0), (2, 100)]


def test_a_first_append_may_cut_everything_away() -> None:
    text = GrowingText(1, ((1, 0),), "old")

    assert text.append(2, 1, 0, "")

    assert state(text) == (2, 0, [(1, 0), (2, 0)], "")


@pytest.mark.parametrize(
    ("attempt", "previous", "at", "piece"),
    [
        pytest.param(1, 1, 6, "x", id="beyond the text"),
        pytest.param(1, 1, 3, "lo!", id="begins inside, ends beyond: part of it was missed"),
        pytest.param(2, 1, 6, "x", id="another attempt, beyond the text"),
        pytest.param(2, 2, 5, "x", id="not the attempt's first, and the first was missed"),
        pytest.param(3, 2, 5, "x", id="a whole attempt was missed"),
    ],
)
def test_an_append_that_does_not_fit_changes_nothing(
    attempt: int, previous: int, at: int, piece: str
) -> None:
    text = GrowingText(1, ((1, 0),), "hello")

    assert not text.append(attempt, previous, at, piece)

    assert state(text) == (1, 5, [(1, 0)], "hello")


def test_a_late_append_of_an_older_attempt_is_passed_over() -> None:
    text = GrowingText(2, ((1, 0), (2, 3)), "hello")

    assert text.append(1, 1, 5, "x")

    assert state(text) == (2, 5, [(1, 0), (2, 3)], "hello")


# --- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "length", "older"),
    [(1, 5, False), (1, 4, False), (1, 6, True), (2, 0, True), (0, 9, False)],
)
def test_a_copy_is_ahead_by_attempt_and_then_by_length(attempt: int, length: int, *, older: bool) -> None:
    assert GrowingText(1, ((1, 0),), "hello").is_older_than(attempt, length) is older


@pytest.mark.parametrize(
    ("attempt", "text", "extends"),
    [(1, "hello", True), (1, "he", True), (1, "", False), (1, "hey", False), (2, "he", False)],
)
def test_a_text_extends_what_it_begins_with(attempt: int, text: str, *, extends: bool) -> None:
    assert GrowingText(1, ((1, 0),), "hello").extends(attempt, text) is extends


# --- old cursors --------------------------------------------------------------------------------


@given(histories(), st.data())
def test_the_valid_prefix_of_an_old_cursor_is_never_stale_text(
    history: tuple[list[Append], list[Moment]], data: st.DataObject
) -> None:
    appends, moments = history
    text = grown(appends)
    then = data.draw(st.sampled_from(moments))
    at = data.draw(st.integers(0, len(then.text)))

    valid = text.valid_prefix(then.attempt, at)

    assert valid <= at
    assert text.read(0, valid) == then.text[:valid]


@given(histories(), st.data())
def test_the_valid_prefix_is_as_long_as_the_places_where_later_attempts_began_allow(
    history: tuple[list[Append], list[Moment]], data: st.DataObject
) -> None:
    appends, moments = history
    text = grown(appends)
    then = data.draw(st.sampled_from(moments))
    at = data.draw(st.integers(0, len(then.text)))
    later = [begin for attempt, begin in text.begins if attempt > then.attempt]

    assert text.valid_prefix(then.attempt, at) == min([at, *later])


@pytest.mark.parametrize(
    ("attempt", "at", "valid"),
    [
        pytest.param(3, 5, 5, id="the present attempt"),
        pytest.param(3, 8, 8, id="all of it"),
        pytest.param(3, 9, 0, id="beyond the text"),
        pytest.param(4, 3, 0, id="an attempt that has not begun"),
        pytest.param(3, -1, 0, id="no place at all"),
        pytest.param(2, 7, 4, id="up to where the next attempt began"),
        pytest.param(1, 7, 4, id="the lowest of the later beginnings counts, not the first"),
        pytest.param(2, 3, 3, id="below every later beginning"),
        pytest.param(0, 3, 0, id="before the first text"),
    ],
)
def test_valid_prefixes_by_example(attempt: int, at: int, valid: int) -> None:
    text = GrowingText(3, ((1, 0), (2, 6), (3, 4)), "abcdefgh")

    assert text.valid_prefix(attempt, at) == valid
