"""What the demo page asks for besides the API, in development only: a token, and an assessment.

Nobody is limited here: it is the developer's own machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.assessments.neighbours import NeighbourRefused, NeighbourUnavailable
from server.conversations.principal import BadToken, Principal
from server.gateway.answers import answer
from server.gateway.front import Front
from server.gateway.problems import Problem, render, unauthenticated

_Endpoint = Callable[[Request], Awaitable[Response]]


def demo_routes(front: Front) -> list[Route]:
    """`POST /demo/token` and `POST /demo/assessments`, each where the node can do it."""
    routes = []
    if front.demo_token is not None:
        routes.append(Route("/demo/token", _token(front, front.demo_token), methods=["POST"]))
    if front.demo_assessment is not None:
        routes.append(Route("/demo/assessments", _assessment(front, front.demo_assessment), methods=["POST"]))
    return routes


def _token(front: Front, make: Callable[[str | None], dict[str, Any]]) -> _Endpoint:
    """Another token for the user of the one that is shown, or one for somebody new."""

    async def endpoint(request: Request) -> Response:
        asking = _who(front, request)
        return answer(make(asking.user if asking else None), status=201)

    return endpoint


def _assessment(front: Front, finish: Callable[[str, str, str], Awaitable[dict[str, str]]]) -> _Endpoint:
    """The user finishes an assessment; its result is in Indonesian, or in English with `?language=en`."""

    async def endpoint(request: Request) -> Response:
        asking = _who(front, request)
        if asking is None:
            return render(unauthenticated(), request)
        language: Literal["id", "en"] = "en" if request.query_params.get("language") == "en" else "id"
        # its user's token is at hand only now: what follows by events has none
        await front.assessments.profiles.learn(asking.user, _token_of(request))
        try:
            return answer(await finish(asking.user, _own_address(request), language), status=202)
        except NeighbourRefused:
            text = "The assessment service here is no stand-in: take the assessment there."
            return render(Problem(404, "NOT_FOUND", text), request)
        except NeighbourUnavailable:
            text = "The assessment service cannot be reached now."
            return render(Problem(503, "UNAVAILABLE", text, retry_after_ms=2000), request)

    return endpoint


def _who(front: Front, request: Request) -> Principal | None:
    with suppress(BadToken):
        return front.desk.verify(_token_of(request))
    return None


def _token_of(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _own_address(request: Request) -> str:
    """Where this node listens, as the socket says: a `Host` header is anybody's word."""
    host, port = cast("tuple[str, int]", request.scope["server"])
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
