"""Where a character ends, as a reader sees it (graphemes.py)."""

from itertools import product

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.generations.graphemes import cluster_start, joined

CLUSTERS = [
    "e\u0301",
    "e\u0301\u0323",
    "👍🏽",
    "👩\u200d🔬",
    "👩🏽\u200d❤\ufe0f\u200d👩🏼",
    "🇮🇩",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "1\ufe0f\u20e3",
    "\r\n",
    "한",
    "\u1112\u1161\u11ab",
    "가\u11a8",
    "कि",
    "क्ष",
    "ก\u0e34",
    "x",
    "你",
]  # fmt: skip


@pytest.mark.parametrize("cluster", [each for each in CLUSTERS if len(each) > 1], ids=ascii)
def test_no_cut_inside_a_cluster(cluster: str):
    text = f"ab{cluster}"
    for at in range(1, len(cluster)):
        assert joined(text[: 2 + at], text[2 + at :])
        assert cluster_start(text[: 2 + at], text[2 + at :]) == 2


def test_between_two_clusters_a_cut_is_fine():
    assert [pair for pair in product(CLUSTERS, repeat=2) if joined(*pair)] == []
    for before, after in product(CLUSTERS, repeat=2):
        assert cluster_start(f"ab{before}", after) == 2 + len(before)


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "\u0301"), ("a", ""), ("\n", "\u0301"), ("\r", "\u0301"), ("🇮🇩", "🇯🇵"), ("\u200d", "a"), ("a\u200d", "b"),
     ("क्", "a"), ("क्", "5"), ("a", "\u11a8"), ("\n", "\n"), ("\n", "\r")],
)  # fmt: skip
def test_what_does_not_belong_together(before: str, after: str):
    assert not joined(before, after)


def test_flags_are_pairs_however_many_stand_in_a_row():
    flags = "🇮🇩" * 100
    assert cluster_start(flags, "🇯🇵") == 200
    assert cluster_start(flags + "🇯", "🇵") == 200


def test_a_cluster_may_be_all_there_is():
    assert cluster_start("👩\u200d", "🔬") == 0
    assert cluster_start("\u0301\u0301", "\u0301") == 0


@given(st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=12), st.data())
def test_the_start_of_a_cut_cluster_is_where_a_cluster_begins(clusters: list[str], data):
    text = "".join(clusters)
    begins = [len("".join(clusters[:count])) for count in range(len(clusters) + 1)]
    at = data.draw(st.integers(0, len(text)))
    assert cluster_start(text[:at], text[at:]) == max(begin for begin in begins if begin <= at)
