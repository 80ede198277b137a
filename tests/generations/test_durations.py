"""How long answers take (durations.py)."""

import hypothesis.strategies as st
from hypothesis import given

from server.generations.durations import Durations

FREE, PAID = "a/one:free", "c/three"


def durations() -> Durations:
    return Durations(lambda model: model.endswith(":free"))


def test_before_any_answer_free_models_are_taken_for_slower():
    assert durations().estimate_ms(FREE) > durations().estimate_ms(PAID) > 0


def test_the_median_of_a_models_own_answers_is_told():
    known = durations()
    for seconds in (1.0, 100.0, 2.0):
        known.took(FREE, seconds)
    assert known.estimate_ms(FREE) == 2000
    assert known.estimate_ms(PAID) == durations().estimate_ms(PAID)


def test_answers_of_late_count_and_old_ones_do_not():
    known = durations()
    for _ in range(64):
        known.took(FREE, 9.0)
    for _ in range(64):
        known.took(FREE, 1.0)
    assert known.estimate_ms(FREE) == 1000


@given(st.lists(st.integers(0, 400), max_size=900))
def test_models_nobody_asks_any_more_are_forgotten(asked: list[int]):
    known = durations()
    for number in (*asked, *range(1000, 1256)):
        known.took(f"m/{number}", 1.5)
    assert all(known.estimate_ms(f"m/{number}") == 1500 for number in range(1000, 1256))
    assert not any(known.estimate_ms(f"m/{number}") == 1500 for number in asked)
