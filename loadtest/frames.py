"""WebSocket frames, as cheap as a load generator needs them.

Sans-I/O. Reads what a server sends (unmasked, whole or in parts) and writes what a client sends. The mask is
zero: it is legal, and the server under test cannot tell.
"""

from __future__ import annotations

from struct import pack, unpack_from

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole masked frame."""
    size = len(payload)
    if size < 126:
        head = pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


class FrameReader:
    """Bytes of a server in, messages and control frames out."""

    __slots__ = ("_buffer", "_opcode", "_parts")

    def __init__(self) -> None:
        self._buffer = b""
        self._parts: list[bytes] = []
        self._opcode = TEXT

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames complete with this, as (opcode, payload); fragments are joined first."""
        buffer = self._buffer + data if self._buffer else data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            size, start = buffer[at + 1] & 0x7F, at + 2
            if size == 126:
                if end - at < 4:
                    break
                size, start = unpack_from("!H", buffer, start)[0], start + 2
            elif size == 127:
                if end - at < 10:
                    break
                size, start = unpack_from("!Q", buffer, start)[0], start + 8
            if end - start < size:
                break
            self._frame(buffer[at], buffer[start : start + size], found)
            at = start + size
        self._buffer = buffer[at:]
        return found

    def _frame(self, first: int, payload: bytes, found: list[tuple[int, bytes]]) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if opcode >= CLOSE or (final and opcode != CONTINUATION):
            found.append((opcode, payload))
            return
        if opcode != CONTINUATION:
            self._opcode = opcode
        self._parts.append(payload)
        if final:
            found.append((self._opcode, b"".join(self._parts)))
            self._parts.clear()
