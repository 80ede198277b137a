"""A request through an endpoint: let in, read, answered; every refusal a problem, every limit told."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.conversations.audit import Caller
from server.conversations.standing import Standing, nearest, noting
from server.gateway.endpoint import Asked, Asker, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.identity import let_in
from server.gateway.problems import Problem, render
from server.gateway.requests import read_body, read_ids, read_query

log = logging.getLogger(__name__)


async def serve(front: Front, endpoint: Endpoint[Any, Any], request: Request) -> Response:
    """Answer a request; never raises but on cancellation."""
    with noting() as standings:
        try:
            asker = await let_in(front, request, endpoint)
            response = await endpoint.handler(front, await _read(front, endpoint, request, asker))
        except Problem as problem:
            response = render(problem, request)
        except Exception:
            log.exception("a request failed")
            response = render(Problem(500, "INTERNAL", "Something went wrong here."), request)
    response.headers.update(limit_headers(standings.values()))
    return response


async def _read(
    front: Front, endpoint: Endpoint[Any, Any], request: Request, asker: Asker
) -> Asked[msgspec.Struct, msgspec.Struct]:
    # another service's door is not a user's, whoever it speaks for
    actor = "internal" if endpoint.who == "internal" or asker.user is None else "user"
    ids = read_ids(request.path_params)
    query = read_query(request.query_params, endpoint.query or Nothing)
    body: msgspec.Struct = Nothing()
    if endpoint.body is not None:
        body = await read_body(
            request,
            endpoint.body,
            max_bytes=front.limits.max_body_bytes,
            seconds=front.limits.body_seconds,
            optional=endpoint.body_optional,
        )
    return Asked(request, asker, Caller(actor, asker.address), body, query, ids)


def limit_headers(standings: Iterable[Standing]) -> dict[str, str]:
    """What an answer says of the limits it counted in: of the one nearest to its end."""
    told = nearest(standings)
    if told is None:
        return {}
    return {
        "RateLimit-Limit": str(told.limit),
        "RateLimit-Remaining": str(told.remaining),
        "RateLimit-Reset": str(math.ceil(told.reset_ms / 1000)),
        "RateLimit-Policy": f'{told.limit};w={told.seconds};comment="{told.name}"',
    }
