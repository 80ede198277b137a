"""Sans-I/O. The same stream, written differently: other line ends, broken off at a byte, other cuts.

A token counts as shown with the last byte of its event but for line ends, since some readers take an event
at the end of the body whose empty line never came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from server.embedded.openrouter.behaviour import Framing
from server.embedded.openrouter.steps import End, Hang, Step, Write

_INSIDE_UTF8 = re.compile(rb"(?<=[\xc0-\xff])(?=[\x80-\xbf])")
_INSIDE_FIELD = re.compile(rb"(?<=dat)(?=a:)|(?<=data)(?=:)")
_INSIDE_NEWLINE = re.compile(rb"(?<=[\r\n])(?=[\r\n])")
_CUTS = {"utf8": _INSIDE_UTF8, "field": _INSIDE_FIELD, "newline": _INSIDE_NEWLINE}
_NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def spelt(steps: Iterator[Step], framing: Framing) -> Iterator[Step]:
    """`steps` with the line ends and spaces of `framing`."""
    for step in steps:
        if isinstance(step, Write):
            data = step.data if framing.space else step.data.replace(b"data: ", b"data:")
            step.data = data.replace(b"\n", _NEWLINES[framing.newline])
        yield step


def broken_at_byte(steps: Iterator[Step], limit: int, how: str) -> Iterator[Step]:
    """`steps` up to byte `limit` of the stream, then the break; all of them where it is shorter."""
    left = limit
    for step in steps:
        if isinstance(step, Write):
            if len(step.data) > left:
                if left:
                    shown = left >= _shown_at(step.data)
                    yield replace(
                        step,
                        data=step.data[:left],
                        tokens=step.tokens if shown else 0,
                        thoughts=step.thoughts if shown else 0,
                    )
                yield _break(how)
                return
            left -= len(step.data)
        yield step


def cut(steps: Iterator[Step], framing: Framing) -> Iterator[Step]:
    """`steps` in the writes that `framing` asks for."""
    held = _Joined()
    for step in steps:
        if not isinstance(step, Write):
            yield from held.writes(framing)
            held = _Joined()
            yield step
            continue
        held.add(step)
        if held.count == framing.events_per_write:
            yield from held.writes(framing)
            held = _Joined()


@dataclass(slots=True)
class _Joined:
    """Writes that become one, or are cut anew. `marks`: where its tokens and thoughts are shown."""

    data: bytes = b""
    after: float = 0.0
    count: int = 0
    marks: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, step: Write) -> None:
        self.marks.append((len(self.data) + _shown_at(step.data), step.tokens, step.thoughts))
        self.data += step.data
        self.after += step.after
        self.count += 1

    def writes(self, framing: Framing) -> Iterator[Write]:
        after, position, marks = self.after, 0, list(self.marks)
        for part in _parts(self.data, framing):
            position += len(part)
            tokens = thoughts = 0
            while marks and marks[0][0] <= position:
                _, more_tokens, more_thoughts = marks.pop(0)
                tokens += more_tokens
                thoughts += more_thoughts
            yield Write(part, after, tokens, thoughts)
            after = 0.0


def _parts(data: bytes, framing: Framing) -> list[bytes]:
    match framing.split:
        case "no":
            parts = [data]
        case "bytes":
            parts = [data[at : at + framing.size] for at in range(0, len(data), framing.size)]
        case _:
            parts = _CUTS[framing.split].split(data)
    return [part for part in parts if part]


def _shown_at(data: bytes) -> int:
    """How many bytes of an event a reader needs to know it."""
    return len(data.rstrip(b"\r\n"))


def _break(how: str) -> Step:
    match how:
        case "reset":
            return End("reset", "broken")
        case "close":
            return End("close", "broken")
        case "eof":
            return End("finish", "broken")
        case _:
            return Hang()
