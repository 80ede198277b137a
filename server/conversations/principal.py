"""Who is asking.

Sans-I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

LEEWAY_SECONDS = 10
"""How far clocks may differ from the auth service's (REST contract, "Who is asking")."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A user whose token was verified.

    `user` is a canonical UUID. `tier` is `free` or `premium`. `expires_at` and `issued_at` are wall
    seconds; `issued_at` is `None` where the token does not say.
    """

    user: str
    tier: str = "free"
    expires_at: float = float("inf")
    issued_at: float | None = None


class BadToken(Exception):  # noqa: N818 - the token's state, named as one
    """The token is not acceptable. The reason stays in the house."""


class ExpiredToken(BadToken):
    """The token was acceptable and its time is over."""
