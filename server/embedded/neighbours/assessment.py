"""Sans-I/O. The assessment service: how far a job is."""

from __future__ import annotations

from server.embedded.neighbours.http import Request, Response, answer, refusal
from server.embedded.neighbours.keys import TokenError, bearer, claims_of, has_key
from server.embedded.neighbours.world import World


def assessment(world: World, request: Request) -> Response:
    """Answer a request below `/assessment`."""
    identity = request.path.removeprefix("/assessment/status/")
    if request.method != "GET" or identity == request.path:
        return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")
    if not has_key(request, world):
        try:
            claims_of(bearer(request), world)
        except TokenError as error:
            return refusal(401, "UNAUTHORIZED", str(error))
    job = world.jobs.get(identity.lower())
    if job is None:
        return refusal(404, "JOB_NOT_FOUND", "Job not found")
    return answer({"success": True, "message": "Job status retrieved successfully", "data": job})
