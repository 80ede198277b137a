"""What a node reads of the events it passes on.

Sans-I/O. No more than what it uses, so that a newer node may say more in them.
"""

from __future__ import annotations

import msgspec

from protocol.frames import GenerationStarted


class Announced(msgspec.Struct):
    """Of `generation.started` and `generation.switched`: the attempt whose text may follow."""

    generation: str
    attempt: int


class Switched(msgspec.Struct):
    """Of `generation.switched`."""

    generation: str
    attempt: int
    to_model: str


class Content(msgspec.Struct):
    """Of a message."""

    content: str | None


class Share(msgspec.Struct):
    """Of a segment: the attempt whose code points `[start, to)` are."""

    attempt: int
    to: int
    start: int = msgspec.field(name="from")


class Finished(msgspec.Struct):
    """Of `generation.finished`."""

    generation: str
    message: Content | None
    segments: list[Share]
    length: int


read_announced = msgspec.json.Decoder(Announced).decode
read_started = msgspec.json.Decoder(GenerationStarted).decode
read_switched = msgspec.json.Decoder(Switched).decode
read_finished = msgspec.json.Decoder(Finished).decode
