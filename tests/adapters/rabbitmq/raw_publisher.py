"""Publishes with properties written byte by byte, as no decent library would."""

from __future__ import annotations

import asyncio
import struct
from urllib.parse import urlsplit

import pamqp.frame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ProtocolHeader

_HEADERS, _DELIVERY_MODE, _MESSAGE_ID, _TIMESTAMP = 1 << 13, 1 << 12, 1 << 7, 1 << 6


class RawPublisher:
    """One connection, one channel, no confirms: `aclose` returns when the broker has read everything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, url: str) -> RawPublisher:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        raw = cls(reader, writer)
        writer.write(ProtocolHeader().marshal())
        await raw._frame()
        login = f"\0{parts.username}\0{parts.password}"
        raw._send(commands.Connection.StartOk({}, "PLAIN", login, "en_US"), 0)
        await raw._frame()
        raw._send(commands.Connection.TuneOk(2047, 131072, 0), 0)
        raw._send(commands.Connection.Open("/"), 0)
        await raw._frame()
        raw._send(commands.Channel.Open(), 1)
        await raw._frame()
        return raw

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        timestamp: int,
        message_id: str,
        table: bytes = b"",
    ) -> None:
        """A persistent message. `table` is the inside of the headers; `timestamp` any 64 bits."""
        self._send(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), 1)
        identity = message_id.encode()
        flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP
        properties = (
            struct.pack(">H", flags)
            + struct.pack(">I", len(table))
            + table
            + b"\x02"
            + struct.pack(">B", len(identity))
            + identity
            + struct.pack(">Q", timestamp)
        )
        payload = struct.pack(">HHQ", 60, 0, len(body)) + properties
        self._writer.write(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")
        self._send(ContentBody(body), 1)

    async def aclose(self) -> None:
        self._send(commands.Connection.Close(200, "done", 0, 0), 0)
        await self._frame()
        self._writer.close()
        await self._writer.wait_closed()

    def _send(self, frame: object, channel: int) -> None:
        self._writer.write(pamqp.frame.marshal(frame, channel))  # type: ignore[arg-type]

    async def _frame(self) -> None:
        head = await self._reader.readexactly(7)
        await self._reader.readexactly(struct.unpack(">BHI", head)[2] + 1)
