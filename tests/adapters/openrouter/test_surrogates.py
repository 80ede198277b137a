"""Sans-I/O. Text repair: halves joined, lone halves and NUL replaced."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.surrogates import TextRepair, repaired


def taken(*deltas: str) -> list[str]:
    repair = TextRepair()
    return [*(repair.take(delta) for delta in deltas), repair.end()]


@pytest.mark.parametrize(
    ("deltas", "texts"),
    [
        (("a", "b"), ["a", "b", ""]),
        (("a\0b",), ["a\ufffdb", ""]),
        (("é\0",), ["é\ufffd", ""]),
        (("x\ud83d", "\ude00y"), ["x", "😀y", ""]),
        (("\ud83d", "", "\ude00"), ["", "", "😀", ""]),
        (("\ud83d\ude00",), ["😀", ""]),
        (("\ud83d", "y"), ["", "\ufffdy", ""]),
        (("\ud83d", "\ud83d", "\ude00"), ["", "\ufffd", "😀", ""]),
        (("\ude00y",), ["\ufffdy", ""]),
        (("\ud83d",), ["", "\ufffd"]),
    ],
)
def test_halves_are_joined_and_what_no_store_can_hold_is_replaced(deltas: tuple[str, ...], texts: list[str]):
    assert taken(*deltas) == texts


_anything = st.text(st.one_of(st.characters(), st.sampled_from("\0\ud83d\ude00\ud800\udfff")))


@given(_anything, st.lists(st.integers(0, 40), max_size=8))
def test_any_cut_gives_the_text_repaired_as_a_whole(text: str, places: list[int]):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    deltas = [text[start:stop] for start, stop in itertools.pairwise(edges)]

    shown = "".join(taken(*deltas))

    assert shown == repaired(text)
    assert "\0" not in shown
    assert shown.encode().decode() == shown
