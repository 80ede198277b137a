"""What a generation is asked to do (order.py)."""

from typing import get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from protocol.codes import ErrorCode
from protocol.frames import Fallback
from server.generations.effects import Plan
from server.generations.order import PromptImpossible, decode_plan, encode_plan
from tests.generations.notes import a_plan

_slugs = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
plans = st.builds(
    Plan,
    chain=st.lists(_slugs, min_size=1, max_size=4).map(tuple),
    free=st.frozensets(_slugs, max_size=4),
    fallback=st.sampled_from(get_args(Fallback)),
    max_tokens=st.integers(1, 10**6),
    temperature=st.floats(0, 2),
    tier=_slugs,
)


@given(plans)
def test_a_plan_survives_the_store(plan: Plan):
    assert decode_plan(encode_plan(plan)) == plan


def test_the_same_plan_is_the_same_bytes():
    free = ["a:free", "b:free", "c:free", "d:free"]
    one = a_plan(*free, free=frozenset(free))
    other = a_plan(*free, free=frozenset(reversed(free)))
    assert encode_plan(one) == encode_plan(other)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        encode_plan(a_plan()).replace(b'"continue"', b'"sometimes"'),
        encode_plan(a_plan()).replace(b"1000", b'"many"'),
        encode_plan(a_plan())[:-1],
    ],
)
def test_what_is_no_plan_is_refused(raw: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode_plan(raw)


def test_why_there_is_nothing_to_ask_is_a_code():
    assert PromptImpossible(ErrorCode.NOT_FOUND).code == ErrorCode.NOT_FOUND
    assert str(PromptImpossible(ErrorCode.NOT_FOUND)) == "not_found"
