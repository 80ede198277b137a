"""Where a continuation joins what was shown, case by case (seam.py)."""

import pytest

from server.generations.seam import GRACE, Seam
from tests.generations.texts import join_all

ANSWER = "You like finding things out, and you finish what you begin.\n\nSo think of research"
RISKS = "1. Time\n2. Money"
CODE = "Try this:\n\n```python\ndef area(width, height):\n    total = width"


def a_seam(shown: str, *, hold_chars: int = 200, hold_seconds: float = 0.7, trimmed: bool = False) -> Seam:
    return Seam(shown, hold_chars=hold_chars, hold_seconds=hold_seconds, now=0.0, trimmed=trimmed)


def deadline_of(seam: Seam) -> float | None:
    return seam.deadline


@pytest.mark.parametrize(
    ("shown", "continuation", "joined"),
    [
        # clean
        (ANSWER, " or teaching.", f"{ANSWER} or teaching."),
        ("Hel", "lo there", "Hello there"),
        ("Hello", "world", "Helloworld"),
        ("", "From the start.", "From the start."),
        (ANSWER, "", ANSWER),
        # an overlap
        (ANSWER, "think of research, or of teaching.", f"{ANSWER}, or of teaching."),
        (ANSWER, "\n\nSo think of research, or", f"{ANSWER}, or"),
        (ANSWER, "  think of research, or", f"{ANSWER}, or"),
        (f"{ANSWER}\n\n", "think of research\n\nOr teach.", f"{ANSWER}\n\nOr teach."),
        (f"{ANSWER}\n\n", "think of research\n- Or", f"{ANSWER}\n- Or"),
        # seven characters are no evidence, unless they are a whole line
        (ANSWER, "research is", f"{ANSWER} is"),
        (ANSWER, "esearch is", f"{ANSWER}esearch is"),
        ("Areas:\nArt", "Art and music", "Areas:\nArt and music"),
        ("Areas:\nAr", "Art and music", "Areas:\nArArt and music"),
        # nor are rules, borders and runs
        ("A\n\n----------", "----------\nB", "A\n\n--------------------\nB"),
        ("he laughed ha ho he ha ho he", " ha ho he ha ho he!", "he laughed ha ho he ha ho he ha ho he ha ho he!"),
        ("he laughed ha ho he, ha ho he", ", ha ho he!", "he laughed ha ho he, ha ho he, ha ho he!"),
        # the answer begun again
        (ANSWER, f"{ANSWER} or teaching.", f"{ANSWER} or teaching."),
        (ANSWER, f"\n\n{ANSWER} or teaching.", f"{ANSWER} or teaching."),
        (ANSWER, ANSWER.replace("\n\n", "\n") + " or teaching.", f"{ANSWER} or teaching."),
        (f"{ANSWER}\n\n", ANSWER.replace("\n\n", "\n") + "\n\n- One", f"{ANSWER}\n\n- One"),
        # and whose last line is how it begins
        (f"{ANSWER}\n\nYou", f"{ANSWER}\n\nYour turn.".replace(" ", "  "), f"{ANSWER}\n\nYour  turn."),
        (f"{ANSWER}\n\nYou", "You could try it.", f"{ANSWER}\n\nYou could try it."),
        # another answer that begins like it replaces what differs
        (
            ANSWER,
            "You like finding things out, and you finish what others leave.",
            "You like finding things out, and you finish what others leave.",
        ),
        # a preamble
        (ANSWER, "Sure, continuing from where I left off:\n\n or teaching.", f"{ANSWER} or teaching."),
        (ANSWER, f"Tentu, saya lanjutkan:\n\n{ANSWER} or", f"{ANSWER} or"),
        (ANSWER, "Sure, continuing from where I left off:\n\n", ANSWER),
        (ANSWER, " Continue reading.", f"{ANSWER} Continue reading."),
        # lists
        (RISKS, "3. Health", f"{RISKS}\n3. Health"),
        (RISKS, "\n3. Health", f"{RISKS}\n3. Health"),
        (RISKS, "4. Health", f"{RISKS}4. Health"),
        (RISKS, "3) Health", f"{RISKS}3) Health"),
        (RISKS, "- Health", f"{RISKS}- Health"),
        ("- Time", "- Money", "- Time\n- Money"),
        ("- Time", "* Money", "- Time* Money"),
        ("- Time", "  - Money", "- Time  - Money"),
        ("- Time\n", "- Money", "- Time\n- Money"),
        # code
        (CODE, " * height\n    return total\n```", f"{CODE} * height\n    return total\n```"),
        (CODE, "```python\n * height", f"{CODE} * height"),
        (CODE, f"\n```python\n{CODE[21:]} * height", f"{CODE} * height"),
        (CODE, "```\n\nThat is all.", f"{CODE}```\n\nThat is all."),
        (CODE, "~~~python\n * height", f"{CODE}~~~python\n * height"),
        (CODE, "    total = width * height", f"{CODE} * height"),
        (CODE, "  total = width * height", f"{CODE}  total = width * height"),
        (f"{ANSWER}:\n\n", "```python\nprint()\n```", f"{ANSWER}:\n\n```python\nprint()\n```"),
        # ended in the middle of a repetition: nothing new came, unless it is too short to say
        (ANSWER, ANSWER[:60], ANSWER),
        (ANSWER, "find", f"{ANSWER}find"),
        # a grapheme cluster is whole
        ("A family: 👩\u200d", "👧 and more", "A family: 👩\u200d👧 and more"),
    ],
)  # fmt: skip
def test_a_continuation_joins(shown: str, continuation: str, joined: str):
    assert join_all(shown, [continuation] if continuation else []) == joined
    assert join_all(shown, list(continuation)) == joined


