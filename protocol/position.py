"""Positions: where a client is in a user's log.

Sans-I/O. A position is `"<epoch>:<offset>"`. Offsets count 1, 2, 3 ... without a hole inside
an epoch; 0 is the place before the first event. An epoch names one life of the log: when it
is lost, or may have been, a new one begins.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(r"([0-9a-z]{1,32}):(0|[1-9][0-9]{0,15})\Z", re.ASCII)


class Position(NamedTuple):
    """A place in a user's log: `offset` events of `epoch` have been seen."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Read a position; `None` where the text is not one (the client is then told `reset`)."""
        match = _FORM.match(text)
        return cls(match[1], int(match[2])) if match else None
