"""Every path the service answers, under all three prefixes, made of the endpoints' definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from server.gateway.cors import Cors
from server.gateway.demo import demo_routes
from server.gateway.documents import document_endpoints
from server.gateway.door import serve
from server.gateway.endpoint import Endpoint
from server.gateway.front import Front
from server.gateway.middleware import RequestId, Timing
from server.gateway.pages import page_routes
from server.gateway.problems import Problem, not_found, render
from server.gateway.rest import (
    assessments,
    conversations,
    generations,
    health,
    internal,
    messages,
    notifications,
    sessions,
    usage,
)
from server.gateway.websocket import NoDoor, WebSocketDoor

PREFIXES = ("/api/chat", "/api/chatbot", "")
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID")
EXPOSED_HEADERS = (
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    *conversations.ENDPOINTS,
    *messages.ENDPOINTS,
    *generations.ENDPOINTS,
    *usage.ENDPOINTS,
    *assessments.ENDPOINTS,
    *sessions.ENDPOINTS,
    *internal.ENDPOINTS,
    *notifications.ENDPOINTS,
    *health.ENDPOINTS,
)


def build_app(front: Front) -> Starlette:
    """The ASGI application."""
    endpoints = ENDPOINTS
    if front.metrics is None:
        endpoints = tuple(each for each in ENDPOINTS if each.path != "/metrics")
    endpoints += document_endpoints(endpoints, front.version)
    resources = [Resource(front, path, each) for path, each in by_path(endpoints).items()]
    routes: list[BaseRoute] = []
    for prefix in PREFIXES:
        routes += [Route(prefix + resource.path, resource) for resource in resources]
        routes.append(WebSocketRoute(f"{prefix}/ws", WebSocketDoor(front)))
    routes.append(WebSocketRoute("/{anywhere:path}", NoDoor()))
    if front.demo_token is not None:
        routes += demo_routes(front)
        routes += page_routes()
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestId, new_id=front.desk.new_id),
            Middleware(Timing, now=front.desk.now, observe=front.desk.observe),
            Middleware(
                Cors,
                origins=front.origins,
                methods=METHODS,
                request_headers=REQUEST_HEADERS,
                exposed_headers=EXPOSED_HEADERS,
            ),
        ],
        exception_handlers={HTTPException: _http_exception},
    )
    app.router.redirect_slashes = False
    return app


def by_path(endpoints: Iterable[Endpoint[Any, Any]]) -> dict[str, dict[str, Endpoint[Any, Any]]]:
    """Endpoints by path and method; a path with a word comes before one with an id in its place."""
    paths: dict[str, dict[str, Endpoint[Any, Any]]] = {}
    for each in endpoints:
        methods = paths.setdefault(each.path, {})
        if each.method in methods:
            raise ValueError(f"{each.method} {each.path} is defined twice")
        methods[each.method] = each
    return dict(sorted(paths.items(), key=lambda item: [part[:1] == "{" for part in item[0].split("/")]))


class Resource:
    """The methods of one path, as an ASGI application."""

    def __init__(self, front: Front, path: str, methods: Mapping[str, Endpoint[Any, Any]]) -> None:
        self.path = path
        self._front = front
        self._methods = dict(methods)
        get = methods.get("GET")
        if get is not None and not get.streams:
            self._methods["HEAD"] = get
        self.allowed = ", ".join(sorted({*self._methods, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route_template"] = self.path
        request = Request(scope, receive, send)
        endpoint = self._methods.get(request.method)
        if endpoint is not None:
            response = await serve(self._front, endpoint, request)
        elif request.method == "OPTIONS":
            response = Response(status_code=204, headers={"Allow": self.allowed})
        else:
            response = render(_not_allowed({"Allow": self.allowed}), request)
        await response(scope, receive, send)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:  # noqa: PLR2004
        return render(not_found("resource"), request)
    if error.status_code == 405:  # noqa: PLR2004
        return render(_not_allowed(dict(error.headers or {})), request)
    return render(Problem(error.status_code, "VALIDATION_ERROR", "The request is not acceptable."), request)


def _not_allowed(headers: dict[str, str]) -> Problem:
    return Problem(405, "METHOD_NOT_ALLOWED", "That method is not allowed here.", headers=headers)
