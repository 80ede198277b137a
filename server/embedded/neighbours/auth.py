"""Sans-I/O. The auth service: what a token is worth, and the profile of its user."""

from __future__ import annotations

from server.embedded.neighbours.accounts import account
from server.embedded.neighbours.http import Request, Response, answer, refusal
from server.embedded.neighbours.keys import TokenError, bearer, claims_of
from server.embedded.neighbours.world import World


def auth(world: World, request: Request, now: str) -> Response:
    """Answer a request below `/auth`."""
    if (request.method, request.path) == ("POST", "/auth/verify-token"):
        return _verify(world, request)
    if (request.method, request.path) == ("GET", "/auth/profile"):
        return _profile(world, request, now)
    return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")


def _verify(world: World, request: Request) -> Response:
    body = request.json()
    try:
        claims = claims_of(body.get("token") if isinstance(body, dict) else None, world)
    except TokenError as error:
        return answer({"success": True, "data": {"valid": False, "error": str(error)}})
    user = {"id": claims["id"], "email": claims.get("email"), "user_type": "user"}
    return answer({"success": True, "data": {"valid": True, "user": user}})


def _profile(world: World, request: Request, now: str) -> Response:
    try:
        claims = claims_of(bearer(request), world)
    except TokenError as error:
        return refusal(401, "UNAUTHORIZED", str(error))
    identity = claims["id"].lower()
    user = account(world, identity, now) if world.populated else world.profiles.get(identity)
    if user is None:
        return refusal(404, "USER_NOT_FOUND", "User not found")
    return answer({"success": True, "message": "Success", "data": {"user": user}})
