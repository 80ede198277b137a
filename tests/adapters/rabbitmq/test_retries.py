"""When a message is tried again (retries.py), and when a connection is."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.adapters.rabbitmq.retries import backoff_seconds, next_delay

DELAYS = (1.0, 5.0, 15.0, 60.0)


@pytest.mark.parametrize(
    ("attempt", "max_attempts", "delay"),
    [
        (1, 5, 1.0),
        (2, 5, 5.0),
        (3, 5, 15.0),
        (4, 5, 60.0),
        (5, 5, None),
        (6, 5, None),
        (1, 1, None),
        (5, 9, 60.0),
        (8, 9, 60.0),
        (9, 9, None),
    ],
)
def test_the_delays_follow_each_other_and_the_attempts_are_counted(
    attempt: int, max_attempts: int, delay: float | None
):
    assert next_delay(attempt=attempt, age_seconds=0, delays=DELAYS, max_attempts=max_attempts) == delay


def test_without_delays_nothing_is_tried_again():
    assert next_delay(attempt=1, age_seconds=0, delays=(), max_attempts=9) is None
    assert next_delay(attempt=1, age_seconds=0, delays=(), max_attempts=9, window_seconds=9) is None


def ages(window: float, took: float = 0.0) -> list[float]:
    """When the attempts are made that a window allows."""
    made, age = [0.0], took
    while (
        delay := next_delay(
            attempt=len(made), age_seconds=age, delays=DELAYS, max_attempts=1, window_seconds=window
        )
    ) is not None:
        made.append(age + delay)
        age = made[-1] + took
    return made  # fmt: skip


def test_two_minutes_are_used_to_their_end_and_not_beyond():
    assert ages(120) == [0, 1, 6, 21, 81, 96, 111, 116, 117, 118, 119, 120]


@given(st.floats(0, 1000), st.floats(0, 30))
def test_a_window_is_never_left_and_never_given_up_while_the_shortest_delay_fits(window: float, took: float):
    made = ages(window, took)
    assert all(age <= window + 1e-6 for age in made)
    assert made[-1] + took + min(DELAYS) > window


@given(
    st.integers(1, 100),
    st.lists(st.floats(0, 100), max_size=5),
    st.integers(1, 50),
    st.none() | st.floats(0, 1000),
    st.floats(0, 1000),
)
def test_a_delay_is_always_one_for_which_there_is_a_queue(
    attempt: int, delays: list[float], most: int, window: float | None, age: float
):
    delay = next_delay(
        attempt=attempt, age_seconds=age, delays=delays, max_attempts=most, window_seconds=window
    )
    assert delay is None or delay in delays


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_nothing_and_the_longest(failures: int, random: float):
    assert 0 <= backoff_seconds(failures, first=0.5, longest=15, random=random) <= 15


def test_pauses_grow_to_the_longest():
    pauses = [backoff_seconds(failures, first=0.5, longest=15, random=1) for failures in range(1, 9)]
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15, 15]
