"""One user's channel as this node knows it.

Sans-I/O. A copy of the head, of the newest events and of the running texts, kept by arrivals and mended
by snapshots. It owns no cursor: readers do, and ask for what lies behind theirs. An arrival that does not
fit (a hole, another epoch) changes nothing and makes the channel stale; the hub then reads the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from protocol.frames import GenerationStarted, GenerationState
from protocol.position import Position
from server.channels.broker import (
    Arrival,
    EventArrived,
    FrameArrived,
    LogEntry,
    Replaced,
    RunningGeneration,
    Snapshot,
    TextArrived,
)
from server.channels.events import Finished, Switched, read_finished, read_started, read_switched
from server.channels.text import GrowingText

_KEPT_ENTRIES = 256
_KEPT_BYTES = 64 * 1024


def kind_of(body: bytes) -> str:
    """The `type` of a frame, which the codec puts first."""
    return body[9 : body.index(b'"', 9)].decode()


class Reader(Protocol):
    """Somebody who reads the channel: a session, a turn's stream, a waiting POST.

    Calls come from the node's listener and must return at once.
    """

    offset: int

    def wake(self) -> None:
        """Something the reader may want has arrived."""
        ...

    def show(self, body: bytes) -> None:
        """An ephemeral frame, whole. May be dropped."""
        ...

    def revoked(self) -> None:
        """The user's tokens are no longer valid."""
        ...

    def replaced(self, session: str) -> None:
        """This session has lost its place to another one."""
        ...


@dataclass(slots=True)
class LiveText:
    """A generation's text and what `generation.state` says of it.

    `started_ms` is by this node's clock. `ended` is the offset of its `generation.finished` once that has
    arrived. `doubted`: the text is of an epoch that was lost, and the store may have less of it, or another.
    """

    state: GenerationState
    started_ms: int
    text: GrowingText
    ended: int | None = None
    doubted: bool = False


