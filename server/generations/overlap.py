"""How much of a continuation is there already: overlaps, and answers begun again.

Sans-I/O. `shown` is the text a reader has, `new` what the continuing model says. An *overlap* is the longest
suffix of `shown` that `new` begins with; one that covers all of `shown` is a *restart*. What counts as
evidence is strict, since a false cut loses text and a missed one only repeats some:

* at least eight characters, three different ones of them letters, digits or pictures (rules, table borders
  and indentation repeat in any text), or the whole of a short last line;
* no run: where the end of `shown` repeats itself, whatever stands between the rounds, the same again may be
  just what comes next;
* never from inside an indentation.

All of this is asked of the end of `shown` alone, never of how much of `new` has come, so it does not matter
in which pieces a continuation comes.
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


@dataclass(frozen=True, slots=True)
class Trail:
    """What comes next if a repetition goes on: `text[at:]`, white space aside where `bare`.

    To follow it costs what comes, not what came: a long answer begun again is not searched anew per chunk.
    """

    text: str
    at: int
    bare: bool = False

    def follow(self, new: str) -> Trail | None:
        """The trail behind `new`; `None` where `new` leaves it or reaches its end."""
        said = "".join(new.split()) if self.bare else new
        end = self.at + len(said)
        if end >= len(self.text) or not self.text.startswith(said, self.at):
            return None
        return Trail(self.text, end, self.bare)


@dataclass(frozen=True, slots=True)
class Repetition:
    """What is known: the match there is, and whether another may still come about (`pending`).

    It stays pending at least as long as `trail`, if there is one, can be followed.
    """

    match: Match | None = None
    pending: bool = False
    trail: Trail | None = None


NONE = Repetition()


def tells(text: str) -> bool:
    """Whether a repetition of `text` is evidence: three different letters, digits or pictures."""
    different: set[str] = set()
    for character in text:
        if character not in different and _speaks(character):
            different.add(character)
            if len(different) == _LEAST_DIFFERENT:
                return True
    return False


def period(text: str) -> int:
    """The length of the shortest thing that makes up `text` in two rounds or more; 0: there is none.

    The last round may be cut short.
    """
    length = len(text)
    half = text[: length - length // 2]
    found = text.find(half, 1)
    while found > 0:
        if text.startswith(text[found:]):
            return found
        found = text.find(half, found + 1)
    return 0


def overlap(shown: str, new: str) -> Repetition:
    """The overlap, if there is one, and whether a longer one may still come about."""
    short = _short_line(shown, new)
    if len(new) < LEAST_OVERLAP:
        return Repetition(short, bool(new) and new in shown)
    trail: Trail | None = None
    spoken: str | None = None
    head = new[:LEAST_OVERLAP]
    at = shown.find(head)
    while at >= 0:
        then = at + 1
        longer = len(shown) - at > len(new)
        if longer and trail is not None:
            # one that may still come about is known; now only what has come wholly says more
            then = len(shown) - len(new)
        elif shown.startswith(new, at) if longer else new.startswith(shown[at:]):
            again = shown[at:]
            if not tells(again):
                break  # and what is shorter tells less
            said, spoken = _spoken(again), _spoken(shown) if spoken is None else spoken
            rounds = period(said)
            if rounds:
                then = max(then, _beginning_of_last(2 * rounds, shown) + 1)  # until there it is a run
            elif not _goes_on(spoken, len(said)) and not _inside_indentation(shown, at):
                if not longer:
                    return Repetition(Match(len(shown), len(again)), trail is not None, trail)
                trail = Trail(shown, at + len(new))
        at = shown.find(head, then)
    return Repetition(short, trail is not None, trail)


def restart(shown: str, new: str) -> Repetition:
    """The answer begun again, white space aside, if it is, and whether that is still open.

    Where the new answer leaves the old one after `LEAST_RESTART` characters it is another answer: it
    replaces what differs (`begin` lies where they part).
    """
    old, again = "".join(shown.split()), "".join(new.split())
    least = min(LEAST_RESTART, len(old))
    if least < LEAST_OVERLAP:
        return NONE
    same = _common_prefix(old, again)
    common = old if same == len(again) else old[:same]
    if not tells(common) or period(_spoken(common)):
        return NONE
    if same == len(again) and same < len(old):
        return Repetition(None, True, Trail(old, same, bare=True))
    if same < least:
        return NONE
    match = Match(_place(shown, same), _place(new, same))
    # all of it, and the white space that follows has not come yet
    unsure = same == len(old) and match.begin < len(shown) and not new[match.skip :].strip()
    return Repetition(match, unsure)


def _goes_on(text: str, size: int) -> bool:
    """Whether the last `size` characters are a later round: they stand right before, or reach into it."""
    at = len(text) - size
    return text.find(text[at:], max(0, at - size), len(text) - 1) >= 0


def _inside_indentation(shown: str, at: int) -> bool:
    return at > 0 and shown[at] in " \t" and shown[at - 1] in " \t"


def _short_line(shown: str, new: str) -> Match | None:
    line = shown[shown.rfind("\n") + 1 :]
    if (
        _LEAST_LINE <= len(line) < LEAST_OVERLAP
        and new.startswith(line)
        and tells(line)
        and not period(_spoken(line))
    ):
        return Match(len(shown), len(line))
    return None


def _spoken(text: str) -> str:
    """Its letters, digits and pictures alone."""
    return text.translate({ord(character): None for character in set(text) if not _speaks(character)})


def _beginning_of_last(count: int, text: str) -> int:
    """The place of the `count`-th last character that speaks."""
    at = len(text)
    while count:
        at -= 1
        count -= _speaks(text[at])
    return at


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
    places = [at for at, character in enumerate(text) if not character.isspace()]
    return places[count - 1] + 1
