"""What a script's refusal means.

Sans-I/O. A refusing script returns a list whose first element is one word.
"""

from __future__ import annotations

from typing import Any

from server.generations.store import Fenced, Gone, Refused, Sealed, StopAsked


def refused(reply: list[Any]) -> Refused:
    """The exception for `reply`."""
    match reply:
        case [b"fenced", owner, attempt]:
            return Fenced(owner.decode(), attempt)
        case [b"sealed", record]:
            return Sealed(record)
        case [b"gone", length]:
            return Gone(length)
        case [b"stopped"]:
            return StopAsked("a stop was asked")
        case _:
            raise AssertionError(f"a script refused with {reply[:1]!r}")
