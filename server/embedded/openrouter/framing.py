"""Sans-I/O. The same stream, written differently: other line ends, other cuts, broken off at a byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from server.embedded.openrouter.behaviour import Framing
from server.embedded.openrouter.steps import End, Hang, Step, Write

_INSIDE_UTF8 = re.compile(rb"(?<=[\xc0-\xff])(?=[\x80-\xbf])")
_INSIDE_FIELD = re.compile(rb"(?<=dat)(?=a:)|(?<=data)(?=:)")
_INSIDE_NEWLINE = re.compile(rb"(?<=[\r\n])(?=[\r\n])")
_CUTS = {"utf8": _INSIDE_UTF8, "field": _INSIDE_FIELD, "newline": _INSIDE_NEWLINE}
_NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def framed(steps: Iterator[Step], framing: Framing) -> Iterator[Step]:
    """`steps`, their bytes written as `framing` says. Tokens count as shown with the last of their bytes."""
    held: Write | None = None
    joined = 0
    for step in steps:
        if not isinstance(step, Write):
            if held is not None:
                yield from _cut(held, framing)
                held, joined = None, 0
            yield step
            continue
        data = step.data if framing.space else step.data.replace(b"data: ", b"data:")
        step.data = data.replace(b"\n", _NEWLINES[framing.newline])
        held = step if held is None else _join(held, step)
        joined += 1
        if joined == framing.events_per_write:
            yield from _cut(held, framing)
            held, joined = None, 0


def broken_at_byte(steps: Iterator[Step], limit: int, how: str) -> Iterator[Step]:
    """`steps` up to byte `limit` of the stream, then the break; all of them where it is shorter."""
    left = limit
    for step in steps:
        if isinstance(step, Write):
            if len(step.data) > left:
                if left:
                    yield replace(step, data=step.data[:left], tokens=0, thoughts=0)
                yield _break(how)
                return
            left -= len(step.data)
        yield step


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


def _join(first: Write, second: Write) -> Write:
    return Write(
        first.data + second.data,
        first.after + second.after,
        first.tokens + second.tokens,
        first.thoughts + second.thoughts,
    )


def _cut(step: Write, framing: Framing) -> Iterator[Write]:
    if framing.split == "no":
        yield step
        return
    if framing.split == "bytes":
        parts = [step.data[at : at + framing.size] for at in range(0, len(step.data), framing.size)]
    else:
        parts = [part for part in _CUTS[framing.split].split(step.data) if part]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        yield Write(
            part,
            0.0 if index else step.after,
            step.tokens if last else 0,
            step.thoughts if last else 0,
        )
