"""What is evidence of repetition and what is not (overlap.py)."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.generations.overlap import (
    NONE,
    Match,
    Repetition,
    Trail,
    _beginning_of_last,
    _goes_on,
    _inside_indentation,
    _short_line,
    _spoken,
    overlap,
    period,
    restart,
    tells,
)

SHOWN = "Think of what you enjoy, then of who pays for it"


@pytest.mark.parametrize("text", ["abc", "a1-b", "你好吗", "👍🎉🔥", "aeiou", "ก็ดี", "1 2 3"])
def test_three_different_letters_digits_or_pictures_tell(text: str):
    assert tells(text)


@pytest.mark.parametrize(
    "text", ["", "ab", "aaaa", "------", "|---|---|", "┌──┬─┐█", "  \n\t ", "ababab", "a-b-."]
)
def test_rules_borders_and_two_letters_do_not_tell(text: str):
    assert not tells(text)


@pytest.mark.parametrize(
    ("text", "rounds"),
    [("", 0), ("a", 0), ("aa", 1), ("ab", 0), ("abab", 2), ("ababa", 2), ("abcab", 0), ("ha ha ha", 3), ("aab", 0),
     ("aabaab", 3), ("aabaaab", 0)],
)  # fmt: skip
def test_a_run_is_two_rounds_or_more(text: str, rounds: int):
    assert period(text) == rounds


@given(st.text("ab", max_size=12))
def test_the_period_is_the_shortest_there_is(text: str):
    found = [size for size in range(1, len(text) // 2 + 1) if text[size:] == text[:-size]]
    assert period(text) == (found[0] if found else 0)


def test_the_longest_suffix_that_comes_again_is_the_overlap():
    assert overlap(SHOWN, "who pays for it, and of when") == Repetition(Match(len(SHOWN), 15))


def test_all_of_the_text_is_an_overlap_too():
    assert overlap(SHOWN, SHOWN + "!") == Repetition(Match(len(SHOWN), len(SHOWN)))


def test_a_longer_overlap_may_still_come_about():
    shown = "the old house and the old house and the old hat"
    assert overlap(shown, "the old house and").pending
    assert overlap(shown, "the old house and the old hat.") == Repetition(Match(len(shown), 29))


def test_a_run_at_the_end_does_not_hide_an_overlap_that_begins_inside_a_round():
    shown = "one two three one two four one two three one two four"
    assert overlap(shown, "one two ") == Repetition(pending=True, trail=Trail(shown, 22))
    assert overlap(shown, f"{shown[14:]} and") == Repetition(Match(len(shown), 39))
    assert overlap(shown, f"{shown} and") == NONE


def test_with_a_shorter_match_a_longer_one_is_still_waited_for():
    shown = "one fine day two fine days | one fine day"
    found = overlap(shown, "one fine day")
    assert found == Repetition(Match(len(shown), 12), pending=True, trail=Trail(shown, 12))
    assert overlap(shown, "one fine day!") == Repetition(Match(len(shown), 12))


def test_of_less_than_eight_characters_nothing_is_known_but_where_they_stand():
    assert overlap(SHOWN, "who pay") == Repetition(pending=True)
    assert overlap(SHOWN, "nobody") == NONE
    assert overlap(SHOWN, "") == NONE


@pytest.mark.parametrize(
    ("shown", "new", "skip"),
    [("Areas:\nArt", "Art and", 3), ("Art", "Art and", 3), ("Areas:\nArt", "Arts", 3), ("Areas:\nArt", "Arrows", None),
     ("Areas:\nAr", "Art and", None), ("Areas:\n---", "---\nB and more", None), ("x\nabcabc", "abcabcabc", None)],
)  # fmt: skip
def test_a_short_last_line_counts_as_a_whole(shown: str, new: str, skip: int | None):
    match = overlap(shown, new).match
    assert match == (Match(len(shown), skip) if skip is not None else None)


@pytest.mark.parametrize(
    ("shown", "new"),
    [
        ("done.\n----------------", "----------------\nNext"),
        ("he sang tra la li tra la li tra la li ", "tra la li tra la li and on"),
        ("again and again and ", "again and again and"),
        ("xx one two three one two three", "one two three more"),
        ("xx one two three, one two three", ", one two three more"),
        ("if x:\n            return value", "        return value\n"),
    ],
    ids=[
        "no letters",
        "a run",
        "two rounds",
        "one round after the same",
        "a round and a comma",
        "inside an indentation",
    ],
)
def test_what_is_no_evidence_is_no_overlap(shown: str, new: str):
    assert overlap(shown, new) == NONE


def test_a_whole_indentation_is_evidence():
    shown = "if x:\n        return value"
    assert overlap(shown, "        return value + 1").match == Match(len(shown), 20)


def test_long_runs_are_looked_at_quickly_and_are_no_overlap():
    run = "ha ho he " * 2000
    assert overlap(run, run) == NONE
    assert overlap("=" * 20_000, "=" * 20_000) == NONE


# --- begun again ---------------------------------------------------------------------------


def test_the_answer_begun_again_with_other_white_space_is_aligned():
    again = SHOWN.replace(" ", "\n")
    assert restart(SHOWN, again + "\nand") == Repetition(Match(len(SHOWN), len(again)))


def test_an_answer_that_is_being_repeated_is_pending():
    found = restart(SHOWN, "Think\nof what")
    assert found == Repetition(None, pending=True, trail=Trail("".join(SHOWN.split()), 11, bare=True))


def test_an_answer_that_begins_with_a_run_is_pending_though_only_the_run_has_come():
    shown = "tra la li " * 20 + "and then the story went on"
    assert restart(shown, "tra\nla li " * 15).pending


def test_white_space_behind_the_whole_answer_is_waited_for():
    shown = f"{SHOWN}\n\n"
    again = SHOWN.replace(" ", "  ")
    assert restart(shown, again) == Repetition(Match(len(SHOWN), len(again)), pending=True)
    assert restart(shown, f"{again}\n").pending
    assert restart(shown, f"{again}\nand") == Repetition(Match(len(SHOWN), len(again)))


def test_another_answer_replaces_what_differs_after_forty_characters():
    shown = "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 A B C D E F G H"
    same = shown.index(" E")
    assert restart(shown, shown[:same] + " other") == Repetition(Match(same, same))
    assert restart(shown, shown[: same - 2] + " other") == NONE


@pytest.mark.parametrize(
    ("shown", "new"),
    [("", "Think"), ("Think", "Think of"), ("-" * 50, "-" * 60), ("tra la li " * 20, "tra\nla li " * 20)],
    ids=["nothing shown", "too little shown", "no letters", "a run"],
)
def test_what_is_no_evidence_is_no_answer_begun_again(shown: str, new: str):
    assert restart(shown, new) == NONE


# --- trails --------------------------------------------------------------------------------


def test_a_trail_is_followed_to_its_end():
    trail = Trail("abcdef", 1)
    assert trail.follow("bc") == Trail("abcdef", 3)
    assert trail.follow("") == trail
    assert trail.follow("bcx") is None
    assert trail.follow("bcdef") is None
    assert trail.follow("bcdefg") is None
    assert trail.follow("b c") is None


def test_a_bare_trail_does_not_see_white_space():
    assert Trail("abcdef", 1, bare=True).follow(" b\nc ") == Trail("abcdef", 3, bare=True)


@given(st.text("ab", min_size=1, max_size=30), st.text("ab", max_size=40))
def test_what_is_pending_by_a_trail_stays_pending_while_the_trail_is_followed(shown: str, more: str):
    text = shown.replace("a", "one two ").replace("b", "three four ")
    for at in range(len(text)):
        first = overlap(text, text[at : at + 12])
        if first.trail is None:
            continue
        following = more.replace("a", "one ").replace("b", "two ")
        if first.trail.follow(following) is not None:
            assert overlap(text, text[at : at + 12] + following).pending


def test_a_text_that_says_one_word_again_and_again_is_looked_at_quickly():
    """Models that are stuck say much; every round of it stands where the continuation might begin."""
    shown = "".join(f"{n} " + ("naïve " if n % 2 else "職業 ") * 1500 for n in range(20))
    assert overlap(shown, "naïve " * 400) == Repetition(None, True, Trail(shown, shown.index("naïve") + 2400))


def _slowly(shown: str, new: str) -> Repetition:
    """The overlap by the same rules, with every place looked at."""
    if len(new) < 8:
        return overlap(shown, new)
    trail: Trail | None = None
    run = -1
    for at in range(len(shown)):
        again = shown[at:]
        if at <= run or not again.startswith(new[:8]) or not (again.startswith(new) or new.startswith(again)):
            continue
        if not tells(again):
            break
        said, spoken = _spoken(again), _spoken(shown)
        rounds = period(said)
        if rounds:
            run = _beginning_of_last(2 * rounds, shown)
        elif not _goes_on(spoken, len(said)) and not _inside_indentation(shown, at):
            if len(again) <= len(new):
                return Repetition(Match(len(shown), len(again)), trail is not None, trail)
            trail = trail or Trail(shown, at + len(new))
    return Repetition(_short_line(shown, new), trail is not None, trail)


@given(st.lists(st.sampled_from(["abc ", "abc ab", "x", " ", "1 2 3 "]), max_size=40), st.data())
def test_no_overlap_is_passed_over_for_being_quick(words: list[str], data: st.DataObject):
    shown = "".join(words)
    beginning = data.draw(st.integers(0, len(shown)))
    new = shown[beginning : data.draw(st.integers(beginning, len(shown)))] + data.draw(
        st.sampled_from(["", "abc ", "x"])
    )
    assert overlap(shown, new) == _slowly(shown, new)
