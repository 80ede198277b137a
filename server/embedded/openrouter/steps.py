"""Sans-I/O. What a reply is made of: the steps that the player plays on a connection, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Head:
    """A response head. `chunked`: what follows is framed as HTTP chunks."""

    data: bytes
    chunked: bool


@dataclass(slots=True)
class Raw:
    """Bytes as they are, outside any framing; a whole response shows the answer's `tokens` at once."""

    data: bytes
    tokens: int = 0
    thoughts: int = 0


@dataclass(slots=True)
class Write:
    """Bytes of the body, `after` seconds. When all are written, so many `tokens` more have been shown."""

    data: bytes
    after: float = 0.0
    tokens: int = 0
    thoughts: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing, for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Nothing, until `name` is released."""

    name: str


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, until the reader leaves."""


@dataclass(frozen=True, slots=True)
class End:
    """The end. `finish` ends the body and keeps the connection, `close` and `reset` do not end the body.

    `failed` is a failure that OpenRouter knows of; `broken` one that it takes for a reader that left.
    """

    how: Literal["finish", "close", "reset"] = "finish"
    outcome: Literal["complete", "failed", "broken"] = "complete"


Step = Head | Raw | Write | Wait | Gate | Hang | End
