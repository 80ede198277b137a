"""Sans-I/O. Bytes of an event stream to its events, whatever way the bytes were cut.

Rules (WHATWG HTML, "Event streams", and what OpenRouter really sends):

1. Only LF, CR and CRLF end a line, and a CRLF may straddle two reads. U+2028, U+2029, U+0085, VT and FF
   are legal inside JSON and end nothing, which is why no text-level line splitting is used here.
2. Bytes stay bytes: whoever parses the JSON decodes a whole event, so no character is ever cut.
3. A byte order mark before the first line is dropped; the space after `data:` is optional.
4. Lines beginning with `:` are comments. They are reported, since they say that the upstream is alive.
5. `data` lines of one event are joined with LF; an empty line ends the event; other fields are ignored.
6. A line, or the data of one event, longer than the limit ends decoding (`overflowed`).
"""

from __future__ import annotations

LINE_LIMIT_BYTES = 1 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COLON = 0x3A


class EventDecoder:
    """An incremental decoder: feed it reads, get the events they completed.

    An event is the bytes of its data; `None` stands for one comment line.
    """

    def __init__(self, *, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self.overflowed = False
        self._limit_bytes = limit_bytes
        self._held: list[bytes] = []  # the beginning of a line that has no end yet
        self._held_bytes = 0
        self._data: list[bytes] = []  # data lines of the event that has no empty line yet
        self._data_bytes = 0
        self._after_cr = False
        self._at_first_line = True

    def feed(self, read: bytes) -> list[bytes | None]:
        """The events completed by this read, in order; nothing once `overflowed` is set."""
        events: list[bytes | None] = []
        if self.overflowed or not read:
            return events
        if self._after_cr:
            self._after_cr = False
            if read[0] == 0x0A:  # noqa: PLR2004 - the LF of a CRLF cut in two
                read = read[1:]
                if not read:
                    return events
        if b"\r" in read:
            self._after_cr = read.endswith(b"\r")
            read = read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = read.split(b"\n")
        rest = lines.pop()
        if lines:
            self._take_lines(lines, events)
        if rest and not self.overflowed:
            self._held.append(rest)
            self._held_bytes += len(rest)
            self.overflowed = self._held_bytes > self._limit_bytes
        return events

    def leftover(self) -> bytes:
        """At the end of the stream: the data of an event that no empty line has ended, or `b""`.

        The standard throws it away. It is worth a look where it is a whole JSON document, because some
        gateways leave out the last line end.
        """
        if self.overflowed:
            return b""
        if self._held:
            self._take_lines([b""], [])
        return b"\n".join(self._data)

    def _take_lines(self, lines: list[bytes], events: list[bytes | None]) -> None:
        if self._held:
            self._held.append(lines[0])
            lines[0] = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
        if self._at_first_line:
            self._at_first_line = False
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        data = self._data
        for line in lines:
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
                    self._data_bytes = 0
            elif line[0] == _COLON and len(line) <= self._limit_bytes:
                events.append(None)
            else:
                self._take_field(line)
                if self.overflowed:
                    return

    def _take_field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            self._data.append(b"")
        elif len(line) <= self._limit_bytes:
            return
        self._data_bytes += len(line)
        self.overflowed = self._data_bytes > self._limit_bytes
