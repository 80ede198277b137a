"""Titles (titles.py): first 50 characters, cut at a word, one line."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations.titles import DEFAULT_TITLE, title_for


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Which career fits me?", "Which career fits me?"),
        ("x" * 50, "x" * 50),
        ("  Which \n\n career\tfits me?  ", "Which career fits me?"),
        (
            "Which career would fit somebody who is investigative and artistic?",
            "Which career would fit somebody who is…",
        ),
        ("a" * 50 + " and more", "a" * 50 + "…"),
        ("a" * 60, "a" * 50 + "…"),
        ("short " + "b" * 60, "short " + "b" * 44 + "…"),
        (
            "This one ends right at the comma, before the next word",
            "This one ends right at the comma, before the next…",
        ),
        (
            "Before the cut there is a comma that would dangle,  and",
            "Before the cut there is a comma that would dangle…",
        ),
        ("e\u0301" * 40, "e\u0301" * 25 + "…"),
        ("x" * 49 + "e\u0301\u0302 tail", "x" * 49 + "…"),
        ("x" * 49 + "\U0001f469\u200d\U0001f680 tail", "x" * 49 + "…"),
        ("x" * 49 + "\U0001f44d\U0001f3fd tail", "x" * 49 + "…"),
        ("evil\u202etxt\x07 name", "evil txt name"),
        ("", DEFAULT_TITLE),
        (" \x00\u200b\n", DEFAULT_TITLE),
    ],
)
def test_a_title_is_the_first_50_characters_cut_at_a_word(content: str, title: str):
    assert title_for(content) == title


@pytest.mark.parametrize("content_type", ["image", "file"])
def test_an_image_or_a_file_leaves_the_default(content_type):
    assert title_for("data:text/plain,hello", content_type) == DEFAULT_TITLE


@given(st.text())
def test_any_message_gives_one_short_line(content: str):
    title = title_for(content)
    assert 1 <= len(title) <= 51
    assert title == " ".join(title.split())


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=50))
def test_a_short_message_is_its_own_title(content: str):
    assert title_for(content) == content
