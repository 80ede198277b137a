"""A growing text and the cursors into it.

Sans-I/O. The text is a list of pieces, so appending costs the same at any length. Every attempt whose
text has begun is remembered with the place where it began: that is how the longest prefix still valid
for an older cursor is found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

_MERGE_AFTER = 128


class GrowingText:
    """The text of one generation, in code points.

    `attempt` last changed it (0: none has). `begins` holds `(attempt, at)` for each attempt that began.
    """

    __slots__ = ("_fresh", "_pieces", "_starts", "attempt", "begins", "length")

    def __init__(self, attempt: int = 0, begins: tuple[tuple[int, int], ...] = (), text: str = "") -> None:
        self.attempt = attempt
        self.begins = list(begins)
        self.length = len(text)
        self._pieces = [text] if text else []
        self._starts = [0] if text else []
        self._fresh = 0

    def append(self, attempt: int, previous: int, at: int, text: str) -> bool:
        """Apply an append; `False` when something before it is missing and nothing was changed.

        `previous` is the attempt that had changed the text last (see `broker.TextArrived`). What was
        applied before is recognised and changes nothing.
        """
        if attempt < self.attempt:
            return True
        if attempt == self.attempt:
            if at > self.length:
                return False
            if at < self.length:
                return at + len(text) <= self.length
        else:
            if previous != self.attempt or at > self.length:
                return False
            self._cut(at)
            self.attempt = attempt
            self.begins.append((attempt, at))
        if text:
            self._pieces.append(text)
            self._starts.append(at)
            self.length = at + len(text)
            self._fresh += 1
            if self._fresh >= _MERGE_AFTER:
                self._merge()
        return True

    def is_older_than(self, attempt: int, length: int) -> bool:
        """Whether a copy at `(attempt, length)` is ahead of this one."""
        return (self.attempt, self.length) < (attempt, length)

    def read(self, at: int, limit: int) -> str:
        """At most `limit` code points from `at`."""
        if at >= self.length:
            return ""
        first = bisect_right(self._starts, at) - 1
        past = bisect_left(self._starts, at + limit)
        piece = self._pieces[first] if past == first + 1 else "".join(self._pieces[first:past])
        skip = at - self._starts[first]
        if skip == 0 and len(piece) <= limit:
            return piece
        return piece[skip : skip + limit]

    def extends(self, attempt: int, text: str) -> bool:
        """Whether this one holds a copy at `attempt` with this `text`, and perhaps more of the same."""
        return attempt == self.attempt and text != "" and self.whole().startswith(text)

    def whole(self) -> str:
        """All of it."""
        return "".join(self._pieces)

    def valid_prefix(self, attempt: int, at: int) -> int:
        """How much of a cursor's text still stands (protocol README, "Connecting").

        That is up to the lowest place where an attempt after the cursor's has begun; nothing where the
        cursor lies beyond the text or names an attempt after the last that has begun.
        """
        if attempt > self.attempt or at < 0:
            return 0
        for begun, begin in self.begins:
            if begun > attempt and begin < at:
                at = begin
        return at if at <= self.length else 0

    def _cut(self, at: int) -> None:
        while self._starts and self._starts[-1] >= at:
            self._starts.pop()
            self._pieces.pop()
        if self._starts:
            self._pieces[-1] = self._pieces[-1][: at - self._starts[-1]]
        self.length = at
        self._fresh = 0

    def _merge(self) -> None:
        # one object per token would hold more overhead than text
        count = self._fresh
        self._pieces[-count:] = ["".join(self._pieces[-count:])]
        del self._starts[len(self._starts) - count + 1 :]
        self._fresh = 0
