"""Pages of other origins: who may ask, with what, and read which headers (CORS).

A page's own origin is always allowed, and a preflight that is refused is a problem like every refusal.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from server.gateway.origins import is_allowed
from server.gateway.problems import Problem, render

_REFUSED = 400
_MAX_AGE_SECONDS = 600


class Cors(CORSMiddleware):
    """Starlette's, for exact origins."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: frozenset[str],
        methods: Collection[str],
        request_headers: Collection[str],
        exposed_headers: Collection[str],
    ) -> None:
        super().__init__(
            app,
            allow_methods=methods,
            allow_headers=request_headers,
            expose_headers=exposed_headers,
            max_age=_MAX_AGE_SECONDS,
        )
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        headers = connection.headers
        origin = headers.get("origin")
        this = self
        if origin is not None and is_allowed(origin, headers.get("host"), self._origins):
            this = copy.copy(self)
            this.allow_origins = (origin,)
        if origin is None or scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            await this.simple_response(scope, receive, send, request_headers=headers)
            return
        response = this.preflight_response(request_headers=headers)
        if response.status_code == _REFUSED:
            refusal = Problem(
                400,
                "VALIDATION_ERROR",
                "A page of this origin may not ask this.",
                headers={"Vary": response.headers["vary"]},
            )
            response = render(refusal, connection)
        await response(scope, receive, send)
