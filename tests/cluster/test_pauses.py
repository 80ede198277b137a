"""What counts as a silence, and which one is told of a restart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.pauses import Pause, longest_within, pauses, percentile, spread
from tests.scripted.recording import Recorded, Recording

G = "generation"


def delta(at: int, text: str, generation: str = G, **more: Any) -> dict[str, Any]:
    return {"type": "delta", "generation": generation, "attempt": 1, "at": at, "text": text, **more}


def ended(generation: str = G) -> dict[str, Any]:
    return {"type": "generation.finished", "generation": generation}


SWITCHED = {"type": "generation.switched", "generation": G, "attempt": 2}
STATE = {"type": "generation.state", "generation": G, "length": 2}


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ([(1, delta(0, "ab"), 1.0), (1, delta(2, "c"), 2.5), (1, ended(), 3.0)], [(1.0, 2.5), (2.5, 3.0)]),
        ([(1, delta(0, "ab"), 1.0)], []),
        # shown already, so it stood still
        ([(1, delta(0, "ab"), 1.0), (2, delta(0, "ab"), 2.0), (2, delta(1, "bc"), 3.0)], [(1.0, 3.0, 1)]),
        (
            [(1, delta(0, "ab"), 1.0), (1, delta(2, ""), 2.0), (1, STATE, 3.0), (1, ended(), 4.0)],
            [(1.0, 4.0)],
        ),
        (
            [(1, delta(0, "ab"), 1.0), (1, delta(0, "hm", kind="reasoning"), 2.0), (1, ended(), 3.0)],
            [(1.0, 3.0)],
        ),
        # another attempt, announced twice in one silence
        (
            [(1, delta(0, "ab"), 1.0), (1, SWITCHED, 2.0), (1, SWITCHED, 3.0), (1, delta(2, "c"), 4.0)],
            [(1.0, 4.0, 0, 2.0)],
        ),
        # announced in the silence before, not in this one
        (
            [(1, delta(0, "a"), 1.0), (1, SWITCHED, 2.0), (1, delta(1, "b"), 3.0), (1, delta(2, "c"), 4.0)],
            [(1.0, 3.0, 0, 2.0), (3.0, 4.0)],
        ),
        # two texts do not interrupt each other
        (
            [
                (1, delta(0, "a"), 1.0),
                (1, delta(0, "a", "other"), 1.5),
                (1, ended("other"), 2.0),
                (1, ended(), 5.0),
            ],
            [(1.5, 2.0), (1.0, 5.0)],
        ),
        ([(1, ended(), 1.0), (1, {"type": "heartbeat"}, 2.0)], []),
    ],
)
def test_a_silence_lasts_from_one_growth_of_a_text_to_the_next(
    heard: list[tuple[int, dict[str, Any], float]], expected: list[tuple[Any, ...]]
):
    recording = Recording("user", heard=[Recorded(*each) for each in heard])
    assert list(pauses(recording)) == [Pause(*each) for each in expected]


def test_of_a_restart_the_longest_silence_that_touches_it_is_told():
    found = [Pause(0.0, 2.0), Pause(2.0, 2.5), Pause(9.0, 9.7), Pause(20.0, 30.0)]
    windows = [(1.0, 3.0), (2.1, 9.5), (10.0, 12.0), (0.0, 40.0)]
    assert longest_within(found, windows) == [found[0], found[2], None, found[3]]


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([], 99, 0.0), ([3.0], 50, 3.0), ([4.0, 1.0, 3.0, 2.0], 50, 3.0), ([1.0, 2.0], 100, 2.0)],
)
def test_a_percentile_is_one_of_the_values(values: list[float], part: float, expected: float):
    assert percentile(values, part) == expected


def test_a_spread_says_how_many_and_how_long():
    assert spread([0.5, 1.25]) == "2 of p50 1.25 s, p99 1.25 s, at most 1.25 s"
