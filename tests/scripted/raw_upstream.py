"""An HTTP server that sends exactly the bytes it is told to, and sees its reader leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Generation-Id: gen-header\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(body: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"


class Exchange:
    """One request and what is sent for it. `gone` is set once the other side has closed."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter, connection: int) -> None:
        self.head = head
        self.body = body
        self.connection = connection
        self.gone = asyncio.Event()
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def notice_end(self, next_request: asyncio.Future[bytes]) -> None:
        """The connection brings no further request: the other side has closed it."""
        if next_request.cancelled() or next_request.exception() is not None:
            self.gone.set()

    def close(self) -> None:
        """FIN."""
        self._writer.close()

    def reset(self) -> None:
        """RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class RawUpstream:
    """Runs `script` for every request; the connection stays open after it unless the script closes it."""

    def __init__(self, script: Callable[[Exchange], Awaitable[None]]) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.exchanges: list[Exchange] = []
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/api/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = self.connections
        heads = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        try:
            while True:
                head = await heads
                length = next(
                    (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
                    0,
                )  # fmt: skip
                exchange = Exchange(head, await reader.readexactly(length), writer, connection)
                self.exchanges.append(exchange)
                # Already waiting for the next request, so that the reader's leaving is seen at once.
                heads = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
                heads.add_done_callback(exchange.notice_end)
                await self._script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except asyncio.CancelledError:
            return  # the server ends; asyncio logs connection tasks that end cancelled
        finally:
            heads.cancel()
            writer.close()
            self._tasks.discard(task)
