"""One RESP connection with nothing in between: bytes out, parsed replies in.

A node's own connections use it: the one that appends text, the one that listens and the one for all other
calls; a general client's cost per command and per message would be most of what a token costs. The library's
client serves clusters and the rare work on many keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from server.adapters.redis.address import Endpoint

Reply = Any
"""`bytes`, `int`, `None`, a list of these, or `hiredis.ReplyError`."""


def packed(*words: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    data: bytes = hiredis.pack_command(cast("Any", words))  # its types take a tuple of one
    return data


class Wire(asyncio.Protocol):
    """A connection.

    Replies go to `receive` in order; until somebody sets it they answer `call`. `lost` is done when the
    connection is gone, for whatever reason.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.receive: Callable[[Reply], None] = self._answer
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard = True  # anything arrived since somebody last set it to False
        self._reader = hiredis.Reader()
        self._calls: deque[asyncio.Future[Reply]] = deque()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint, *, name: str) -> Wire:
        """Connect, authenticate, choose the database and tell the server what this connection is for.

        Raises:
            OSError: no connection.
            hiredis.ReplyError: the server refused.
        """
        loop = asyncio.get_running_loop()
        if endpoint.path:
            _, wire = await loop.create_unix_connection(cls, endpoint.path)
        else:
            _, wire = await loop.create_connection(cls, endpoint.host, endpoint.port, ssl=endpoint.tls)
        try:
            if endpoint.password:
                user = (endpoint.username,) if endpoint.username else ()
                await wire.call("AUTH", *user, endpoint.password)
            if endpoint.db:
                await wire.call("SELECT", endpoint.db)
            await wire.call("CLIENT", "SETNAME", name)
        except BaseException:
            await wire.aclose()
            raise
        return wire

    async def call(self, *words: str | bytes | int) -> Reply:
        """Send one command and wait for its reply; only while nobody else receives.

        Raises:
            OSError: the connection is lost.
            hiredis.ReplyError: the server refused.
        """
        if self.lost.done():
            raise ConnectionResetError("the connection is lost")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls.append(answer)
        self.write(packed(*words))
        reply = await answer
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens on a lost connection."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Close at once; `lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close at once, and wait until the socket is closed."""
        self.abort()
        await asyncio.wait([self.lost])

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every whole reply."""
        self.heard = True
        reader = self._reader
        try:
            reader.feed(data)
            # RESP2 knows no booleans, so False can only mean that the rest has not come yet.
            while (reply := reader.gets()) is not False:
                self.receive(reply)
        except hiredis.ProtocolError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Tell everybody who waits."""
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        while self._calls:
            answer = self._calls.popleft()
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection is lost"))

    def _answer(self, reply: Reply) -> None:
        answer = self._calls.popleft()
        if not answer.done():
            answer.set_result(reply)
