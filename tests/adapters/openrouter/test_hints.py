"""Sans-I/O. When to come back: every place that may say so, in order of trust."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.hints import retry_after_seconds, seconds_to_midnight

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("headers", "error", "seconds"),
    [
        ({}, {}, None),
        ({"retry-after": "7"}, {}, 7.0),
        ({"retry-after": " 7.5 "}, {}, 7.5),
        ({"retry-after": "-3"}, {}, 0.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:14:20 GMT"}, {}, 60.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:14:20 -0000"}, {}, 60.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:12:20 GMT"}, {}, 0.0),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "999999999"}, {}, 86_400.0),
        ({"x-ratelimit-reset": "1790000041000"}, {}, 41.0),
        ({"x-ratelimit-reset": "1790000041"}, {}, 41.0),
        ({"x-ratelimit-reset": "0"}, {}, None),
        ({}, {"metadata": {"headers": {"X-RateLimit-Reset": "1790000041000"}}}, 41.0),
        ({}, {"metadata": {"headers": {"X-RateLimit-Reset": 1790000041000, "Retry-After": None}}}, 41.0),
        ({}, {"metadata": {"headers": {"Retry-After": 3}}}, 3.0),
        ({}, {"metadata": {"retry_after_seconds": Decimal("2.5")}}, 2.5),
        ({}, {"metadata": {"retry_after": 4}}, 4.0),
        ({}, {"availability": {"retry_after": 5}}, 5.0),
        ({}, {"availability": {"retry_after": None}}, None),
        ({}, {"availability": {"retry_after": True}}, None),
        ({}, {"availability": "?", "metadata": ["?"]}, None),
        ({"retry-after": "1", "x-ratelimit-reset": "1790000041000"}, {}, 1.0),
        ({"retry-after": "soon"}, {"availability": {"retry_after": 5}}, 5.0),
    ],
)
def test_the_most_trusted_hint_counts(headers: dict[str, str], error: dict[str, Any], seconds: float | None):
    assert retry_after_seconds(headers, error, NOW) == seconds


@given(
    st.one_of(st.text(), st.integers().map(str), st.floats().map(str)),
    st.sampled_from(["retry-after", "x-ratelimit-reset"]),
)
def test_no_header_value_breaks_it_and_no_wait_is_longer_than_a_day(value: str, name: str):
    seconds = retry_after_seconds({name: value}, {}, NOW)

    assert seconds is None or 0 <= seconds <= 86_400


def test_the_daily_count_begins_anew_at_midnight_utc():
    assert seconds_to_midnight(NOW) == (23 - 14) * 3600 + (59 - 13) * 60 + (60 - 20)
