"""Sans-I/O. JSON to chunks: the fast way and the lenient one agree, and money stays exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter import chunks
from server.adapters.openrouter.chunks import decode_chunk, decode_leniently, money, parse_json, token_count

_words = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_counts = st.none() | st.integers(0, 10**6)
_deltas = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": _words,
        "reasoning": _words,
        "reasoning_content": _words,
        "reasoning_details": st.none() | st.lists(st.fixed_dictionaries({"type": _words}, optional={"text": _words, "summary": _words}), max_size=2),
    },
)  # fmt: skip
_good_chunks = st.fixed_dictionaries(
    {},
    optional={
        "id": _words,
        "model": _words,
        "object": _words,
        "provider": _words,
        "created": st.integers(),
        "choices": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(0, 3),
                    "delta": _deltas,
                    "message": _deltas,
                    "text": _words,
                    "finish_reason": _words,
                    "native_finish_reason": _words,
                    "error": st.none() | st.text(max_size=3) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
                },
            ),
            max_size=2,
        ),
        "usage": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "prompt_tokens": _counts,
                "completion_tokens": _counts,
                "cost": st.none() | st.integers(0, 9) | st.floats(0, 10, exclude_min=True).filter(lambda cost: cost > 1e-9),
                "is_byok": st.booleans(),
                "cost_details": st.none() | st.fixed_dictionaries({}, optional={"upstream_inference_cost": st.none() | st.integers(0, 9)}),
                "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": _counts}),
            },
        ),
        "error": st.none() | st.text(max_size=3),
    },
)  # fmt: skip


def plain(value: Any) -> Any:
    """Without the difference between an `is_byok` that is absent and one that is false."""
    return {
        **msgspec.to_builtins(value),
        "usage": value.usage and {**msgspec.to_builtins(value.usage), "is_byok": bool(value.usage.is_byok)},
    }


@given(_good_chunks, st.booleans())
def test_both_ways_give_the_same_chunk(document: dict[str, Any], escaped: bool):
    payload = json.dumps(document, ensure_ascii=escaped).encode()
    fast = chunks._fast.decode(payload)

    lenient = decode_leniently(payload)

    assert lenient is not None
    assert plain(lenient) == plain(fast)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "model", "choices", "index", "delta", "content", "reasoning_details", "text", "finish_reason", "usage", "cost", "cost_details", "completion_tokens_details", "prompt_tokens", "error"]), inner, max_size=5), max_leaves=12))  # fmt: skip
def test_no_json_of_any_shape_breaks_it(document: Any):
    decoded = decode_chunk(json.dumps(document).encode())

    assert (decoded is not None) == isinstance(document, dict)


@given(st.binary(max_size=40))
def test_no_bytes_break_it(payload: bytes):
    decoded = decode_chunk(payload)

    assert decoded is None or isinstance(parse_json(payload), dict)


@pytest.mark.parametrize(
    "literal", ["7.434e-07", "0.1000000000000000055511151231257827", "0", "12.50", '"0.01"']
)
@pytest.mark.parametrize("way", [decode_chunk, decode_leniently])
def test_a_cost_is_exactly_what_the_json_text_says(literal: str, way: Any):
    decoded = way(b'{"usage":{"cost":' + literal.encode() + b"}}")

    assert money(decoded.usage.cost) == Decimal(literal.strip('"'))


@pytest.mark.parametrize(
    "literal",
    ["-1", "1e400", "1e99999999999999999999", "NaN", "Infinity", '"free"', "true", "{}", "1e-99", "1000001"],
)
@pytest.mark.parametrize("way", [decode_chunk, decode_leniently])
def test_a_cost_that_is_no_sane_amount_is_none(literal: str, way: Any):
    decoded = way(b'{"usage":{"cost":' + literal.encode() + b"}}")

    assert money(decoded.usage.cost) is None


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (3, 3),
        (Decimal("3.0"), 3),
        (0, 0),
        (-1, None),
        (True, None),
        ("3", None),
        (None, None),
        (Decimal("NaN"), None),
        (Decimal("1e400"), None),
    ],
)
def test_a_token_count_is_a_sane_number_or_none(value: object, count: int | None):
    assert token_count(value) == count


@pytest.mark.parametrize("escape", ["\\ud83d", "\\ude00", "\\ud83d\\u0041", "\\ud83dx", "\\ude00\\ud83d"])
def test_lone_surrogate_escapes_are_kept_for_the_next_delta(escape: str):
    """Strict decoders refuse them, or worse, make a wrong character of them."""
    payload = f'{{"choices":[{{"delta":{{"content":"{escape}"}}}}]}}'.encode()

    decoded = decode_chunk(payload)

    assert decoded is not None
    assert decoded.choices is not None
    assert decoded.choices[0].delta is not None
    assert decoded.choices[0].delta.content == json.loads(f'"{escape}"')