class Channel:
    """The log's newest part, the running texts and the readers of one user.

    `wall_ms` is this node's clock in milliseconds.
    """

    __slots__ = (
        "_bytes",
        "buffered",
        "entries",
        "epoch",
        "offset",
        "quiet_since",
        "readers",
        "stale",
        "texts",
        "user",
        "wall_ms",
    )

    def __init__(self, user: str, wall_ms: Callable[[], int]) -> None:
        self.user = user
        self.epoch = ""
        self.offset = 0
        self.entries: list[LogEntry] = []
        self.texts: dict[str, LiveText] = {}
        self.readers: set[Reader] = set()
        self.stale = True
        self.quiet_since = 0.0
        # arrivals while a snapshot is being read; applied after it
        self.buffered: list[Arrival] | None = None
        self._bytes = 0
        self.wall_ms = wall_ms

    @property
    def position(self) -> Position:
        """The head as known here."""
        return Position(self.epoch, self.offset)

    # --- arrivals ---------------------------------------------------------------------------

    def receive(self, arrival: Arrival, now: float) -> None:
        """Take what the subscription brought; `now` is monotonic seconds."""
        match arrival:
            case TextArrived() | EventArrived():
                # a notice says nothing of what may have been missed
                self.quiet_since = now
                if self.buffered is not None:
                    self.buffered.append(arrival)
                elif isinstance(arrival, TextArrived):
                    self._receive_text(arrival)
                else:
                    self._receive_event(arrival)
            case FrameArrived():
                for reader in self.readers:
                    reader.show(arrival.body)
            case Replaced(session=session):
                for reader in tuple(self.readers):
                    reader.replaced(session)
            case _:  # revoked
                for reader in tuple(self.readers):
                    reader.revoked()

    def _receive_text(self, arrival: TextArrived) -> None:
        live = self.texts.get(arrival.generation)
        if (
            live is not None
            # one of an attempt not announced: its `generation.switched` was missed and must come first
            and arrival.attempt <= live.state.attempt
            and live.text.append(arrival.attempt, arrival.previous, arrival.at, arrival.text)
        ):
            self._wake()
        else:
            self.stale = True

    def _receive_event(self, arrival: EventArrived) -> None:
        if arrival.epoch != self.epoch or arrival.offset > self.offset + 1:
            self.stale = True
        elif arrival.offset == self.offset + 1:
            self._take(LogEntry(arrival.offset, arrival.body), arrival.kind)
            self._wake()

    def _take(self, entry: LogEntry, kind: str) -> None:
        self.offset = entry.offset
        self.entries.append(entry)
        self._bytes += len(entry.body)
        while len(self.entries) > _KEPT_ENTRIES or (self._bytes > _KEPT_BYTES and len(self.entries) > 1):
            self._bytes -= len(self.entries.pop(0).body)
        if kind == "generation.started":
            self._begin(read_started(entry.body))
        elif kind == "generation.switched":
            self._switch(read_switched(entry.body))
        elif kind == "generation.finished":
            self._end(read_finished(entry.body), entry.offset)

    def _begin(self, event: GenerationStarted) -> None:
        if event.generation not in self.texts:
            state = GenerationState(
                generation=event.generation,
                conversation=event.conversation,
                message=event.message,
                reply_to=event.reply_to,
                model=event.model,
                attempt=event.attempt,
                estimated_response_ms=event.estimated_response_ms,
                is_free_model=event.is_free_model,
                length=0,
                elapsed_ms=0,
            )
            self.texts[event.generation] = LiveText(state, self.wall_ms(), GrowingText())

    def _switch(self, event: Switched) -> None:
        live = self.texts.get(event.generation)
        if live is not None and event.attempt > live.state.attempt:
            live.state = msgspec.structs.replace(live.state, attempt=event.attempt, model=event.to_model)

    def _end(self, event: Finished, offset: int) -> None:
        live = self.texts.get(event.generation)
        if live is None:
            return
        live.ended = offset
        content = (event.message.content if event.message else None) or ""
        if event.length == len(content) and live.text.whole() != content:
            # an append was lost on the way; the end holds the whole text
            begins = tuple((s.attempt, s.start) for s in event.segments if s.to > s.start)
            last = max((attempt for attempt, _ in begins), default=0)
            live.text = GrowingText(max(last, live.text.attempt), begins, content)

    # --- snapshots --------------------------------------------------------------------------

    def begin_epoch(self, at: Position) -> None:
        """Begin at a place in another epoch; readers see that theirs is not it any more."""
        self.epoch, self.offset = at
        self.entries.clear()
        self._bytes = 0
        # an end of the old epoch is none of the new one; what runs goes on
        self.texts = {name: live for name, live in self.texts.items() if live.ended is None}
        for live in self.texts.values():
            live.doubted = True

    def fill(self, entries: Iterable[LogEntry]) -> None:
        """Append what was missing from the log."""
        for entry in entries:
            if entry.offset == self.offset + 1:
                self._take(entry, kind_of(entry.body))

    def skip_to(self, offset: int) -> None:
        """Give up on entries the log no longer has."""
        if offset > self.offset:
            self.entries.clear()
            self._bytes = 0
            self.offset = offset

    def merge(self, snapshot: Snapshot, clock_offset_ms: int) -> None:
        """Take the running generations as the store has them; goes back only where an epoch was lost.

        The log is at the snapshot's head. `clock_offset_ms` is the store's clock minus this node's.
        """
        running = {each.generation: each for each in snapshot.running}
        for each in running.values():
            live = self.texts.get(each.generation)
            if live is None or (live.doubted and not live.text.extends(each.text_attempt, each.text)):
                self.texts[each.generation] = LiveText(
                    _state_of(each),
                    each.started_ms - clock_offset_ms,
                    GrowingText(each.text_attempt, each.begins, each.text),
                )
                continue
            live.started_ms = each.started_ms - clock_offset_ms
            if each.attempt >= live.state.attempt:
                live.state = _state_of(each)
            if live.text.is_older_than(each.text_attempt, each.length):
                live.text = GrowingText(each.text_attempt, each.begins, each.text)
            live.doubted = False
        for generation, live in list(self.texts.items()):
            # ended while nobody looked, and its end is beyond the log's window
            if generation not in running and live.ended is None:
                del self.texts[generation]
        self._wake()

    # --- reading ----------------------------------------------------------------------------

    def after(self, offset: int) -> list[LogEntry] | None:
        """Entries after `offset`, or `None` where memory does not reach back that far."""
        if offset >= self.offset:
            return []
        if not self.entries or self.entries[0].offset > offset + 1:
            return None
        return [entry for entry in self.entries if entry.offset > offset]

    def running(self) -> list[LiveText]:
        """Texts whose end has not arrived."""
        return [live for live in self.texts.values() if live.ended is None]

    def forget_delivered(self) -> None:
        """Drop what every reader has behind it: memory is for those who lag."""
        low = min((reader.offset for reader in self.readers), default=self.offset)
        while self.entries and self.entries[0].offset <= low:
            self._bytes -= len(self.entries.pop(0).body)
        for generation, live in list(self.texts.items()):
            if live.ended is not None and live.ended <= low:
                del self.texts[generation]

    def _wake(self) -> None:
        for reader in self.readers:
            reader.wake()


def _state_of(each: RunningGeneration) -> GenerationState:
    return GenerationState(
        generation=each.generation,
        conversation=each.conversation,
        message=each.message,
        reply_to=each.reply_to,
        model=each.model,
        attempt=each.attempt,
        estimated_response_ms=each.estimated_response_ms,
        is_free_model=each.is_free_model,
        length=each.length,
        elapsed_ms=0,
    )
