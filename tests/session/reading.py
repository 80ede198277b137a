"""A client on a channel's cursors, without a connection: what it was sent is recorded and held.

Sans-I/O. It does with `Cursors` what the pump does, and can be cut between any two frames.
"""

from __future__ import annotations

import json

from protocol.codec import encode
from protocol.frames import Frame as WireFrame
from protocol.frames import Limits, Reset, Synced, TextCursor, Welcome, type_of
from protocol.position import Position
from server.channels.broker import LogEntry
from server.channels.channel import Channel
from server.session.cursors import Batch, Cursors, Need, Outgoing
from server.session.resume import continue_from
from tests.channels.story import Story
from tests.oracle_wire import Violation, check_ends, check_log, check_texts
from tests.scripted.held import Held
from tests.scripted.recording import Frame, Recorded, Recording

_LIMITS = Limits(max_frame_bytes=65536, max_message_length=4000, max_sessions=10, max_generations=3)


class ReaderThatIsCut:
    """A client. `cuts` frames from now its connection ends, and what was sent after that never arrives."""

    def __init__(self, story: Story, channel: Channel) -> None:
        self.story = story
        self.channel = channel
        self.held = Held()
        self.recording = Recording(story.user)
        self.cursors: Cursors | None = None
        self.cuts: int | None = None
        self._connection = 0

    # --- a reader of the channel ---------------------------------------------------------------

    @property
    def offset(self) -> int:
        """The cursor in the log."""
        return self.cursors.offset if self.cursors else 0

    @offset.setter
    def offset(self, value: int) -> None:
        """Only it moves its cursor."""

    def wake(self) -> None:
        """It looks by itself."""

    def show(self, body: bytes) -> None:
        """Notices are not looked at."""

    def revoked(self) -> None:
        """There are no tokens."""

    def replaced(self, session: str) -> None:
        """There are no places."""

    # --- what the pump does --------------------------------------------------------------------

    def connect(self) -> None:
        """Present what is held, and be brought up to date."""
        self._connection += 1
        presented = self.held.resume()
        self.recording.presented[self._connection] = presented
        snapshot = self.story.snapshot()
        where = continue_from(presented.get("position"), snapshot)
        cursors = self.cursors = Cursors(*where.held)
        if where.resume in {"live", "replay"}:
            cursors.present({g: TextCursor(**c) for g, c in presented["texts"].items()})
        welcome = Welcome(
            protocol=1,
            session=f"s{self._connection}",
            user=self.story.user,
            resume=where.resume,
            position=str(snapshot.head),
            heartbeat_ms=25_000,
            token_expires_at="2030-01-01T00:00:00.000Z",
            limits=_LIMITS,
        )
        self._tell(welcome)
        self._replay()
        self._states()

    def read(self) -> None:
        """Take what the channel has."""
        while self.cursors is not None:
            batch = self.cursors.collect(self.channel)
            if batch is Need.RESET:
                self._reset()
            elif batch is Need.LOG:
                self._replay()
            else:
                self._send(batch.frames)
                if not batch.full:
                    return

    def _replay(self) -> None:
        while self.cursors is not None and self.cursors.offset < self.channel.offset:
            page = self.channel.after(self.cursors.offset) or self._page()
            if not page:
                self._reset()
                return
            batch = Batch()
            self.cursors.take(page, self.channel, batch)
            self._send(batch.frames)

    def _page(self) -> list[LogEntry] | None:
        assert self.cursors is not None
        return self.story.read_log(Position(self.cursors.epoch, self.cursors.offset))

    def _reset(self) -> None:
        if self.cursors is not None:
            another = self.cursors.epoch != self.channel.epoch
            first = Position(self.channel.epoch, 0)
            begin = first if another and self.story.read_log(first) is not None else self.channel.position
            self.cursors.restart(begin)
            self._tell(Reset(position=str(begin)))
            self._replay()
            self._states()

    def _states(self) -> None:
        for live in self.channel.running():
            if self.cursors is not None:
                self.cursors.told.pop(live.state.generation, None)
            full = True
            while full and self.cursors is not None:
                batch = Batch()
                full = not self.cursors.take_text(live, self.channel, batch)
                self._send(batch.frames)
        if self.cursors is not None:
            self.cursors.forget(self.channel)
            self._tell(Synced(position=str(Position(self.cursors.epoch, self.cursors.offset))))

    def _tell(self, frame: WireFrame) -> None:
        self._send([Outgoing(type_of(frame), encode(frame))])

    def _send(self, frames: list[Outgoing]) -> None:
        for outgoing in frames:
            if self.cursors is None:
                return
            if self.cuts is not None:
                self.cuts -= 1
                if self.cuts < 0:
                    self.cursors, self.cuts = None, None
                    return
            frame: Frame = json.loads(outgoing.body)
            assert frame["type"] == outgoing.kind
            self.recording.heard.append(Recorded(self._connection, frame, 0.0))
            self.held.take(frame)

    # --- what became of it ---------------------------------------------------------------------

    def text(self, generation: str) -> str:
        """The text it shows of a running generation."""
        held = self.held.texts.get(generation)
        return held.text if held else ""

    def facts(self) -> list[Frame]:
        """The events it was sent, without their positions."""
        kinds = {"welcome", "synced", "reset", "delta", "generation.state"}
        frames = [entry.frame for entry in self.recording.heard if entry.frame["type"] not in kinds]
        return [{name: value for name, value in frame.items() if name != "position"} for frame in frames]

    def violations(self, *, resets: int | None = 0) -> list[Violation]:
        """What the oracle finds in the recording."""
        ends = [v for v in check_ends(self.recording) if resets == 0 or v.what != "finished twice"]
        return [*check_log(self.recording, resets), *check_texts(self.recording), *ends]
