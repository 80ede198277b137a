"""How much of a continuation is there already: overlaps, and answers begun again.

Sans-I/O. `shown` is the text a reader has, `new` what the continuing model says. An *overlap* is the longest
suffix of `shown` that `new` begins with; one that covers all of `shown` is a *restart*. What counts as
evidence is strict, since a false cut loses text and a missed one only repeats some:

* at least eight characters, three different ones of them letters, digits or pictures (rules, table borders and
  indentation repeat in any text), or the whole of a short last line;
* no run: where the end of `shown` repeats itself, the same again may be just what comes next;
* never from inside an indentation.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

LEAST_OVERLAP = 8
LEAST_RESTART = 40
"""So many characters, white space aside, at the start of the answer are taken for the answer begun again."""

_LEAST_LINE = 3
_LEAST_DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Match:
    """`shown[:begin]` is kept, `new[skip:]` follows it."""

    begin: int
    skip: int


def tells(text: str) -> bool:
    """Whether a repetition of `text` is evidence: three different letters, digits or pictures."""
    return len({character for character in text if _speaks(character)}) >= _LEAST_DIFFERENT


def is_run(text: str) -> bool:
    """Whether `text` is at least two rounds of one thing, the last perhaps cut short."""
    length = len(text)
    half = text[: length - length // 2]
    period = text.find(half, 1)
    while period > 0:
        if text.startswith(text[period:]):
            return True
        period = text.find(half, period + 1)
    return False


def overlap(shown: str, new: str) -> tuple[Match | None, bool]:
    """The overlap, if there is one, and whether a longer one may still come about."""
    if len(new) < LEAST_OVERLAP:
        return _short_line(shown, new), bool(new) and new in shown
    head, may_grow, pending = new[:LEAST_OVERLAP], tells(new) and not is_run(new), False
    at = shown.find(head)
    while at >= 0:
        again = shown[at:] if len(shown) - at <= len(new) else ""
        if not again:
            pending = pending or (may_grow and shown.startswith(new, at))
        elif new.startswith(again) and tells(again):
            if is_run(again) or shown.endswith(again, 0, at):
                break
            if not _inside_indentation(shown, at):
                return Match(len(shown), len(again)), pending
        at = shown.find(head, at + 1)
    return _short_line(shown, new), pending


def restart(shown: str, new: str) -> tuple[Match | None, bool]:
    """The answer begun again, white space aside, if it is, and whether that is still open.

    Where the new answer leaves the old one after `LEAST_RESTART` characters it is another answer: it
    replaces what differs (`begin` lies where they part).
    """
    old, again = "".join(shown.split()), "".join(new.split())
    least = min(LEAST_RESTART, len(old))
    if least < LEAST_OVERLAP:
        return None, False
    same = _common_prefix(old, again)
    common = old[:same]
    if not tells(common) or is_run(common):
        return None, False
    if same == len(again) and same < len(old):
        return None, True
    if same < least:
        return None, False
    found = Match(_place(shown, same), _place(new, same))
    # all of it, and the white space that follows has not come yet
    unsure = same == len(old) and found.begin < len(shown) and not new[found.skip :].strip()
    return found, unsure


def _inside_indentation(shown: str, at: int) -> bool:
    return at > 0 and shown[at] in " \t" and shown[at - 1] in " \t"


def _short_line(shown: str, new: str) -> Match | None:
    line = shown[shown.rfind("\n") + 1 :]
    if _LEAST_LINE <= len(line) < LEAST_OVERLAP and new.startswith(line) and tells(line) and not is_run(line):
        return Match(len(shown), len(line))
    return None


def _speaks(character: str) -> bool:
    if character.isalnum():
        return True
    category = unicodedata.category(character)
    # box drawing and block elements are rules and borders
    return category in {"Mn", "Mc"} or (category == "So" and not "\u2500" <= character <= "\u259f")


def _common_prefix(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _place(text: str, count: int) -> int:
    """The place behind the `count`-th character that is no white space."""
    for at, character in enumerate(text):
        if not character.isspace():
            count -= 1
            if count == 0:
                return at + 1
    return len(text)
