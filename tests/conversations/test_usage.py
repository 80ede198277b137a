"""Which time a usage summary covers (usage.py), and its numbers as clients read them (usage_wire.py)."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations.usage import (
    PERIOD_KINDS,
    ConversationUsage,
    DayUsage,
    ModelUsage,
    Period,
    PeriodInvalid,
    PeriodKind,
    TokenUsage,
    UsageSummary,
    period_of,
)
from server.conversations.usage_wire import (
    conversation_usage_json,
    message_usage_json,
    usage_summary_json,
)

TODAY = date(2026, 3, 18)  # a Wednesday

days = st.dates(date(1970, 1, 1), date(9998, 12, 31))
kinds = st.sampled_from(PERIOD_KINDS)


def midnight(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "parts", "start", "end"),
    [
        ("day", {}, (2026, 3, 18), (2026, 3, 19)),
        ("week", {}, (2026, 3, 16), (2026, 3, 23)),
        ("month", {}, (2026, 3, 1), (2026, 4, 1)),
        ("year", {}, (2026, 1, 1), (2027, 1, 1)),
        # this year, this month: today's
        ("month", {"year": 2026}, (2026, 3, 1), (2026, 4, 1)),
        ("day", {"year": 2026, "month": 3}, (2026, 3, 18), (2026, 3, 19)),
        ("day", {"day": 2}, (2026, 3, 2), (2026, 3, 3)),
        # what has passed: its last; what comes: its first
        ("month", {"year": 2024}, (2024, 12, 1), (2025, 1, 1)),
        ("month", {"year": 2027}, (2027, 1, 1), (2027, 2, 1)),
        ("day", {"year": 2024, "month": 2}, (2024, 2, 29), (2024, 3, 1)),
        ("day", {"month": 4}, (2026, 4, 1), (2026, 4, 2)),
        ("week", {"year": 2025}, (2025, 12, 29), (2026, 1, 5)),
        # given in whole
        ("month", {"year": 2026, "month": 12}, (2026, 12, 1), (2027, 1, 1)),
        ("month", {"month": 1}, (2026, 1, 1), (2026, 2, 1)),
        ("day", {"year": 2024, "month": 12, "day": 31}, (2024, 12, 31), (2025, 1, 1)),
        ("week", {"year": 2026, "month": 3, "day": 1}, (2026, 2, 23), (2026, 3, 2)),
        # smaller parts are not looked at
        ("year", {"year": 2024, "month": 13, "day": 40}, (2024, 1, 1), (2025, 1, 1)),
        ("month", {"year": 2024, "month": 2, "day": 31}, (2024, 2, 1), (2024, 3, 1)),
        # the ends of time
        ("week", {"year": 1970, "month": 1, "day": 1}, (1970, 1, 1), (1970, 1, 5)),
        ("week", {"year": 9998, "month": 12, "day": 31}, (9998, 12, 28), (9999, 1, 4)),
    ],
)
def test_a_period_is_the_one_that_holds_the_date_given(
    kind: PeriodKind, parts: dict[str, int], start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    period = period_of(kind, today=TODAY, **parts)
    assert (period.kind, period.start, period.end) == (kind, midnight(*start), midnight(*end))


@pytest.mark.parametrize(
    ("kind", "parts", "field"),
    [
        ("year", {"year": 1969}, "year"),
        ("day", {"year": 9999}, "year"),
        ("month", {"month": 0}, "month"),
        ("week", {"month": 13}, "month"),
        ("day", {"year": 2026, "month": 2, "day": 29}, "day"),
        ("week", {"day": 0}, "day"),
    ],
)
def test_a_date_that_is_none_is_refused_by_its_field(
    kind: PeriodKind, parts: dict[str, int], field: str
) -> None:
    with pytest.raises(PeriodInvalid) as refused:
        period_of(kind, today=TODAY, **parts)
    assert refused.value.field == field
    assert refused.value.message.startswith("must be between")


@given(kind=kinds, today=days)
def test_without_a_date_a_period_holds_today(kind: PeriodKind, today: date) -> None:
    period = period_of(kind, today=today)
    assert period.start <= midnight(today.year, today.month, today.day) < period.end


@given(kind=kinds, today=days, asked=days)
def test_periods_of_a_kind_lie_side_by_side(kind: PeriodKind, today: date, asked: date) -> None:
    period = period_of(kind, today=today, year=asked.year, month=asked.month, day=asked.day)
    following = period.end.date()
    if following.year <= 9998:
        after = period_of(kind, today=today, year=following.year, month=following.month, day=following.day)
        assert after.start == period.end
    last = (period.end - timedelta(days=1)).date()
    if last.year <= 9998:
        again = period_of(kind, today=today, year=last.year, month=last.month, day=last.day)
        assert again == period


def asked(kind: PeriodKind, **parts: Any) -> tuple[Period | None, str | None]:
    """The period, or the field that is wrong."""
    try:
        return period_of(kind, **parts), None
    except PeriodInvalid as refused:
        return None, refused.field


@given(
    kind=kinds,
    today=days,
    year=st.none() | st.integers(1970, 9998),
    month=st.none() | st.integers(1, 12),
    day=st.none() | st.integers(1, 31),
)
def test_what_is_given_lies_in_the_period_or_there_is_no_such_date(
    kind: PeriodKind, today: date, year: int | None, month: int | None, day: int | None
) -> None:
    period, wrong = asked(kind, today=today, year=year, month=month, day=day)
    if period is None:
        assert (wrong, kind in {"day", "week"}) == ("day", True)
        assert day is not None
        assert day > 28
        return
    assert period.start < period.end
    held = {period.start + timedelta(days=count) for count in range((period.end - period.start).days)}
    if year is not None:
        assert year in {moment.year for moment in held}
    if month is not None and kind != "year":
        assert month in {moment.month for moment in held}
    if day is not None and kind in {"day", "week"}:
        assert day in {moment.day for moment in held}


# --- as clients read it -----------------------------------------------------------------------

MODEL = ModelUsage("a/b", 3, 120, Decimal("0.000123456789"))


def test_a_summary_is_the_contracts_body_with_exact_costs() -> None:
    summary = UsageSummary(
        prompt_tokens=100,
        completion_tokens=20,
        total_tokens=120,
        cost=Decimal("12.500000000000"),
        requests=3,
        free_requests=1,
        conversations=2,
        messages=4,
        by_model=(MODEL,),
        timeline=(DayUsage(date(2026, 3, 2), 3, 120, Decimal("0E-12")),),
    )
    assert usage_summary_json(period_of("month", today=TODAY), summary) == {
        "period": "month",
        "from": "2026-03-01T00:00:00.000Z",
        "to": "2026-04-01T00:00:00.000Z",
        "total_tokens": 120,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_cost": "12.5",
        "conversations_count": 2,
        "messages_count": 4,
        "requests": 3,
        "free_requests": 1,
        "by_model": [{"model": "a/b", "requests": 3, "tokens": 120, "cost": "0.000123456789"}],
        "timeline": [{"date": "2026-03-02", "tokens": 120, "cost": "0", "requests": 3}],
    }


def test_a_conversations_usage_is_the_contracts_body() -> None:
    usage = ConversationUsage(100, 20, 120, Decimal("1E-12"), (MODEL,))
    assert conversation_usage_json(usage) == {
        "total_tokens": 120,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_cost": "0.000000000001",
        "cost_breakdown": [{"model": "a/b", "requests": 3, "tokens": 120, "cost": "0.000123456789"}],
        "model_usage": {"a/b": 120},
    }


def test_a_messages_usage_is_the_wires() -> None:
    assert message_usage_json(TokenUsage(5, 2, 7, Decimal("0.10"), "estimated")) == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "cost": "0.1",
        "state": "estimated",
    }


@given(st.decimals(min_value=0, max_value=10**7, places=12))
def test_costs_are_exact_and_without_exponent(cost: Decimal) -> None:
    text = message_usage_json(TokenUsage(0, 0, 0, cost, "settled"))["cost"]
    assert Decimal(text) == cost
    assert "E" not in text.upper()
