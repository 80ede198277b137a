"""The port to user accounts: who a token is, and what its owner says of themselves.

Sans-I/O. Only a user's own token opens a profile; the house has no key to it, so what follows from an
event alone goes without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What the auth service says of a token. `user` is a canonical UUID, `None` unless `valid`."""

    valid: bool
    expired: bool = False
    user: str | None = None


@dataclass(frozen=True, slots=True)
class UserProfile:
    """What is known of a user; each field but the id may be unknown."""

    user: str
    name: str | None = None
    gender: str | None = None
    date_of_birth: str | None = None
    school: str | None = None
    city: str | None = None


class Accounts(Protocol):
    """The auth service. Every method raises `NeighbourUnavailable` or `NeighbourRefused`."""

    async def verify(self, token: str) -> TokenVerdict:
        """What the service says of a token; a bad one is a verdict, not an error."""
        ...

    async def profile(self, token: str) -> UserProfile | None:
        """The profile of the token's user, `None` where the token or the user is not accepted."""
        ...
