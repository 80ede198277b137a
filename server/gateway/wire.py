"""uvicorn's WebSocket protocol with two things ASGI has no words for.

A frame that is already bytes is written without a dict, a decode and an encode per token; and a socket
whose reader has stopped can be closed: the close frame is put behind what is buffered, and the connection
is cut when it has not left in time. Everything else is uvicorn's.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION = "atma.wire"
_LINGER_SECONDS = 10.0


class WireClosed(Exception):  # noqa: N818 - a state of the world, named as one
    """The connection is closed."""


class Wire(WebSocketsSansIOProtocol):
    """A WebSocket connection; reaches the application as `scope["extensions"]["atma.wire"]`."""

    async def run_asgi(self) -> None:
        """Offer this object to the application."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()

    async def write_text(self, body: bytes) -> None:
        """Send one text frame of UTF-8 `body`; waits while the client does not read.

        Raises:
            WireClosed
        """
        if not self.writable.is_set():
            await self.writable.wait()
        if self._closes():
            raise WireClosed
        self.put_text(body)

    @property
    def ready(self) -> bool:
        """Whether the client reads, so that `put_text` may be called."""
        return self.writable.is_set() and not self._closes()

    def put_text(self, body: bytes) -> None:
        """Send one text frame of UTF-8 `body` now."""
        self.conn.send_text(body)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def close_now(self, code: int, reason: str) -> None:
        """Close without waiting for the client to read; idempotent."""
        if self._closes():
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # reading must go on, or the client's answer to the close is never seen
        self.transport.resume_reading()
        self.read_paused = False
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _closes(self) -> bool:
        return self.disconnected or self.close_sent or self.transport.is_closing()
