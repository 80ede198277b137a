"""Sans-I/O. The account behind the keys: which keys work, what they may still spend, the free limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import msgspec

from server.embedded.openrouter.catalogue import Model
from server.embedded.openrouter.wire import number

MINUTE = 60.0
DAY = 86_400.0
KeyState = Literal["ok", "unknown", "exhausted", "forbidden"]


class KeySettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One key: `unknown` answers 401, `exhausted` 402 even for free models, `forbidden` 403."""

    state: KeyState = "ok"
    credits: float = 100.0
    """US dollars left; a call that could cost more is refused with 402."""


class FreeLimits(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Calls of free models per minute and per day, for the whole account; `None`: no limit."""

    per_minute: int | None = None
    per_day: int | None = None
    high_balance: bool = False


@dataclass(slots=True)
class _Window:
    seconds: float
    began: float = 0.0
    used: int = 0

    def full(self, limit: int | None, now: float) -> bool:
        if now - self.began >= self.seconds:
            self.began, self.used = now - now % self.seconds, 0
        return limit is not None and self.used >= limit


@dataclass(slots=True)
class Account:
    """Keys and limits. Failed calls count against the free limits too. Times are epoch seconds."""

    keys: dict[str, KeySettings]
    limits: FreeLimits = field(default_factory=FreeLimits)
    _minute: _Window = field(default_factory=lambda: _Window(MINUTE))
    _day: _Window = field(default_factory=lambda: _Window(DAY))

    def reset(self, keys: dict[str, KeySettings], limits: FreeLimits) -> None:
        """As new, with these keys and limits."""
        self.keys, self.limits = keys, limits
        self._minute, self._day = _Window(MINUTE), _Window(DAY)

    def refusal_of_key(self, authorization: str | None) -> str | None:
        """The name of the error that this `Authorization` header meets; `None`: the key works."""
        if not authorization or not authorization.lower().startswith("bearer "):
            return "missing_auth"
        settings = self.keys.get(bearer(authorization))
        match settings.state if settings else "unknown":
            case "unknown":
                return "user_not_found"
            case "exhausted":
                return "insufficient_credits"
            case "forbidden":
                return "key_forbidden"
            case _:
                return None

    def affordable(self, key: str, model: Model) -> int | None:
        """How many completion tokens of `model` the key can pay; `None`: any number."""
        settings = self.keys[key]
        price = Decimal(model.completion_price)
        if model.free or price <= 0:
            return None
        return int(Decimal(str(settings.credits)) / price)

    def count_free(self, now: float) -> tuple[str, float] | None:
        """Count a call of a free model; the error it meets, and when its window ends (epoch seconds)."""
        for window, limit, name in (
            (
                self._day,
                self.limits.per_day,
                "free_per_day_high_balance" if self.limits.high_balance else "free_per_day",
            ),
            (self._minute, self.limits.per_minute, "free_per_minute"),
        ):
            if window.full(limit, now):
                return name, window.began + window.seconds
        self._minute.used += 1
        self._day.used += 1
        return None

    def show_key(self, key: str, spent_dollars: Decimal) -> dict[str, Any]:
        """The key as `GET /key` shows it."""
        settings, spent = self.keys[key], number(spent_dollars)
        return {
            "label": f"{key[:9]}...{key[-3:]}",
            "limit": None,
            "limit_remaining": settings.credits,
            "limit_reset": None,
            "usage": spent,
            "usage_daily": spent,
            "usage_weekly": spent,
            "usage_monthly": spent,
            "byok_usage": 0,
            "is_free_tier": not self.limits.high_balance,
            "expires_at": None,
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated"},
        }


def bearer(authorization: str) -> str:
    """The key of an `Authorization` header."""
    return authorization[len("bearer ") :].strip()
