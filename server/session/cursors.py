"""The cursors of one reader: which frames come next.

Sans-I/O. Delivering is moving an offset in the log and an `at` in each text. `collect` gives the next
frames in the order the wire promises: events in log order; a generation's text before its end; then
whatever the running texts have beyond their cursors. What is not collected is queued nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import msgspec

from protocol.codec import delta_bytes, encode, with_position
from protocol.frames import TextCursor
from protocol.position import Position
from server.channels.broker import LogEntry
from server.channels.channel import Channel, LiveText, kind_of
from server.channels.events import read_announced

BATCH_BYTES = 32 * 1024
_DELTA_CHARS = 4096
# `type`, then an id or two: they stand at the beginning, before anything a user wrote
_IDS = 160
_ANNOUNCING = frozenset({"generation.started", "generation.switched"})


class Need(Enum):
    """Why nothing could be collected."""

    LOG = auto()  # the events wanted are not in memory: read the log
    RESET = auto()  # the log has another epoch


class Outgoing(msgspec.Struct, frozen=True):
    """A frame ready to send. `position` is set for events: the cursor after it."""

    kind: str
    body: bytes
    position: str | None = None


class Batch:
    """Frames to send next. It is full at about 32 KiB: what a reader who does not read is held ready."""

    __slots__ = ("_room", "frames")

    def __init__(self) -> None:
        self.frames: list[Outgoing] = []
        self._room = BATCH_BYTES

    @property
    def full(self) -> bool:
        """Whether nothing more belongs in."""
        return self._room <= 0

    def add(self, frame: Outgoing) -> None:
        """Put a frame last."""
        self.frames.append(frame)
        self._room -= len(frame.body)


def is_about(body: bytes, name: str) -> bool:
    """Whether a frame is about the generation, or the message, of this id."""
    return name.encode() in body[:_IDS]


@dataclass(slots=True)
class TurnFilter:
    """Only one turn's frames: its question, its generation (protocol README, "SSE binding")."""

    generation: str
    question: str
    done: bool = False

    def wants(self, kind: str, body: bytes) -> bool:
        """Whether an event belongs to the turn; notes its end."""
        if kind.startswith("generation."):
            mine = is_about(body, self.generation)
            if mine and kind == "generation.finished":
                self.done = True
            return mine
        return kind == "message.created" and is_about(body, self.question)


@dataclass(slots=True)
class Cursors:
    """An offset in the log of `epoch` and a cursor in each text.

    `only` narrows what is collected to one turn. `told` has the newest attempt the reader was told of, by
    generation: no text of another comes before a `generation.state` that tells of it.
    """

    epoch: str
    offset: int
    texts: dict[str, TextCursor] = field(default_factory=dict)
    only: TurnFilter | None = None
    told: dict[str, int] = field(default_factory=dict)

    def collect(self, channel: Channel) -> Batch | Need:
        """The next frames. All there are, unless the batch is full."""
        if channel.epoch != self.epoch:
            return Need.RESET
        entries = channel.after(self.offset)
        if entries is None:
            return Need.LOG
        batch = Batch()
        if self.take(entries, channel, batch):
            self.take_texts(channel, batch)
        return batch

    def take_texts(self, channel: Channel, batch: Batch) -> None:
        """Collect what the running texts have beyond their cursors."""
        for live in channel.texts.values():
            if live.ended is None and not self.take_text(live, channel, batch):
                break

    def take(self, entries: list[LogEntry], channel: Channel, batch: Batch) -> bool:
        """Collect events, but none the channel has not seen; `False`: some are left for later."""
        for entry in entries:
            if batch.full:
                return False
            if entry.offset > channel.offset:
                # the channel may lack text that comes before it
                return True
            kind = kind_of(entry.body)
            if kind == "generation.finished":
                if not self._take_ended(entry, channel, batch):
                    return False
            elif kind in _ANNOUNCING:
                announced = read_announced(entry.body)
                self.told[announced.generation] = announced.attempt
            self.offset = entry.offset
            if self.only is None or self.only.wants(kind, entry.body):
                position = str(Position(self.epoch, entry.offset))
                batch.add(Outgoing(kind, with_position(entry.body, position), position))
        return True

    def take_text(self, live: LiveText, channel: Channel, batch: Batch) -> bool:
        """Collect what a text has beyond its cursor; `False`: some is left for later."""
        if not self.follows(live):
            return True
        generation, text = live.state.generation, live.text
        if live.state.attempt > self.told.get(generation, 0):
            # no event of this log told of it: a lost store has it again, or the client has just come
            batch.add(self.state(live, channel.wall_ms()))
        cursor = self.texts.get(generation)
        if cursor is None:
            attempt, at = text.attempt, 0
        elif cursor.attempt == text.attempt and cursor.at <= text.length:
            attempt, at = cursor.attempt, cursor.at
        else:
            attempt, at = text.attempt, text.valid_prefix(cursor.attempt, cursor.at)
            if at < cursor.at and at == text.length:
                # nothing new stands there yet, but what the client holds beyond it is void
                batch.add(Outgoing("delta", delta_bytes(generation, attempt, at, "")))
                self.texts[generation] = TextCursor(attempt=attempt, at=at)
        while at < text.length:
            if batch.full:
                return False
            piece = text.read(at, _DELTA_CHARS)
            batch.add(Outgoing("delta", delta_bytes(generation, attempt, at, piece)))
            at += len(piece)
            self.texts[generation] = TextCursor(attempt=attempt, at=at)
        return True

    def follows(self, live: LiveText) -> bool:
        """Whether the reader is told of this text."""
        return self.only is None or live.state.generation == self.only.generation

    def state(self, live: LiveText, now_ms: int) -> Outgoing:
        """The `generation.state` of a running generation, which is told by it."""
        self.told[live.state.generation] = live.state.attempt
        state = msgspec.structs.replace(
            live.state, length=live.text.length, elapsed_ms=max(0, now_ms - live.started_ms)
        )
        return Outgoing("generation.state", encode(state))

    def present(self, texts: dict[str, TextCursor] | None) -> None:
        """Take the cursors a client presents; without any, everything is sent from the start."""
        self.texts = dict(texts or {})

    def forget(self, channel: Channel) -> None:
        """Drop what is about no text of the channel: a client may present any number of cursors."""
        self.texts = {name: cursor for name, cursor in self.texts.items() if name in channel.texts}
        self.told = {name: attempt for name, attempt in self.told.items() if name in channel.texts}

    def restart(self, at: Position) -> None:
        """Begin again at another place in the log, texts from their start."""
        self.epoch, self.offset = at
        self.texts.clear()
        self.told.clear()

    def _take_ended(self, end: LogEntry, channel: Channel, batch: Batch) -> bool:
        """Collect what is left of the text that `end` ends; `False`: some is left for later."""
        for generation, live in channel.texts.items():
            if live.ended == end.offset:
                if not self.take_text(live, channel, batch):
                    return False
                self.texts.pop(generation, None)
                self.told.pop(generation, None)
                break
        return True
