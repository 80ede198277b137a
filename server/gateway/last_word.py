"""An answer after which the connection ends, although the client still sends."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PATIENCE_SECONDS = 0.5
_MOST_SECONDS = 5.0
_MOST_BYTES = 16 * 1024 * 1024


class LastWord(Response):
    """Told whole at once; then what comes is read for a while and thrown away.

    Closing on unread bytes would reset the connection, and the client might never read why.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Answer, and end the connection once the client has said all it will."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS):
                await _throw_away(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _throw_away(receive: Receive) -> None:
    size, more = 0, True
    while more and size < _MOST_BYTES:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
