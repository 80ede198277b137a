"""Sans-I/O. What the headers of a message say of its way so far.

| header | is |
|---|---|
| `x-attempt` | the number of the attempt it is waiting for, from 2 on |
| `x-first-seen` | when it was first tried, in milliseconds since 1970 |
| `x-original-exchange`, `x-original-routing-key` | where it came from: on its way back it has others |
| `x-reason` | why it was put off, or aside |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REASON = "x-reason"
MAX_REASON = 500

_ATTEMPT = "x-attempt"
_FIRST_SEEN = "x-first-seen"
_EXCHANGE = "x-original-exchange"
_ROUTING_KEY = "x-original-routing-key"
_OURS = (REASON, _ATTEMPT, _FIRST_SEEN, _EXCHANGE, _ROUTING_KEY)
# The broker writes these itself; brokers from 4.0 on refuse to read them from a client.
_THE_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where a message came from, and how often it was tried. `foreign` are its publisher's own headers."""

    exchange: str
    routing_key: str
    attempt: int
    first_seen_ms: int
    foreign: Mapping[str, Any]

    def age_seconds(self, now_ms: int) -> float:
        """How long ago it was first tried."""
        return max(0, now_ms - self.first_seen_ms) / 1000

    def again(self, reason: str) -> dict[str, Any]:
        """The headers for its next attempt."""
        return self._headers(reason, self.attempt + 1)

    def aside(self, reason: str) -> dict[str, Any]:
        """The headers with which it is put aside."""
        return self._headers(reason, self.attempt)

    def _headers(self, reason: str, attempt: int) -> dict[str, Any]:
        return {
            **self.foreign,
            REASON: reason[:MAX_REASON],
            _ATTEMPT: attempt,
            _FIRST_SEEN: self.first_seen_ms,
            _EXCHANGE: self.exchange,
            _ROUTING_KEY: self.routing_key,
        }


def read_envelope(
    headers: Mapping[str, Any] | None, *, exchange: str, routing_key: str, now_ms: int
) -> Envelope:
    """Read a delivery. Headers of ours that make no sense are as good as absent."""
    given = headers or {}
    attempt, seen = given.get(_ATTEMPT), given.get(_FIRST_SEEN)
    came_from, key = given.get(_EXCHANGE), given.get(_ROUTING_KEY)
    been_here = _count(attempt) and _count(seen) and isinstance(key, str)
    return Envelope(
        exchange=came_from if been_here and isinstance(came_from, str) else exchange,
        routing_key=key if been_here and isinstance(key, str) else routing_key,
        attempt=int(attempt) if been_here and isinstance(attempt, int) else 1,
        first_seen_ms=int(seen) if been_here and isinstance(seen, int) else now_ms,
        foreign={
            name: value
            for name, value in given.items()
            if name not in _OURS and not name.startswith(_THE_BROKERS)
        },
    )


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
