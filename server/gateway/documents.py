"""The documents the service gives out of itself: two for machines, a page of each for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import orjson
from starlette.responses import Response

from server.gateway import asyncapi, openapi, page
from server.gateway.endpoint import Answer, Asked, Endpoint, Handler, Nothing
from server.gateway.front import Front

_TAG = "documents"
_HTML = "text/html"


def document_endpoints(
    endpoints: tuple[Endpoint[Any, Any], ...], version: str
) -> tuple[Endpoint[Any, Any], ...]:
    """Endpoints for the documents of `endpoints` and of the wire; each is made when it is first asked for."""

    @cache
    def api() -> dict[str, Any]:
        return openapi.document((*endpoints, *documents), version)

    @cache
    def wire() -> dict[str, Any]:
        return asyncapi.document(version)

    documents = (
        _endpoint("/openapi.json", "This description, for machines (OpenAPI 3.1)", _json(api)),
        _endpoint("/asyncapi.json", "The wire's description, for machines (AsyncAPI 3)", _json(wire)),
        _endpoint("/docs", "This description, for people", _html(lambda: page.of_api(api())), _HTML),
        _endpoint(
            "/docs/wire", "The wire's description, for people", _html(lambda: page.of_wire(wire())), _HTML
        ),
    )
    return documents


def _endpoint(
    path: str, summary: str, handler: Handler[Nothing, Nothing], media_type: str = "application/json"
) -> Endpoint[Any, Any]:
    body = dict[str, Any] if media_type == "application/json" else str
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        tag=_TAG,
        who="anyone",
        answers={200: Answer("It.", body, media_type)},
    )


def _json(make: Callable[[], dict[str, Any]]) -> Handler[Nothing, Nothing]:
    made = cache(lambda: orjson.dumps(make()))

    async def handler(front: Front, asked: Asked[Nothing, Nothing]) -> Response:  # noqa: ARG001 - a handler's signature
        return Response(made(), media_type="application/json", headers={"Cache-Control": "no-cache"})

    return handler


def _html(make: Callable[[], str]) -> Callable[[Front, Asked[Nothing, Nothing]], Awaitable[Response]]:
    made = cache(make)

    async def handler(front: Front, asked: Asked[Nothing, Nothing]) -> Response:  # noqa: ARG001 - a handler's signature
        return Response(made(), media_type="text/html; charset=utf-8", headers=page.HEADERS)

    return handler
