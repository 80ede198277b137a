"""How a model is asked for the rest (continuation.py)."""

from copy import deepcopy

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.generations.continuation import CONTINUE, LEAST_TOKENS, messages, remaining_tokens, rough_tokens

BASE = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who am I?"}]


def test_a_fresh_answer_is_asked_for_by_the_prompt_alone():
    assert messages(BASE, "Half an ans", "fresh") == tuple(BASE)


def test_a_users_turn_asks_for_the_rest_of_the_answer_as_it_stands():
    assert messages(BASE, "Half an \n", "user_turn") == (
        *BASE,
        {"role": "assistant", "content": "Half an \n"},
        {"role": "user", "content": CONTINUE},
    )


def test_prefill_ends_in_the_answer_without_its_white_space():
    assert messages(BASE, "Half an \n", "prefill") == (*BASE, {"role": "assistant", "content": "Half an"})


@pytest.mark.parametrize("how", ["user_turn", "prefill"])
@pytest.mark.parametrize("partial", ["", " \n"])
def test_of_white_space_nobody_goes_on(partial: str, how):
    assert messages(BASE, partial, how) == tuple(BASE)


@pytest.mark.parametrize("how", ["fresh", "user_turn", "prefill"])
def test_the_prompt_is_not_changed(how):
    base = deepcopy(BASE)
    messages(base, "Half", how)
    assert base == BASE


@given(st.integers(1, 5000), st.text(max_size=400))
def test_what_is_left_of_the_limit_is_never_too_little_to_ask_for_nor_more_than_there_was(
    limit: int, text: str
):
    left = remaining_tokens(limit, text, rough_tokens)
    assert min(limit, LEAST_TOKENS) <= left <= limit
    assert left == max(limit - rough_tokens(text), min(limit, LEAST_TOKENS))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("你好", 1), ("你好吗", 2), ("abcd你好", 2)],
)
def test_four_ascii_characters_are_a_token_and_two_others(text: str, tokens: int):
    assert rough_tokens(text) == tokens
