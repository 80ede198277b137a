"""Server-sent events out of bytes, by the HTML standard's rules.

Sans-I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass
class StreamEvent:
    """One dispatched event; `id` is `None` where it had none of its own. A comment has only `comment`."""

    event: str = "message"
    data: str = ""
    id: str | None = None
    retry: int | None = None
    comment: str | None = None


class EventStreamDecoder:
    """Bytes in, events out; an event cut off by the end of the stream is not dispatched."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._pending = StreamEvent()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events that are complete with this."""
        buffer = self._rest + data
        # a CR at the end may be the first half of a CRLF
        end = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        lines = _LINE_END.split(buffer[:end])
        self._rest = lines.pop() + buffer[end:]
        events: list[StreamEvent] = []
        for line in lines:
            self._line(line.decode(), events)
        return events

    def _line(self, line: str, events: list[StreamEvent]) -> None:
        if not line:
            if self._data or self._pending.retry is not None:
                self._pending.data = "\n".join(self._data)
                events.append(self._pending)
            self._pending, self._data = StreamEvent(), []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                events.append(StreamEvent(comment=value))
            case "event":
                self._pending.event = value
            case "data":
                self._data.append(value)
            case "id":
                self._pending.id = value
            case "retry":
                self._pending.retry = int(value)
            case _:
                pass  # unknown fields are ignored, by the standard
