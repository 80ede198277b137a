"""Code fences of Markdown, as CommonMark reads them.

Sans-I/O. A fence opens with at least three backticks or tildes, indented by three spaces at most, perhaps
with a word for the language; it closes with at least as many of the same and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)")
_OPENING = re.compile(r"[ \t\n]*(?P<marks>`{3,}|~{3,})(?P<info>[^\n`]*)\n")


@dataclass(frozen=True, slots=True)
class Fence:
    """An open fence: its character and how many of them."""

    mark: str
    length: int


def open_fence(text: str) -> Fence | None:
    """The fence that is open at the end of `text`."""
    if "```" not in text and "~~~" not in text:
        return None
    fence: Fence | None = None
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None:
            continue
        marks, info = match["marks"], match["info"].strip()
        if fence is None:
            if not (marks[0] == "`" and "`" in info):
                fence = Fence(marks[0], len(marks))
        elif marks[0] == fence.mark and len(marks) >= fence.length and not info:
            fence = None
    return fence


@dataclass(frozen=True, slots=True)
class Opening:
    """A line that opens a fence at the beginning of a text: its length, line break included."""

    fence: Fence
    info: str
    length: int


def opening(text: str) -> Opening | None:
    """The opening fence a text begins with, white space aside, if its line is complete."""
    match = _OPENING.match(text)
    if match is None:
        return None
    return Opening(Fence(match["marks"][0], len(match["marks"])), match["info"].strip(), match.end())


def reopens(opened: Opening, fence: Fence | None) -> bool:
    """Whether a continuation opens again the fence that is open: a bare fence line would close it instead."""
    return (
        fence is not None
        and bool(opened.info)
        and opened.fence.mark == fence.mark
        and opened.fence.length >= fence.length
    )


def may_open(text: str) -> bool:
    """Whether a text, white space aside, may become an opening fence line when more of it comes."""
    line = text.lstrip(" \t\n")
    return bool(line) and "\n" not in line and line[:3] in {"`", "``", "```", "~", "~~", "~~~"}
