"""Sans-I/O. The ways a neighbour misbehaves, on demand and for as long as asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Service(StrEnum):
    """The neighbours, by the first part of their paths."""

    ARCHIVE = "archive"
    AUTH = "auth"
    ASSESSMENT = "assessment"
    NOTIFICATION = "notifications"


class FaultKind(StrEnum):
    """What goes wrong."""

    NOT_FOUND = "not_found"  # 404, as if it were not there yet
    ERROR = "error"  # `status`, in the service's own words
    DOWN = "down"  # the connection is reset
    SLOW = "slow"  # the right answer, after `delay_seconds`
    SILENT = "silent"  # no answer at all, the connection stays open
    MALFORMED = "malformed"  # 200 and a page of a proxy
    TRUNCATED = "truncated"  # half of the right answer


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of one service.

    It lasts `seconds` from when it was set, and for `times` requests, whichever ends first; without either
    it stays until the faults are cleared. `path` limits it to paths that contain it. `retry_after` is the
    header of an `error`.
    """

    service: Service
    kind: FaultKind
    seconds: float | None = None
    times: int | None = None
    path: str = ""
    status: int = 500
    delay_seconds: float = 1.0
    retry_after: str | None = None


@dataclass(slots=True)
class _Standing:
    fault: Fault
    until: float | None
    left: int | None


class FaultBook:
    """The faults that stand; the first that fits a request is its fate."""

    def __init__(self) -> None:
        self._standing: list[_Standing] = []

    def set(self, fault: Fault, now: float) -> None:
        """Put a fault behind the others."""
        until = None if fault.seconds is None else now + fault.seconds
        self._standing.append(_Standing(fault, until, fault.times))

    def clear(self) -> None:
        """Everything works again."""
        self._standing.clear()

    def meet(self, service: Service, path: str, now: float) -> Fault | None:
        """The fault a request meets, and uses up where it is for so many."""
        self._standing = [
            each
            for each in self._standing
            if (each.until is None or now < each.until) and (each.left is None or each.left > 0)
        ]
        for each in self._standing:
            if each.fault.service is service and each.fault.path in path:
                if each.left is not None:
                    each.left -= 1
                return each.fault
        return None
