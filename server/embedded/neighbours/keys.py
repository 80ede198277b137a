"""Sans-I/O. Who a request comes from: a service with the key, or a user with a token."""

from __future__ import annotations

import re
from typing import Any

import jwt

from server.embedded.neighbours.http import Request
from server.embedded.neighbours.world import World

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class TokenError(Exception):
    """The token is not accepted, in the auth service's words."""


def claims_internal(request: Request) -> bool:
    """Whether it says it is a service."""
    return request.headers.get("x-internal-service") == "true"


def has_key(request: Request, world: World) -> bool:
    """Whether it says so and has the key."""
    return claims_internal(request) and request.headers.get("x-service-key") == world.service_key


def claims_of(token: Any, world: World) -> dict[str, Any]:
    """The claims of a token; its signature counts only where a secret is known.

    Raises:
        TokenError
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token if isinstance(token, str) else "",
            world.jwt_secret,
            algorithms=["HS256"],
            options={
                "verify_signature": bool(world.jwt_secret),
                "verify_exp": True,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
            },
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenError("Token has expired") from error
    except jwt.InvalidTokenError as error:
        raise TokenError("Invalid token format") from error
    if not UUID.fullmatch(str(claims.get("id", ""))):
        raise TokenError("Invalid token payload")
    return claims


def bearer(request: Request) -> str:
    """The bearer token, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
