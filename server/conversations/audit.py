"""The port to the audit log: who did what to which thing, when, from where. Never content.

Sans-I/O. Entries are only ever added. What the store changes it notes itself, in the same transaction, by
the `Caller` it is given; `AuditLog` is for what changes no row (a stop, a revocation, a refused order).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts, and from where.

    `actor` is `user` (the user whose rows they are), `internal` (another service) or `house` (this one).
    `origin` is an address, `None` where there is none.
    """

    actor: str = "user"
    origin: str | None = None


BY_USER = Caller()
"""The user, from somewhere unknown."""

BY_HOUSE = Caller("house")
"""The service itself."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing done. `action` is like `generation.stop`; the subject is `user_id`'s, if anybody's."""

    action: str
    subject_kind: str
    subject_id: str | None
    user_id: str | None
    caller: Caller = BY_USER


class AuditLog(Protocol):
    """Where entries are added."""

    async def record(self, entry: AuditEntry) -> None:
        """Add one, durably.

        Raises:
            StoreUnavailable
        """
        ...