@pytest.mark.parametrize(
    ("shown", "continuation", "joined"),
    [
        ("Hello, ", "world", "Hello, world"),
        ("Hello, ", " world", "Hello, world"),
        ("Hello, ", "\nworld", "Hello,\nworld"),
        ("Hello ", ", world", "Hello, world"),
        ("Hello\n\n", ") world", "Hello\n\n) world"),
        ("Hello", "world", "Helloworld"),
        ("Hello ", "", "Hello "),
        ("- Time\n", "- Money", "- Time\n- Money"),
        (f"{ANSWER} ", "Sure, continuing from where I left off:\n\nor teaching.", f"{ANSWER} or teaching."),
        (f"{ANSWER}\n", "Sure, continuing from where I left off:\n\n\n- One", f"{ANSWER}\n\n- One"),
    ],
)
def test_white_space_that_the_model_did_not_see_is_put_right(shown: str, continuation: str, joined: str):
    assert join_all(shown, [continuation] if continuation else [], trimmed=True) == joined


def test_a_cut_inside_a_cluster_is_begun_where_the_cluster_begins():
    seam = a_seam("A family: 👩\u200d")
    assert seam.feed("👧" + "x" * 200, 0.0) == "👩\u200d👧" + "x" * 200
    assert seam.begin == len("A family: ")


def test_an_answer_that_leaves_the_old_one_begins_where_they_part():
    seam = a_seam(ANSWER)
    other = "You like finding things out, and you finish what others leave." + " more" * 40
    assert seam.feed(other, 0.0) == other[seam.begin :]
    assert seam.begin == ANSWER.index(" you begin")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (ANSWER, " or"),
        (ANSWER, "!"),
        (RISKS, "\n3. H"),
        (RISKS, "Health"),
        (CODE, " * height"),
        (CODE, "\n    return"),
        ("ha ha ha", "ho"),
    ],
)
def test_what_can_be_nothing_but_new_goes_at_once(shown: str, text: str):
    seam = a_seam(shown)
    assert seam.feed(text, 1.0) == text
    assert seam.begin == len(shown)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        # the answer begun again, also with other white space
        (ANSWER, " you"),
        (ANSWER, "You like"),
        (f"{ANSWER}.", "You  l"),
        # the last words, which are no evidence yet
        ("-- -- -- you", "-- --"),
        ("Areas:\nArt", "Ar"),
        # a preamble, nothing at all, an item's number, a fence line
        (ANSWER, "Certain"),
        (ANSWER, "\n"),
        (RISKS, "3"),
        (RISKS, "3."),
        (RISKS, "100)  "),
        (ANSWER, "``"),
    ],
)
def test_what_may_be_something_else_is_held(shown: str, text: str):
    seam = a_seam(shown)
    assert seam.feed(text, 1.0) is None
    assert seam.held == len(text)
    assert deadline_of(seam) in (1.7, None)


