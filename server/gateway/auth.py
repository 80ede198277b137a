"""Who is asking: bearer tokens (REST contract, "Who is asking").

HS256 is pinned; `exp` is required and `nbf` honoured with 10 s of leeway; `iss` and `aud` are checked when
present; the user id comes from `id`, else `userId`, else `sub`, and must be a UUID.
"""

from __future__ import annotations

import re
from typing import Any

import jwt

from server.conversations.principal import LEEWAY_SECONDS, BadToken, ExpiredToken, Principal

ISSUER = "atma-auth-service"
AUDIENCE = "atma-services"
_MAX_TOKEN_CHARS = 8192
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def canonical_uuid(text: object) -> str | None:
    """A UUID in canonical form, or `None` where it is not one."""
    return text.lower() if isinstance(text, str) and _UUID.match(text) else None


class Authenticator:
    """Verifies tokens against one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def verify(self, token: str) -> Principal:
        """The principal a token speaks for.

        Raises:
            ExpiredToken, BadToken
        """
        if len(token) > _MAX_TOKEN_CHARS:
            raise BadToken
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                leeway=LEEWAY_SECONDS,
                options={
                    "require": ["exp"],
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    # a clock slightly ahead must not refuse a fresh token
                    "verify_iat": False,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredToken from error
        except (jwt.InvalidTokenError, ValueError, TypeError) as error:
            raise BadToken from error
        return _principal(claims)


def mint(secret: str, user: str, *, now: float, seconds: float, tier: str = "free") -> str:
    """A token as the auth service would issue it; for development and tests."""
    claims = {
        "id": user,
        "sub": user,
        "tier": tier,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now + seconds),
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def _principal(claims: dict[str, Any]) -> Principal:
    user = canonical_uuid(next((claims[name] for name in ("id", "userId", "sub") if claims.get(name)), None))
    if user is None:
        raise BadToken
    if "iss" in claims and claims["iss"] != ISSUER:
        raise BadToken
    audience = claims.get("aud")
    if audience is not None and AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise BadToken
    issued = claims.get("iat")
    try:
        expires_at = float(claims["exp"])
        issued_at = float(issued) if isinstance(issued, int | float) else None
    except OverflowError as error:
        raise BadToken from error
    tier = "premium" if claims.get("tier") == "premium" else "free"
    return Principal(user=user, tier=tier, expires_at=expires_at, issued_at=issued_at)
