"""Usage: which time a summary covers, and what is counted.

Sans-I/O. Time is UTC. A request is one attempt that reached an upstream, also one that failed there.
Costs are US dollars, exact to twelve places.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

PeriodKind = Literal["day", "week", "month", "year"]

PERIOD_KINDS: tuple[PeriodKind, ...] = ("day", "week", "month", "year")

FIRST_YEAR, LAST_YEAR = 1970, 9998
"""Years that can be asked for: ids hold no time before the first, dates none a week after the last."""


class PeriodInvalid(ValueError):  # noqa: N818 - a state of the question, named as one
    """There is no such time. `field` is the part that is wrong, `message` a sentence for the client."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Period:
    """A span of whole days in UTC; `end` is exclusive."""

    kind: PeriodKind
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one answer came to, over all its attempts. `state` as on the wire: the least sure of theirs."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: Decimal
    state: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """One model's part, by the name it was asked under."""

    model: str
    requests: int
    tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One day's part."""

    day: date
    requests: int
    tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class ConversationUsage:
    """What a conversation came to. `by_model` has the most tokens first."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: Decimal
    by_model: tuple[ModelUsage, ...]


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What a user used in a period, in deleted conversations too.

    A conversation counts that was begun in the period or has a message of it; messages are both sides'.
    `timeline` has the days with an attempt, ascending; parts add up to the sums.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: Decimal
    requests: int
    free_requests: int
    conversations: int
    messages: int
    by_model: tuple[ModelUsage, ...]
    timeline: tuple[DayUsage, ...]


def period_of(
    kind: PeriodKind,
    *,
    today: date,
    year: int | None = None,
    month: int | None = None,
    day: int | None = None,
) -> Period:
    """The day, week (from Monday), month or year that holds the date given.

    What is not given is today's, as far as today lies in what is; else the last there is of a time that has
    passed, the first of one to come. So a past year alone means its last month. Parts smaller than the
    period are not looked at.

    Raises:
        PeriodInvalid: there is no such date.
    """
    known_year = today.year if year is None else _within("year", year, FIRST_YEAR, LAST_YEAR)
    if kind == "year":
        return _period(kind, date(known_year, 1, 1), date(known_year + 1, 1, 1))
    if month is None:
        known_month = _nearest((known_year,), (today.year,), here=today.month, last=12)
    else:
        known_month = _within("month", month, 1, 12)
    length = calendar.monthrange(known_year, known_month)[1]
    if kind == "month":
        first = date(known_year, known_month, 1)
        return _period(kind, first, first + timedelta(days=length))
    if day is None:
        asked, present = (known_year, known_month), (today.year, today.month)
        known_day = _nearest(asked, present, here=today.day, last=length)
    else:
        known_day = _within("day", day, 1, length)
    held = date(known_year, known_month, known_day)
    if kind == "day":
        return _period(kind, held, held + timedelta(days=1))
    monday = max(held - timedelta(days=held.weekday()), date(FIRST_YEAR, 1, 1))
    return _period(kind, monday, held + timedelta(days=7 - held.weekday()))


def _nearest(asked: tuple[int, ...], present: tuple[int, ...], *, here: int, last: int) -> int:
    """The part not given that is nearest to today: `here` where today lies in what was asked for."""
    if asked == present:
        return here
    return last if asked < present else 1


def _within(field: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise PeriodInvalid(field, f"must be between {least} and {most}")
    return value


def _period(kind: PeriodKind, first: date, end: date) -> Period:
    return Period(
        kind,
        datetime(first.year, first.month, first.day, tzinfo=UTC),
        datetime(end.year, end.month, end.day, tzinfo=UTC),
    )
