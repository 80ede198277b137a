"""Sans-I/O. The notification service: it takes a few kinds, and refuses fields it does not know."""

from __future__ import annotations

from server.embedded.neighbours.http import Request, Response, answer, refusal
from server.embedded.neighbours.world import World

_COMMON = {"userId", "jobId", "status", "assessment_name", "message"}
_FIELDS = {
    "analysis-started": _COMMON,
    "analysis-complete": _COMMON | {"result_id"},
    "analysis-failed": _COMMON | {"error_message"},
    "analysis-unknown": _COMMON | {"error_message"},
}
_CHATBOT_KINDS = {"chatbot-ready", "assessment-submitted"}


def notification(world: World, request: Request) -> Response:
    """Answer a request below `/notifications`."""
    # any key does, as in the real one, but both headers must be there
    if not {"x-internal-service", "x-service-key"} <= set(request.headers):
        return refusal(401, "UNAUTHORIZED", "Service authentication required")
    kind = request.path.removeprefix("/notifications/")
    known = kind in _FIELDS or (world.tells_chatbot and kind in _CHATBOT_KINDS)
    if request.method != "POST" or not known:
        return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")
    body = request.json()
    if not isinstance(body, dict) or not body.get("userId"):
        return refusal(400, "VALIDATION_ERROR", '"userId" is required')
    unknown = set(body) - _FIELDS.get(kind, set(body))
    if unknown:
        return refusal(400, "VALIDATION_ERROR", f'"{min(unknown)}" is not allowed')
    return answer(
        {"success": True, "message": "Notification sent", "data": {"userId": body["userId"], "sent": True}}
    )
