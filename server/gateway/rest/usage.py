"""Usage over time (REST contract, "Usage")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from server.conversations.usage import FIRST_YEAR, LAST_YEAR, PeriodInvalid, PeriodKind, period_of
from server.conversations.usage_wire import usage_summary_json
from server.gateway import schemas
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import invalid


class Span(msgspec.Struct, frozen=True):
    """Which day, week, month or year: the one that holds the date given; what is not given is today's."""

    period: PeriodKind = "month"
    year: Annotated[int, msgspec.Meta(ge=FIRST_YEAR, le=LAST_YEAR)] | None = None
    month: Annotated[int, msgspec.Meta(ge=1, le=12)] | None = None
    day: Annotated[int, msgspec.Meta(ge=1, le=31)] | None = None


async def summary(front: Front, asked: Asked[Nothing, Span]) -> Response:
    """`GET /usage/summary`."""
    span, user = asked.query, asked.principal.user
    today = datetime.fromtimestamp(front.desk.wall(), UTC).date()
    try:
        period = period_of(span.period, today=today, year=span.year, month=span.month, day=span.day)
    except PeriodInvalid as error:
        raise invalid(error.field, error.message) from error
    await caught_up(front, user)
    found = await from_store(front.store.usage_summary(user, period))
    return answer(usage_summary_json(period, found))


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="GET",
        path="/usage/summary",
        handler=summary,
        summary="What you used in a day, week, month or year",
        tag="usage",
        query=Span,
        answers={200: Answer("Tokens and costs, by model and by day.", schemas.UsageSummaryView)},
    ),
)
