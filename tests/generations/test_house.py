"""What the generations of a node share (house.py)."""

import hypothesis.strategies as st
from hypothesis import given

from server.generations.house import Cooldowns, LoopWatch

MODEL, OTHER = "a/one", "b/two"


def test_a_model_cools_for_the_configured_time():
    cooldowns = Cooldowns(60)
    cooldowns.cool(MODEL, None, 100.0)
    assert cooldowns.is_cooling(MODEL, 159.9)
    assert not cooldowns.is_cooling(OTHER, 159.9)
    assert not cooldowns.is_cooling(MODEL, 160.0)
    assert not cooldowns.is_cooling(MODEL, 100.0)  # once it is over, it is forgotten


def test_the_upstreams_own_time_goes_first():
    cooldowns = Cooldowns(60)
    cooldowns.cool(MODEL, 5.0, 100.0)
    assert cooldowns.is_cooling(MODEL, 104.9)
    assert not cooldowns.is_cooling(MODEL, 105.0)


def test_without_a_configured_time_nothing_ever_cools():
    cooldowns = Cooldowns(0)
    cooldowns.cool(MODEL, 5.0, 100.0)
    cooldowns.cool_pool(5.0, 100.0)
    for _ in range(9):
        cooldowns.failed(MODEL, 100.0)
    assert not cooldowns.is_cooling(MODEL, 100.0, free=True)


def test_the_pool_holds_every_free_model_and_no_other():
    cooldowns = Cooldowns(60)
    cooldowns.cool_pool(None, 100.0)
    assert cooldowns.is_cooling(MODEL, 159.9, free=True)
    assert not cooldowns.is_cooling(MODEL, 159.9)
    assert not cooldowns.is_cooling(MODEL, 160.0, free=True)
    cooldowns.cool_pool(5.0, 200.0)
    assert cooldowns.is_cooling(MODEL, 204.9, free=True)
    assert not cooldowns.is_cooling(MODEL, 205.0, free=True)


def test_so_many_failures_running_cool_a_model_down():
    cooldowns = Cooldowns(60, failures=3)
    for _ in range(2):
        cooldowns.failed(MODEL, 100.0)
        cooldowns.failed(OTHER, 100.0)
    assert not cooldowns.is_cooling(MODEL, 100.0)
    cooldowns.failed(MODEL, 100.0)
    assert cooldowns.is_cooling(MODEL, 100.0)
    assert not cooldowns.is_cooling(OTHER, 100.0)


def test_the_count_begins_again_after_cooling_and_after_an_answer():
    cooldowns = Cooldowns(60, failures=2)
    cooldowns.failed(MODEL, 100.0)
    cooldowns.answered(MODEL)
    cooldowns.answered(OTHER)
    cooldowns.failed(MODEL, 100.0)
    assert not cooldowns.is_cooling(MODEL, 100.0)
    cooldowns.failed(MODEL, 100.0)
    assert cooldowns.is_cooling(MODEL, 100.0)
    cooldowns.failed(MODEL, 170.0)
    assert not cooldowns.is_cooling(MODEL, 170.0)


def test_a_loop_that_beats_has_no_gap():
    watch = LoopWatch(0.0)
    for tenth in range(1, 50):
        watch.beat(tenth / 10)
    assert watch.gap_since(0.0, 5.5) == 0.0


def test_the_longest_gap_that_ended_since_counts():
    watch = LoopWatch(0.0)
    watch.beat(8.0)
    watch.beat(10.0)
    watch.beat(10.5)
    assert watch.gap_since(0.0, 10.6) == 8.0
    assert watch.gap_since(8.0, 10.6) == 8.0
    assert watch.gap_since(8.1, 10.6) == 2.0
    assert watch.gap_since(10.1, 10.6) == 0.0


def test_the_gap_that_has_not_ended_counts_too():
    watch = LoopWatch(0.0)
    watch.beat(8.0)
    assert watch.gap_since(9.0, 14.0) == 6.0
    assert watch.gap_since(0.0, 14.0) == 8.0
    assert watch.gap_since(0.0, 19.0) == 11.0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=15), st.floats(0, 200), st.floats(0, 10))
def test_no_gap_is_missed_and_none_is_invented(pauses: list[float], when: float, since_last: float):
    watch, now, gaps = LoopWatch(0.0), 0.0, [0.0]
    for pause in pauses:
        last, now = now, now + pause
        watch.beat(now)
        if now - last > 1.0 and now >= when:
            gaps.append(now - last)
    present = now + since_last - now
    if present > 1.0:
        gaps.append(present)
    assert watch.gap_since(when, now + since_last) == max(gaps)
