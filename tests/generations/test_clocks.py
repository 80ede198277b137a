"""The clocks of one generation (clocks.py)."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.generations.clocks import AFTER_FINISH_SECONDS, Awaited, Clocks
from server.generations.effects import GenerationLimits

LIMITS = GenerationLimits(
    first_token_seconds=20, stall_seconds=15, generation_seconds=180, interim_after_seconds=10, interim_every_seconds=7
)  # fmt: skip


def clocks() -> Clocks:
    return Clocks.starting(LIMITS, 100.0)


def test_a_generation_begins_with_the_clock_of_the_whole_answer_and_that_of_notices():
    each = clocks()
    assert (each.whole, each.interim, each.data, each.reopen) == (280.0, 110.0, None, None)
    assert each.next(None) == 110.0


def test_a_call_waits_for_its_first_token_then_for_more():
    each = clocks()
    each.called(101.0)
    assert (each.awaited, each.data) == (Awaited.FIRST_TOKEN, 121.0)
    each.heard(110.0)
    assert (each.awaited, each.data) == (Awaited.MORE, 125.0)


def test_after_the_finish_only_the_end_is_waited_for_and_nothing_puts_it_off():
    each = clocks()
    each.finished(110.0)
    each.heard(112.0)
    assert (each.awaited, each.data) == (Awaited.END, 110.0 + AFTER_FINISH_SECONDS)


def test_the_end_is_waited_for_no_longer_than_more_would_be():
    each = Clocks.starting(GenerationLimits(stall_seconds=2), 100.0)
    each.finished(110.0)
    assert each.data == 112.0


def test_nobody_is_late_who_was_not_asked():
    each = clocks()
    each.called(101.0)
    each.reopen = 105.0
    each.silent()
    assert each.awaited is Awaited.NOTHING
    assert [each.data, each.reopen] == [None, None]


def test_a_call_ends_the_pause_before_it():
    each = clocks()
    each.reopen = 101.0
    each.called(101.0)
    assert each.reopen is None


def test_notices_come_some_time_after_the_last_word_then_regularly():
    each = clocks()
    each.spoke(150.0)
    assert each.interim == 160.0
    each.noticed(160.0)
    assert each.interim == 167.0


@pytest.mark.parametrize(
    ("data", "reopen", "seam", "soonest"),
    [(None, None, None, 110.0), (109.0, None, None, 109.0), (109.0, 108.0, None, 108.0), (109.0, 108.0, 107.0, 107.0),
     (111.0, 112.0, 113.0, 110.0)],
)  # fmt: skip
def test_the_soonest_deadline_is_the_next(
    data: float | None, reopen: float | None, seam: float | None, soonest: float
):
    each = clocks()
    each.data, each.reopen = data, reopen
    assert each.next(seam) == soonest


@given(st.floats(0, 100), st.none() | st.floats(100, 300), st.none() | st.floats(100, 300))
def test_time_that_does_not_count_puts_every_clock_off(
    seconds: float, data: float | None, reopen: float | None
):
    each = clocks()
    each.data, each.reopen = data, reopen
    before = each.next(None)
    each.shift(seconds)
    assert each.started == 100.0 + seconds
    assert each.next(None) == pytest.approx(before + seconds)
    assert each.data == (None if data is None else data + seconds)
    assert each.reopen == (None if reopen is None else reopen + seconds)
