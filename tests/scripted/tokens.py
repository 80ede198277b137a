"""Tokens as the ecosystem's auth service signs them, and as it never would."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "a-secret-of-the-tests-that-is-long-enough"


def token_for(user: str, *, secret: str = SECRET, ttl: float = 3600, **claims: Any) -> str:
    """A signed token of a user that ends in `ttl` seconds; a claim given as `None` is left out."""
    now = time.time()
    everything = {
        "id": user,
        "iat": int(now),
        "exp": int(now + ttl),
        "iss": "atma-auth-service",
        "aud": "atma-services",
        **claims,
    }
    return jwt.encode(
        {name: value for name, value in everything.items() if value is not None}, secret, "HS256"
    )
