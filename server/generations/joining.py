"""One attempt's text on its way into the answer: straight on, or through a seam.

Sans-I/O. It also counts what the attempt said and what of that is shown, since all of it is billed.
"""

from __future__ import annotations

import math

from server.generations.attempts import Answer
from server.generations.effects import Continuation, GenerationLimits
from server.generations.overlap import tells
from server.generations.seam import Seam

Placed = tuple[int, str]
"""Text and the code point where it goes."""


class Joining:
    """How an attempt joins `answer`; `how` says what its model was asked for.

    `keep` is the highest place where its first text may go.
    """

    __slots__ = ("_answer", "_put", "_received", "_seam", "_start", "how", "keep", "reasoned")

    def __init__(self, answer: Answer, how: Continuation, limits: GenerationLimits, now: float) -> None:
        self.how = how
        self.reasoned = 0
        self._answer = answer
        self._received = 0
        self._put = 0
        self._seam: Seam | None = None
        self._start = self.keep = 0
        if how != "fresh":
            self._start = self.keep = answer.length
            self._seam = Seam(
                answer.text,
                hold_chars=limits.seam_hold_chars,
                hold_seconds=limits.seam_hold_seconds,
                now=now,
                trimmed=how == "prefill",
            )

    @property
    def spoke(self) -> bool:
        """Whether the model has said anything, shown or not; thoughts do not count."""
        return self._received > self.reasoned

    @property
    def deadline(self) -> float | None:
        """When the seam wants to be looked at again."""
        return self._seam.deadline if self._seam is not None else None

    def take(self, text: str, now: float) -> Placed | None:
        """The model said `text`: what of it can be appended now."""
        self._received += len(text)
        answer = self._answer
        if answer.draft.begun:
            at = answer.length
            answer.pieces.append(text)
            answer.length = at + len(text)
            self._put += len(text)
            return at, text
        if self._seam is None:
            return self._begin(self._start, text)
        return self._joined(self._seam.feed(text, now))

    def look(self, now: float) -> Placed | None:
        """Time has passed: what the seam lets go."""
        return self._joined(self._seam.feed("", now)) if self._seam is not None else None

    def close(self) -> Placed | None:
        """The model has finished: what the seam still held."""
        return self._joined(self._seam.close()) if self._seam is not None else None

    def relinquish(self) -> Placed | None:
        """The model broke off and no other goes on: what the seam held, where it is surely something new."""
        if self._seam is None or not self._seam.held:
            return None
        seam, self._seam = self._seam, None
        text = seam.feed("", math.inf)
        if text is None or not tells(text) or seam.begin < self._answer.length:
            return None
        return self._begin(seam.begin, text)

    def think(self, text: str) -> int:
        """The model thought aloud; the place of this in all its thoughts."""
        at = self.reasoned
        self.reasoned += len(text)
        self._received += len(text)
        self._count()
        return at

    def _joined(self, joined: str | None) -> Placed | None:
        assert self._seam is not None
        if joined is None:
            self._count()
            return None
        self._start, self._seam = self._seam.begin, None
        if joined:
            return self._begin(self._start, joined)
        self._count()
        return None

    def _begin(self, at: int, text: str) -> Placed:
        self._answer.put(at, text)
        self._put = len(text)
        self._count()
        return at, text

    def _count(self) -> None:
        # a seam may put a little more than it was given: white space, the rest of a grapheme
        self._answer.draft.unshown = max(0, self._received - self._put)
