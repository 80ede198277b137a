"""Where a continuation joins what was shown.

Sans-I/O. A model that is asked to go on begins anywhere: with the very next character, with a few words
that are there already, with the whole answer from its start, with "Sure, here is the rest:". The seam holds
the first characters of a continuation back until they can be only one of these, and lets the joined text go;
then it is over. Most continuations are new from their first word, and go at once. It looks once per attempt,
never per chunk, so what the model repeats later stays.

How it decides, in this order, on the text as it came, then without its leading white space, then without a
preamble, then without a fence line it opens:

1. An overlap with the end of what was shown is cut (`overlap.py` says what is evidence). An answer begun
   again is the longest overlap. While the model only repeats what stands there, the seam waits, however long:
   there is nothing to show, at most all of the text is repeated, and a model that stops is the stall
   clock's business.
2. An answer begun again with other white space is aligned; one that leaves the old one after forty characters
   replaces what differs.
3. Otherwise it is a clean continuation: joined as it is, without the preamble, and without a fence line that
   would open again a code block which is open. As long as what comes next could make it one of the others (a
   preamble, the answer's first words, an item's number) it is held, up to the characters and the time.

What is ambiguous, and which way it falls:

* A continuation that by chance begins like the last eight or more characters of the text, or like the first
  forty, is taken for repetition. A run ("ha ha ha") is not: there the same again may be just what comes next.
* A separator the model left out is not invented: `world` after `Hello` stays `Helloworld`, since a cut inside
  a word looks the same. The one exception is a list: an item that follows an item gets its line break.
* After a partial answer without its trailing white space (prefill), white space that the model brings
  replaces what was cut off, a comma or full stop needs none, anything else gets it back.
* In an open code block leading white space is meant, and a fence line with a language opens it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from server.generations.fences import Fence, may_open, open_fence, opening, reopens
from server.generations.graphemes import cluster_start
from server.generations.overlap import (
    LEAST_OVERLAP,
    LEAST_RESTART,
    NONE,
    Match,
    Repetition,
    Trail,
    overlap,
    restart,
    tells,
)
from server.generations.preamble import preamble_length

GRACE = 4.0
"""A beginning that may still turn out a preamble is held for so many times the hold."""

_CLOSING = frozenset(",.;:!?)]}%…、。，！？；：）」』】”’")
_MAY_BE_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)]?)?[ \t]*")
_ITEM = re.compile(r"(?P<indent>[ \t]*)(?:(?P<bullet>[-*+•])|(?P<number>\d{1,3})(?P<dot>[.)]))[ \t]+\S")


@dataclass(frozen=True, slots=True)
class Joint:
    """`shown[:begin] + text` is the joined text."""

    begin: int
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """More must come to know. As long as `trail`, if there is one, is followed, nothing else can."""

    trail: Trail | None = None


class Patience(IntEnum):
    """How much longer the seam can wait."""

    LITTLE_CAME = 0  # it can wait for whatever may still change what this is
    ENOUGH_CAME = 1  # the characters are there; it can wait for what they announce
    TIME_IS_UP = 2
    GRACE_IS_OVER = 3
    NOTHING_FOLLOWS = 4


class Seam:
    """The seam of one attempt: feed it until it lets the joined text go, then it is over.

    `shown` is the text so far, `hold_chars` and `hold_seconds` how much is held back at most where nothing is
    sure, counted from the first text fed. `trimmed`: the model saw `shown` without its trailing white space.
    After the release `begin` is the place, in code points of `shown`, where the joined text goes.
    """

    def __init__(
        self, shown: str, *, hold_chars: int, hold_seconds: float, now: float, trimmed: bool = False
    ) -> None:
        self.begin = len(shown)
        self.held = 0
        """How many characters are held back."""
        self._shown = shown
        self._hold_chars = hold_chars
        self._hold_seconds = hold_seconds
        self._since = now
        self._pieces: list[str] = []
        self._trimmed = trimmed
        self._patience = Patience.LITTLE_CAME
        self._trail: Trail | None = None
        self._waits_for_text = False

    @property
    def deadline(self) -> float | None:
        """When to feed it again, with no text; `None` while only text can help."""
        if not self.held or self._waits_for_text:
            return None
        waits = GRACE if self._patience >= Patience.TIME_IS_UP else 1.0
        return self._since + waits * self._hold_seconds

    def feed(self, text: str, now: float) -> str | None:
        """More of the continuation, or none: the joined text once it is sure, `None` until then."""
        if not self.held:
            self._since = now
        self.held += len(text)
        self._pieces.append(text)
        if self._trail is not None:
            self._trail = self._trail.follow(text)
            if self._trail is not None:
                return None
        if now >= self._since + GRACE * self._hold_seconds:
            self._patience = Patience.GRACE_IS_OVER
        elif now >= self._since + self._hold_seconds:
            self._patience = Patience.TIME_IS_UP
        elif self.held >= self._hold_chars:
            self._patience = Patience.ENOUGH_CAME
        return self._settle(self._patience)

    def close(self) -> str:
        """The continuation is over: what there is of it, joined."""
        released = self._settle(Patience.NOTHING_FOLLOWS)
        assert released is not None  # nothing is waited for
        return released

    def _settle(self, patience: Patience) -> str | None:
        new = "".join(self._pieces)
        self._pieces = [new]
        joint = join(self._shown, new, trimmed=self._trimmed, hold_chars=self._hold_chars, patience=patience)
        if isinstance(joint, Wait):
            self._trail = joint.trail
            self._waits_for_text = patience is Patience.GRACE_IS_OVER or joint.trail is not None
            return None
        if joint.text:
            self.begin = joint.begin
        return joint.text


def join(shown: str, new: str, *, trimmed: bool, hold_chars: int, patience: Patience) -> Joint | Wait:
    """How `new` joins `shown`; a `Wait` while more must come to know (never when nothing follows)."""
    fence = open_fence(shown)
    lead = preamble_length(new, final=patience >= Patience.GRACE_IS_OVER)
    repetition = _repetition(shown, new, 0, fence)
    if repetition == NONE:
        if _is_open(shown, new, lead, hold_chars, patience):
            return Wait()
        if lead:
            repetition = _repetition(shown, new, lead, fence)
    body = new[lead or 0 :]
    if patience is not Patience.NOTHING_FOLLOWS:
        if not body:
            return Wait()
        telling = tells(body)
        if repetition.pending and (telling or patience < Patience.GRACE_IS_OVER):
            return Wait(repetition.trail if telling else None)
    if repetition.match is not None:
        return _whole_clusters(shown, Joint(repetition.match.begin, new[repetition.match.skip :]))
    if repetition.pending and _is_half_a_repetition(shown, body, hold_chars):
        return Joint(len(shown), "")
    return _whole_clusters(shown, _clean(shown, body, fence, trimmed=trimmed and not lead))


def _is_open(shown: str, new: str, lead: int | None, hold_chars: int, patience: Patience) -> bool:
    """Whether more could make something else of `new`, which repeats nothing, and is still waited for."""
    if lead is None:
        return True
    if lead:
        return patience <= Patience.ENOUGH_CAME and len(new) - lead < hold_chars
    if patience > Patience.LITTLE_CAME:
        return False
    if _last_item(shown) and _MAY_BE_ITEM.fullmatch(new):
        return True
    return "".join(shown.split()).startswith("".join(new.split()))


def _repetition(shown: str, new: str, lead: int, fence: Fence | None) -> Repetition:
    """What of `new` behind `lead` repeats `shown`: as it came, without white space, without a fence line."""
    body = new[lead:]
    starts = [lead]
    if fence is None:
        starts.append(lead + len(body) - len(body.lstrip()))
    opened = opening(body)
    if opened is not None:
        starts.append(lead + opened.length)
    for start in dict.fromkeys(starts):
        repetition = _repetition_from(shown, new[start:])
        if repetition != NONE:
            match = repetition.match and Match(repetition.match.begin, start + repetition.match.skip)
            return Repetition(match, repetition.pending, repetition.trail)
    return Repetition(pending=may_open(body) or (bool(body) and not body.strip()))


def _repetition_from(shown: str, said: str) -> Repetition:
    """What of `said` repeats `shown`, from its very first character."""
    kept = shown.rstrip()
    for ours in dict.fromkeys((shown, kept)):
        found = overlap(ours, said)
        if found != NONE:
            return _or_begun_again(found, shown, said)
    return restart(shown, said)


def _or_begun_again(found: Repetition, shown: str, said: str) -> Repetition:
    """What was found; a short last line gives way to the answer begun again, which may begin like it."""
    if found.match is None or found.match.skip >= LEAST_OVERLAP:
        return found
    again = restart(shown, said)
    if again == NONE:
        return found
    return again if again.match is not None else Repetition(found.match, True, again.trail)


def _is_half_a_repetition(shown: str, body: str, hold_chars: int) -> bool:
    """Whether a continuation that ended in the middle of repeating `shown` brought nothing of its own."""
    said = body.strip()
    return len(said) >= max(hold_chars, LEAST_OVERLAP) or (
        len(said) >= LEAST_RESTART and shown.lstrip().startswith(said)
    )


def _clean(shown: str, body: str, fence: Fence | None, *, trimmed: bool) -> Joint:
    """A clean continuation: no second fence line, white space put right, a list item on a line of its own."""
    opened = opening(body) if fence is not None else None
    if opened is not None and reopens(opened, fence):
        # the line break that ended the fence line stands where the code's line begins
        return Joint(len(shown), body[opened.length :])
    kept = len(shown.rstrip())
    if trimmed and body and kept < len(shown):
        if body[0].isspace() or (body[0] in _CLOSING and "\n" not in shown[kept:]):
            return Joint(kept, body)
        return Joint(len(shown), body)
    if _follows_item(shown, body):
        return Joint(len(shown), "\n" + body)
    return Joint(len(shown), body)


def _follows_item(shown: str, body: str) -> bool:
    """Whether `body` begins with the list item after the one `shown` ends in, its line break left out."""
    before = _last_item(shown)
    after = _ITEM.match(body)
    if before is None or after is None or shown[-1].isspace() or before["indent"] != after["indent"]:
        return False
    if before["bullet"]:
        return before["bullet"] == after["bullet"]
    return (
        after["number"] is not None
        and before["dot"] == after["dot"]
        and int(after["number"]) == int(before["number"]) + 1
    )


def _last_item(shown: str) -> re.Match[str] | None:
    """The list item in the last line."""
    return _ITEM.match(shown[shown.rfind("\n") + 1 :])


def _whole_clusters(shown: str, joint: Joint) -> Joint:
    """The same text, begun where a grapheme cluster begins."""
    begin = cluster_start(shown[: joint.begin], joint.text)
    return Joint(begin, shown[begin : joint.begin] + joint.text)
