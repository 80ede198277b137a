"""What a model says before it goes on (preamble.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.generations.preamble import _LINE, MOST_CHARS, preamble_length
from tests.generations.texts import PREAMBLES

MORE = (
    *PREAMBLES,
    "...continuing from where I was cut off:\n\n",
    "…continuing where I left off:\n",
    "(continuing)\n",
    "[Continuing]\n\n",
    "Okay, let me continue from where I left off.\n\n",
    "Ok, continuing:\n",
    "Let’s continue:\n",
    "We’ll carry on:\n",
    "Sure thing, picking up where we left off:\n\n",
    "Sure, here's the continuation of the previous response:\n\n",
    "Here’s the rest:\n",
    "The rest of my answer:\n\n",
    "Continuation:\n\n",
    "Continuing where I left off...\n\n",
    "Sorry, my answer was cut off.\n\nHere is the rest:\n\n",
    "Sure!\nMy answer was interrupted. Continuing:\n\n",
    "Akan meneruskan jawaban saya:\n\n",
    'Understood. Resuming from "foo":\n\n',
    "Yes, of course. Continuing the previous answer:\n\n",
    "Alright, continuing: ",
    "Berikut lanjutannya:\n\n",
    "Ini kelanjutannya:\n",
    "Tentu! Berikut sisanya:\n\n",
    "Melanjutkan dari bagian yang terpotong:\n\n",
    "Baiklah, mari kita lanjutkan dari sebelumnya:\n\n",
    "Siap, saya teruskan:\n",
    "Oke, lanjut:\n",
    "Terima kasih telah menunggu. Berikut lanjutannya:\n\n",
)

TEXTS = (
    "",
    "the remaining options are open",
    "Sure.\n",
    "Sure, you can do that.\n",
    "Yes: it is.\n",
    "Great, the plan is set. Continue to step 2:\n- read",
    "Continuing education matters.\n",
    "Continue to the next chapter.\n",
    "Here is a list:\n- one",
    "Here are three ideas:\n",
    "I will call you.\n",
    "Restful sleep:\n",
    "Continued growth means more work.\n",
    "Tentu, kamu bisa.\n",
    "Ya, itu benar. Lanjutkan langkah 2:\n",
    "Melanjutkan kuliah itu penting.\n",
    "Berikut adalah tiga saran:\n",
    "Ini adalah contoh:\n",
    ", and so on:\n",
    "word. Sure, continuing from where I left off:\n",
    "Continuing " + "on and " * 30 + "from where I left off:\n",
)  # fmt: skip


@pytest.mark.parametrize("preamble", MORE)
def test_a_preamble_is_found_with_the_gap_behind_it(preamble: str):
    assert preamble_length(f"{preamble}And so on", final=False) == len(preamble)
    assert preamble_length(f"{preamble}And so on", final=True) == len(preamble)
    assert preamble_length(preamble.lower() + "and", final=True) == len(preamble)


@pytest.mark.parametrize("preamble", MORE)
def test_what_may_become_a_preamble_is_waited_for(preamble: str):
    line = len(preamble.rstrip())
    for end in range(line):
        assert preamble_length(preamble[:end], final=False) is None


@given(st.from_regex(_LINE))
def test_no_preamble_of_the_grammar_is_taken_for_text_before_it_has_ended(text: str):
    """The seam lets go at once what can be nothing but new."""
    length = preamble_length(text, final=False)
    match = _LINE.match(text)
    if length and match is not None:
        for end in range(match.end()):
            assert preamble_length(text[:end], final=False) != 0


@pytest.mark.parametrize("preamble", MORE)
def test_a_preamble_after_which_nothing_comes_is_one_too(preamble: str):
    line = preamble.rstrip()
    assert preamble_length(line, final=True) == len(line)


@pytest.mark.parametrize("text", TEXTS)
def test_when_in_doubt_it_is_text(text: str):
    assert preamble_length(text, final=True) == 0


@pytest.mark.parametrize(
    "text", ["The cat", "And", "surf", "research", "Sure.\nThe cat\n", "Sure.\n\nContinue to\nto", "\n\nThen x", "x: y"]
)  # fmt: skip
def test_what_cannot_become_a_preamble_is_not_waited_for(text: str):
    assert preamble_length(text, final=False) == 0


def test_no_preamble_is_longer_than_a_line_can_be():
    long = "Sure " + "x" * (MOST_CHARS - 5)
    assert preamble_length(long, final=False) is None
    assert preamble_length(long + "x", final=False) == 0
    excuse = f"Sorry {'x' * 40}. {'y' * 58}. "
    assert preamble_length(f"{excuse}Continuing from where I left off:\n", final=True) not in {0, None}
    assert preamble_length(f"{excuse}Continuing from where I left off{' so' * 8}:\n", final=True) == 0


def test_of_the_gap_two_line_breaks_belong_to_the_preamble():
    assert preamble_length("Continuing:\n\n\n\nx", final=False) == len("Continuing:\n\n")
    assert preamble_length("Continuing:  x", final=False) == len("Continuing: ")
    assert preamble_length("Continuing: \n    x", final=False) == len("Continuing: \n")
