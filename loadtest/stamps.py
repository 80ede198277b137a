"""Tokens that carry the time they left, so that whoever reads them knows how long they took.

Sans-I/O. A token is 16 characters: a space and microseconds of the machine's monotonic clock, which all
processes of one machine share. A prompt names its sending time and the number of tokens wanted.
"""

from __future__ import annotations

import re

WIDTH = 16
_PROMPT = re.compile(rb"load (\d+) (\d+)")


def token(now_us: int) -> str:
    """The token that leaves now."""
    return f" {now_us:015d}"


def prompt(now_us: int, tokens: int) -> str:
    """A message that asks for so many tokens."""
    return f"load {now_us} {tokens}"


def asked(body: bytes) -> tuple[int, int] | None:
    """When the newest prompt in a request's body was sent, in microseconds, and how many tokens it asks for.

    `None` where there is no such prompt.
    """
    found = _PROMPT.findall(body)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


class StampReader:
    """Reads the stamps of one text that comes in pieces, cut anywhere."""

    __slots__ = ("_tail", "count")

    def __init__(self) -> None:
        self.count = 0
        self._tail = ""

    def feed(self, text: str) -> list[int]:
        """The stamps complete with this piece, in microseconds."""
        text = self._tail + text
        end = len(text) - len(text) % WIDTH
        self._tail = text[end:]
        stamps = [int(text[at + 1 : at + WIDTH]) for at in range(0, end, WIDTH)]
        self.count += len(stamps)
        return stamps
