"""The demo page: the files of `server/widget`, under a policy that lets nothing else in.

There is one route per file, made at start; no name from outside is ever looked up on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent.parent / "widget"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self' ws: wss:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
    # no script can make markup of a string, whatever a model writes
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_HEADERS = {"Content-Security-Policy": "; ".join(_POLICY), "Cache-Control": "no-cache"}


def page_routes() -> list[Route]:
    """The page at `/`, and each file beside it under its own name."""
    files = sorted(path for path in _FOLDER.iterdir() if path.suffix in _TYPES)
    return [
        Route("/" if path.name == "index.html" else f"/{path.name}", _page(path), methods=["GET"])
        for path in files
    ]


def _page(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return FileResponse(path, headers=_HEADERS, media_type=_TYPES[path.suffix])

    return endpoint
