"""Sans-I/O. The archive service: results, whose they are, which conversation belongs to one."""

from __future__ import annotations

from typing import Any

from server.embedded.neighbours.http import Request, Response, answer, refusal
from server.embedded.neighbours.keys import UUID, claims_internal, has_key
from server.embedded.neighbours.world import World

_MAX_LIMIT = 100
_FORBIDDEN = {"id", "user_id", "created_at"}


def archive(world: World, request: Request, now: str) -> Response:
    """Answer a request below `/archive`."""
    if claims_internal(request) and not has_key(request, world):
        return refusal(401, "INVALID_SERVICE_KEY", "Invalid service key")
    if request.path == "/archive/results" and request.method == "GET":
        return _list(world, request)
    identity = request.path.removeprefix("/archive/results/")
    if identity == request.path or request.method not in {"GET", "PUT"}:
        return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")
    if not UUID.fullmatch(identity):
        return refusal(400, "VALIDATION_ERROR", "id must be a valid UUID")
    if request.method == "PUT" and not has_key(request, world):
        return refusal(403, "INTERNAL_ENDPOINT", "This endpoint is only accessible by internal services")
    result = world.results.get(identity.lower())
    if result is None:
        return refusal(404, "NOT_FOUND", "Analysis result not found")
    # every result is public to whoever knows its id, as in the real one
    return (
        answer({"success": True, "data": result}) if request.method == "GET" else _put(result, request, now)
    )


def _put(result: dict[str, Any], request: Request, now: str) -> Response:
    change = request.json()
    if not isinstance(change, dict) or not change or set(change) & _FORBIDDEN:
        return refusal(400, "VALIDATION_ERROR", "the body holds fields that cannot be changed, or none")
    linked = change.get("chatbot_id")
    if linked is not None and not UUID.fullmatch(str(linked)):
        return refusal(400, "VALIDATION_ERROR", "chatbot_id must be a valid UUID")
    result.update(change, updated_at=now)
    data = {"id": result["id"], "updated_at": now}
    return answer({"success": True, "message": "Analysis result updated successfully", "data": data})


def _list(world: World, request: Request) -> Response:
    if not has_key(request, world):
        return refusal(401, "UNAUTHORIZED", "Access denied. No token provided.")
    user = request.headers.get("x-user-id") or request.query.get("user_id")
    if not user:
        return refusal(400, "MISSING_USER_ID", "User ID is required")
    try:
        page, limit = int(request.query.get("page", "1")), int(request.query.get("limit", "10"))
    except ValueError:
        page = limit = 0
    if page < 1 or not 1 <= limit <= _MAX_LIMIT:
        return refusal(400, "VALIDATION_ERROR", "page and limit must be sensible numbers")
    status = request.query.get("status")
    rows = [
        _row(result, world.listed.get(identity, {}))
        for identity, result in world.results.items()
        if result.get("user_id") == user
        and (status is None or world.listed.get(identity, {}).get("status", "completed") == status)
    ]
    sort = request.query.get("sort", "created_at")
    rows.sort(key=lambda row: str(row.get(sort) or ""), reverse=request.query.get("order", "desc") == "desc")
    pages = -(-len(rows) // limit)
    pagination = {
        "page": page,
        "limit": limit,
        "total": len(rows),
        "totalPages": pages,
        "hasNext": page < pages,
        "hasPrev": page > 1,
    }
    shown = rows[(page - 1) * limit : page * limit]
    return answer({"success": True, "data": {"results": shown, "pagination": pagination}})


def _row(result: dict[str, Any], listed: dict[str, str]) -> dict[str, Any]:
    return {
        "id": result["id"],
        "user_id": result["user_id"],
        "test_result": result.get("test_result", result.get("persona_profile")),
        "status": listed.get("status", "completed"),
        "assessment_name": listed.get("assessment_name", "AI-Driven Talent Mapping"),
        "created_at": result.get("created_at"),
    }
