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

_DELTA_CHARS = 8192
_BATCH_BYTES = 32 * 1024


class Need(Enum):
    """Why nothing could be collected."""

    LOG = auto()  # the events wanted are not in memory: read the log
    RESET = auto()  # the log has another epoch


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A frame ready to send. `position` is set for events: the cursor after it."""

    kind: str
    body: bytes
    position: str | None = None


@dataclass(slots=True)
class TurnFilter:
    """Only one turn's frames: its question, its generation (protocol README, "SSE binding")."""

    generation: str
    question: str
    done: bool = False

    def wants(self, kind: str, body: bytes) -> bool:
        """Whether an event belongs to the turn; notes its end."""
        if kind.startswith("generation."):
            mine = self.generation.encode() in body[:160]
            if mine and kind == "generation.finished":
                self.done = True
            return mine
        return kind == "message.created" and self.question.encode() in body


@dataclass(slots=True)
class Cursors:
    """An offset in the log of `epoch` and a cursor in each text.

    `only` narrows what is collected to one turn.
    """

    epoch: str
    offset: int
    texts: dict[str, TextCursor] = field(default_factory=dict)
    only: TurnFilter | None = None

    def collect(self, channel: Channel) -> list[Outgoing] | Need:
        """The next frames, about 32 KiB at most; an empty list when there are none."""
        if channel.epoch != self.epoch:
            return Need.RESET
        entries = channel.after(self.offset)
        if entries is None:
            return Need.LOG
        frames: list[Outgoing] = []
        if entries and not self.take(entries, channel, frames):
            return frames
        for live in channel.texts.values():
            if live.ended is None and not self.take_text(live, frames):
                break
        return frames

    def take(self, entries: list[LogEntry], channel: Channel, frames: list[Outgoing]) -> bool:
        """Collect events; `False` when the batch is full before all are taken."""
        room = _BATCH_BYTES
        for entry in entries:
            if room <= 0:
                return False
            kind = kind_of(entry.body)
            if kind == "generation.finished":
                live = self._ended_by(entry, channel)
                if live is not None and not self.take_text(live, frames):
                    return False
                if live is not None:
                    self.texts.pop(live.state.generation, None)
            self.offset = entry.offset
            if self.only is None or self.only.wants(kind, entry.body):
                position = str(Position(self.epoch, entry.offset))
                body = with_position(entry.body, position)
                frames.append(Outgoing(kind, body, position))
                room -= len(body)
        return True

    def take_text(self, live: LiveText, frames: list[Outgoing]) -> bool:
        """Collect what a text has beyond its cursor; `False` when the batch is full first."""
        generation = live.state.generation
        if self.only is not None and generation != self.only.generation:
            return True
        text = live.text
        cursor = self.texts.get(generation)
        if cursor is None:
            attempt, at = text.attempt, 0
        elif cursor.attempt == text.attempt and cursor.at <= text.length:
            attempt, at = cursor.attempt, cursor.at
        else:
            attempt, at = text.attempt, text.valid_prefix(cursor.attempt, cursor.at)
            if at < cursor.at and at == text.length:
                # nothing new stands there yet, but what the client holds beyond it is void
                frames.append(Outgoing("delta", delta_bytes(generation, attempt, at, "")))
                self.texts[generation] = TextCursor(attempt=attempt, at=at)
        room = _BATCH_BYTES
        while at < text.length:
            if room <= 0:
                return False
            piece = text.read(at, _DELTA_CHARS)
            frames.append(Outgoing("delta", delta_bytes(generation, attempt, at, piece)))
            room -= len(piece) * 2
            at += len(piece)
            self.texts[generation] = TextCursor(attempt=attempt, at=at)
        return True

    def states(self, channel: Channel, now_ms: int) -> list[Outgoing]:
        """A `generation.state` for every running generation; for clients that just arrived."""
        frames = []
        for live in channel.running():
            if self.only is not None and live.state.generation != self.only.generation:
                continue
            state = msgspec.structs.replace(
                live.state,
                length=live.text.length,
                elapsed_ms=max(0, now_ms - live.started_ms) if live.started_ms else 0,
            )
            frames.append(Outgoing("generation.state", encode(state)))
        return frames

    def present(self, texts: dict[str, TextCursor] | None) -> None:
        """Take the cursors a client presents; without any, everything is sent from the start."""
        self.texts = dict(texts or {})

    def restart(self, head: Position) -> None:
        """Begin again at the head of another epoch, texts from their start."""
        self.epoch, self.offset = head
        self.texts.clear()

    def _ended_by(self, entry: LogEntry, channel: Channel) -> LiveText | None:
        for live in channel.texts.values():
            if live.ended == entry.offset:
                return live
        return None
