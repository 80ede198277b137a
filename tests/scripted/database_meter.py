"""A cable to PostgreSQL that counts how often a user's requests wait for an answer: their time without a clock."""

from __future__ import annotations

import asyncio
import re
import struct
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_ASKS_FOR_TLS = 80877103
_WAITED_FOR = b"SQ"
"""Sync and simple queries: after each the client waits."""
_OVER = re.compile(rb"\b(COMMIT|ROLLBACK)\b")


class DatabaseMeter:
    """Forwards connections to the database at `url`; its own address is `url`.

    `trips` counts the statements about `user` and all in transactions that begin with them, not the house's own.
    """

    def __init__(self, url: str, user: str) -> None:
        self.trips = 0
        self._begins = re.compile(rb"^BEGIN\b.*" + user.encode())
        self._about = (user.encode(), uuid.UUID(user).bytes)
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def url(self) -> str:
        """The database's address, by this cable."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login, _, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{port}"))

    async def _accept(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        server, questions = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            await asyncio.gather(self._count(client, questions), _forward(server, answers))
        finally:
            questions.close()
            answers.close()

    async def _count(self, client: asyncio.StreamReader, questions: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            code = _ASKS_FOR_TLS
            while code == _ASKS_FOR_TLS:  # nothing is said of kinds until the session begins
                head = await client.readexactly(8)
                length, code = struct.unpack("!ii", head)
                questions.write(head + await client.readexactly(length - 8))
            inside = about = False
            while True:
                head = await client.readexactly(5)
                rest = await client.readexactly(int.from_bytes(head[1:]) - 4)
                inside = inside or self._begins.search(rest) is not None
                about = about or inside or any(each in rest for each in self._about)
                if head[:1] in _WAITED_FOR:
                    self.trips += about
                    about = False
                inside = inside and not _OVER.search(rest)
                questions.write(head + rest)
        questions.close()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while read := await source.read(65_536):
            sink.write(read)
    sink.close()