def test_as_much_is_held_as_asked():
    seam = a_seam(f"things {ANSWER}", hold_chars=10)
    assert deadline_of(seam) is None
    assert seam.feed(" thin", 5.0) is None
    assert seam.held == 5
    assert deadline_of(seam) == 5.7
    assert seam.feed("gs you", 5.1) == " things you"


def test_time_lets_go_what_is_clean():
    seam = a_seam(RISKS)
    assert seam.feed("3", 1.0) is None
    assert seam.feed("", 1.7) == "3"
    assert seam.begin == len(RISKS)


def test_what_may_become_a_preamble_is_held_for_the_grace():
    seam = a_seam(ANSWER)
    assert seam.feed("Sure, I", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert deadline_of(seam) == pytest.approx(0.7 * GRACE)
    assert seam.feed("", 0.7 * GRACE) == "Sure, I"


def test_a_preamble_alone_is_held_until_more_comes():
    seam = a_seam(ANSWER)
    assert seam.feed("Sure, continuing from where I left off:\n", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert seam.feed("", 2.8) is None
    assert deadline_of(seam) is None
    assert seam.feed("\nor teaching", 30.0) == "or teaching"


def test_behind_a_preamble_white_space_alone_says_nothing_either():
    seam = a_seam(ANSWER)
    assert seam.feed("Continuing:\n\n\t", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert seam.feed("think of research or", 1.0) == " or"


def test_behind_a_preamble_as_much_is_held_as_without_one():
    seam = a_seam(RISKS, hold_chars=45)
    assert seam.feed("Sure, continuing from where I left off:\n\n3.  ", 0.0) is None
    assert seam.feed("Health" + "!" * 45, 0.0) == "\n3.  Health" + "!" * 45


def test_the_white_space_behind_a_repetition_is_waited_for():
    seam = a_seam(f"{ANSWER}\n\n")
    assert seam.feed("think of research", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert seam.feed("\n- Or", 1.0) == "\n- Or"
    assert seam.begin == len(ANSWER)


def test_a_word_that_would_be_a_preamble_is_text_if_the_line_goes_on():
    seam = a_seam(ANSWER)
    assert seam.feed("Continuing", 0.0) is None
    assert seam.feed("", 2.8) is None
    assert seam.feed(" education matters.", 3.0) == "Continuing education matters."


def test_while_the_model_repeats_it_is_waited_for_and_no_clock_runs():
    seam = a_seam(ANSWER)
    assert seam.feed(ANSWER[:20], 0.0) is None
    assert seam.feed("", 0.7) is None
    assert deadline_of(seam) is None
    assert seam.feed(ANSWER[20:50], 60.0) is None
    assert seam.feed(ANSWER[50:] + " or", 90.0) == " or"


def test_a_repetition_with_other_white_space_is_followed_as_well():
    shown = " ".join(f"word{number}" for number in range(60))
    again = shown.replace(" ", "\n") + " end"
    seam = a_seam(shown)
    for at in range(0, 350, 7):
        assert seam.feed(again[at : at + 7], float(at)) is None
    assert deadline_of(seam) is None
    assert seam.feed(again[350:], 999.0) == " end"


def test_white_space_alone_says_nothing_yet():
    seam = a_seam(ANSWER)
    assert seam.feed("\n\t", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert seam.feed("think of research or", 1.0) == " or"


def test_white_space_alone_is_let_go_when_the_grace_is_over():
    seam = a_seam(ANSWER)
    assert seam.feed("\n\t", 0.0) is None
    assert seam.feed("", 2.8) == "\n\t"


def test_a_fence_line_that_is_not_complete_is_waited_for():
    seam = a_seam(CODE)
    assert seam.feed("``", 0.0) is None
    assert seam.feed("`pyth", 0.8) is None
    assert seam.feed("on\n * height", 1.0) == " * height"


def test_a_fence_line_round_a_repetition_is_waited_for_too():
    seam = a_seam(ANSWER)
    assert seam.feed("```mark", 0.0) is None
    assert seam.feed("", 0.7) is None
    assert seam.feed("down\nthink of research or", 1.0) == " or"


def test_a_seam_without_a_hold_decides_at_once():
    seam = a_seam(ANSWER, hold_chars=0)
    assert seam.feed("", 0.0) is None
    assert seam.feed(" or teaching", 0.0) == " or teaching"
