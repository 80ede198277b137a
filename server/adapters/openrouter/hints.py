"""Sans-I/O. When to come back: every place where a refusal may say so.

In order of trust: `Retry-After` (seconds or an HTTP date), `error.availability.retry_after`,
`error.metadata` (`retry_after_seconds`, `retry_after`), then `X-RateLimit-Reset`, which OpenRouter gives in
epoch milliseconds. Headers are also looked for in `error.metadata.headers`, where OpenRouter copies them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_SECONDS = 86_400.0

_MILLISECONDS_FROM = 1e11  # an epoch in seconds reaches this in the year 5138


def retry_after_seconds(headers: Mapping[str, str], error: Mapping[str, Any], now: float) -> float | None:
    """Seconds from `now` (Unix time) until it is worth asking again, at most a day; `None` if nothing says.

    `headers` have lower-case names.
    """
    metadata = mapping(error.get("metadata"))
    availability = mapping(error.get("availability"))
    copied = {
        name.lower(): str(value)
        for name, value in mapping(metadata.get("headers")).items()
        if value is not None
    }
    answers = (
        _after(headers.get("retry-after"), now),
        _after(copied.get("retry-after"), now),
        _after(availability.get("retry_after"), now),
        _after(metadata.get("retry_after_seconds"), now),
        _after(metadata.get("retry_after"), now),
        _until(headers.get("x-ratelimit-reset"), now),
        _until(copied.get("x-ratelimit-reset"), now),
    )
    return next((min(seconds, LONGEST_SECONDS) for seconds in answers if seconds is not None), None)


def seconds_to_midnight(now: float) -> float:
    """Seconds until the free models' daily count begins anew (00:00 UTC)."""
    return 86_400.0 - now % 86_400.0


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _after(value: object, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    if not isinstance(value, str):
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())


def _until(value: object, now: float) -> float | None:
    epoch = _number(value)
    if epoch is None or epoch <= 0:
        return None
    return max(0.0, (epoch / 1000 if epoch >= _MILLISECONDS_FROM else epoch) - now)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
