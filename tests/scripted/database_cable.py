"""The cable between a node and its PostgreSQL: it can be unplugged, go silent, or be cut at a statement."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_READ = 65_536
_READY = b"Z\x00\x00\x00\x05I"
"""How the server ends an answer outside a transaction: what was asked for is committed."""


class DatabaseCable:
    """Forwards connections to the database at `url`; its own address is `url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._plugged = asyncio.Event()
        self._plugged.set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._before: list[bytes] = []
        self._after: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._drop()

    @property
    def url(self) -> str:
        """The database's address through this cable."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def unplug(self) -> None:
        """Every connection is lost, and no new one comes about, until `plug`."""
        self._plugged.clear()
        self._drop()

    def plug(self) -> None:
        """Connections come about again."""
        self._plugged.set()

    def hold(self) -> None:
        """Nothing gets through, and nobody is told, until `let_go`."""
        self._flows.clear()

    def let_go(self) -> None:
        """What was held gets through."""
        self._flows.set()

    def cut_before(self, marker: str) -> None:
        """Cut the connection when a statement that holds `marker` is to be sent, once."""
        self._before.append(marker.encode())

    def cut_after(self, marker: str) -> None:
        """Cut the connection when such a statement has been carried out and before its answer comes, once."""
        self._after.append(marker.encode())

    @property
    def to_cut(self) -> int:
        """How many cuts are still to be made."""
        return len(self._before) + len(self._after)

    def _drop(self) -> None:
        for connection in tuple(self._connections):
            connection.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._plugged.is_set():
            writer.transport.abort()
            return
        try:
            far = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), far)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    def __init__(
        self,
        cable: DatabaseCable,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._cable = cable
        self._near, self._far = near, far
        self._committing = False
        self._cut = False

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask())
                both.create_task(self._answer())
        except* OSError:
            pass  # an end is gone
        finally:
            self.cut()

    def cut(self) -> None:
        self._cut = True
        for _, writer in (self._near, self._far):
            writer.transport.abort()

    async def _ask(self) -> None:
        while data := await self._near[0].read(_READ):
            await self._cable._flows.wait()
            if self._take(self._cable._before, data):
                self.cut()
                return
            self._committing = self._committing or self._take(self._cable._after, data)
            self._far[1].write(data)
            await self._far[1].drain()
        self.cut()

    async def _answer(self) -> None:
        answer = b""
        while data := await self._far[0].read(_READ):
            await self._cable._flows.wait()
            if self._committing:
                answer += data
                if answer.endswith(_READY):
                    break
                continue
            self._near[1].write(data)
            await self._near[1].drain()
        self.cut()

    @staticmethod
    def _take(markers: list[bytes], data: bytes) -> bool:
        found = next((marker for marker in markers if marker in data), None)
        if found is not None:
            markers.remove(found)
        return found is not None
