"""What one client heard and said, over all its connections.

Sans-I/O. Frames are plain dicts, as they came off the wire, so that a recording can be written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Frame = dict[str, Any]

ANSWERS = frozenset({"ack", "error", "pong", "welcome"})


class Recorded(NamedTuple):
    """One frame. `connection` counts 1, 2, 3 ...; `at` is in seconds on any one monotonic clock."""

    connection: int
    frame: Frame
    at: float


@dataclass
class Recording:
    """One client's recording.

    `presented` holds, per connection, the `resume` of its `hello` (`{}` where nothing was presented). A
    connection that is not in it had no `hello`: the stream of one turn or of one generation.
    `sent` holds the commands as sent, `hello` left out.
    """

    user: str
    name: str = "client"
    presented: dict[int, dict[str, Any]] = field(default_factory=dict)
    heard: list[Recorded] = field(default_factory=list)
    sent: list[Recorded] = field(default_factory=list)

    def sessions(self) -> list[Recorded]:
        """What was heard over the connections that began with `hello`, which resume one another."""
        return [entry for entry in self.heard if entry.connection in self.presented]

    def lines(self) -> list[list[Recorded]]:
        """The parts of the recording in which order means something.

        The sessions are one line, since each goes on where the last one was; every other stream is its own.
        """
        alone: dict[int, list[Recorded]] = {}
        for entry in self.heard:
            if entry.connection not in self.presented:
                alone.setdefault(entry.connection, []).append(entry)
        sessions = self.sessions()
        return ([sessions] if sessions else []) + list(alone.values())

    def answered(self) -> Iterator[tuple[Frame, list[Frame]]]:
        """Every command that had an `id`, with all answers to it."""
        answers: dict[tuple[int, str], list[Frame]] = {}
        for connection, frame, _ in self.heard:
            if frame.get("type") in ANSWERS and frame.get("re") is not None:
                answers.setdefault((connection, frame["re"]), []).append(frame)
        for connection, command, _ in self.sent:
            if command.get("id") is not None:
                yield command, answers.get((connection, command["id"]), [])

    def of_type(self, *types: str) -> list[Frame]:
        """The frames of these types, in the order heard."""
        return [frame for _, frame, _ in self.heard if frame.get("type") in types]
