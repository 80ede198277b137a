"""Every path the service answers: one line each, under all three prefixes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from server.conversations.principal import BadToken, Principal
from server.gateway.answers import answer
from server.gateway.front import Front
from server.gateway.middleware import RequestId
from server.gateway.pages import page_routes
from server.gateway.problems import Problem, not_found, render
from server.gateway.requests import authenticate
from server.gateway.rest import conversations, generations, health, messages, sessions
from server.gateway.websocket import WebSocketDoor

log = logging.getLogger(__name__)

Handler = Callable[[Front, Request, Principal], Awaitable[Response]]
OpenHandler = Callable[[Front, Request], Awaitable[Response]]

PREFIXES = ("/api/chat", "/api/chatbot", "")

SIGNED_IN: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/conversations", conversations.create),
    ("GET", "/conversations", conversations.index),
    ("GET", "/conversations/{conversation}", conversations.show),
    ("GET", "/conversations/{conversation}/messages", messages.index),
    ("POST", "/conversations/{conversation}/messages", messages.send),
    ("POST", "/conversations/{conversation}/messages/{message}/regenerate", messages.regenerate),
    ("GET", "/generations/{generation}", generations.show),
    ("POST", "/generations/{generation}/stop", generations.stop),
    ("GET", "/generations/{generation}/events", generations.events),
    ("POST", "/tickets", sessions.issue),
)

OPEN: tuple[tuple[str, str, OpenHandler], ...] = (
    ("GET", "/events", sessions.events),
    ("GET", "/health", health.health),
    ("GET", "/health/live", health.live),
    ("GET", "/health/ready", health.ready),
)


def build_app(front: Front) -> Starlette:
    """The ASGI application."""
    routes: list[BaseRoute] = []
    for prefix in PREFIXES:
        routes += [
            Route(prefix + path, _signed_in(front, handler), methods=[method])
            for method, path, handler in SIGNED_IN
        ]
        routes += [
            Route(prefix + path, _open(front, handler), methods=[method]) for method, path, handler in OPEN
        ]
        routes.append(WebSocketRoute(f"{prefix}/ws", WebSocketDoor(front)))
    if front.metrics is not None:
        routes.append(Route("/metrics", _metrics(front)))
    if front.demo_token is not None:
        routes.append(Route("/demo/token", _demo_token(front), methods=["POST"]))
        routes += page_routes()
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestId, new_id=front.desk.new_id),
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(front.origins),
                allow_methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "Last-Event-ID",
                    "X-Request-ID",
                ],
                expose_headers=[
                    "RateLimit-Limit",
                    "RateLimit-Remaining",
                    "RateLimit-Reset",
                    "RateLimit-Policy",
                    "Retry-After",
                    "X-Request-ID",
                ],
                max_age=600,
            ),
        ],
        exception_handlers={Problem: _problem, HTTPException: _http_exception},
    )
    app.router.redirect_slashes = False
    return app


def _signed_in(front: Front, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _guarded(request, handler(front, request, authenticate(front, request)))

    return endpoint


def _open(front: Front, handler: OpenHandler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _guarded(request, handler(front, request))

    return endpoint


async def _guarded(request: Request, handling: Awaitable[Response]) -> Response:
    try:
        return await handling
    except (Problem, HTTPException):
        raise
    except Exception:
        log.exception("request failed")
        return render(Problem(500, "INTERNAL", "Something went wrong here."), request)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render(error, request)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:  # noqa: PLR2004
        return render(not_found("resource"), request)
    if error.status_code == 405:  # noqa: PLR2004
        headers = dict(error.headers or {})
        return render(
            Problem(405, "METHOD_NOT_ALLOWED", "That method is not allowed here.", headers=headers), request
        )
    return render(Problem(error.status_code, "VALIDATION_ERROR", "The request is not acceptable."), request)


def _metrics(front: Front) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        assert front.metrics is not None
        return Response(front.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return endpoint


def _demo_token(front: Front) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        assert front.demo_token is not None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = None
        if scheme.lower() == "bearer":
            with suppress(BadToken):
                user = front.desk.verify(token.strip()).user
        return answer(front.demo_token(user), status=201)

    return endpoint
