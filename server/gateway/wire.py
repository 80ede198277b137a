"""uvicorn's WebSocket protocol with two things ASGI has no words for.

A frame that is already bytes is written without a dict, a decode and an encode per token; and a socket
whose reader has stopped can be closed: the close frame is put behind what is buffered, and the connection
is cut when it has not left in time. Everything else is uvicorn's.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.gateway.http import last_answer, too_large

EXTENSION = "atma.wire"
_LINGER_SECONDS = 10.0


class WireClosed(Exception):  # noqa: N818 - a state of the world, named as one
    """The connection is closed."""


class Wire(WebSocketsSansIOProtocol):
    """A WebSocket connection; reaches the application as `scope["extensions"]["atma.wire"]`."""

    def data_received(self, data: bytes) -> None:
        """Read on; an upgrade with more or longer headers than the library reads is left to us."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(last_answer(too_large()))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; text that is no UTF-8 is malformed (4002), and no fault of the house."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.queue.put_nowait({"type": "websocket.receive", "bytes": b""})
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """Send; a refusal told in full completes the handshake, which uvicorn would else complain of."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def shutdown(self) -> None:
        """The server ends; what closes already needs no more."""
        if not self.transport.is_closing():
            super().shutdown()

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
