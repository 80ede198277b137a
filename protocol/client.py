"""What a client knows of its channel: the reference for everybody who writes one.

Sans-I/O. Feed every server frame to `ChannelView.apply`; after a break, send `resume_point()` in `hello`.
It keeps the two rules of the wire (README, "The idea"): facts by position, texts by
`text = text[:at] + delta.text`.
"""

from __future__ import annotations

from protocol.frames import (
    Delta,
    Event,
    Frame,
    GenerationFinished,
    GenerationStarted,
    GenerationState,
    GenerationSwitched,
    Reset,
    ResumePoint,
    Synced,
    TextCursor,
    Welcome,
)
from protocol.position import Position


class GrowingText:
    """A text that deltas change; `length` counts code points, `attempt` is whose text it is.

    One joined late holds nothing before `start`, and its `length` counts from the real beginning.
    """

    __slots__ = ("_parts", "_start", "attempt", "length")

    def __init__(self, start: int = 0) -> None:
        self.attempt = 0
        self.length = start
        self._start = start
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        """The text as it is now."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def apply(self, delta: Delta) -> bool:
        """Apply the one rule; `False`, and nothing changed, if the delta begins beyond the text."""
        if delta.attempt < self.attempt:
            return True  # of an attempt that was given up: it no longer counts
        if delta.at > self.length:
            return False
        if delta.at < self.length:
            self._parts = [self.text[: max(delta.at - self._start, 0)]]
        self._parts.append(delta.text)
        self.length = delta.at + len(delta.text)
        self.attempt = delta.attempt
        return True


class ChannelView:
    """A user's channel as one client sees it.

    Attributes:
        session: this session's id, once welcomed.
        position: the last event seen, as presented when resuming.
        texts: the growing text of every running generation, by generation.
        reasoning: reasoning texts, shown live only; one joined late begins where it was joined.
        running: the latest `generation.started` or `generation.state` of every running generation.
        finished: the end of every generation that ended, by generation.
        last_texts: the text held when the end came: equal to the message if every delta was received.
        events: every event applied, in order.
        synced: whether everything missed has been delivered since the last `welcome` or `reset`.
        needs_sync: a delta began beyond the text held: send `sync` with the texts of `resume_point()`.
        needs_resume: an event is missing: reconnect and present `resume_point()`.
        needs_refetch: the position was given up (`fresh`, `reset`): fetch what is shown by REST, then
            set it to `False`.
    """

    def __init__(self, *, contiguous: bool = True) -> None:
        """Begin with nothing.

        `contiguous=False` is for streams that hold one generation's events only, whose positions
        therefore have gaps.
        """
        self._contiguous = contiguous
        self._position: Position | None = None
        self._seen_since_welcome: set[str] = set()
        self._forget_unseen = False
        self.session: str | None = None
        self.texts: dict[str, GrowingText] = {}
        self.reasoning: dict[str, GrowingText] = {}
        self.running: dict[str, GenerationStarted | GenerationState] = {}
        self.finished: dict[str, GenerationFinished] = {}
        self.last_texts: dict[str, GrowingText] = {}
        self.events: list[Event] = []
        self.synced = False
        self.needs_sync = False
        self.needs_resume = False
        self.needs_refetch = False

    @property
    def position(self) -> str | None:
        """The last event seen, `"<epoch>:<offset>"`."""
        return None if self._position is None else str(self._position)

    def apply(self, frame: Frame | None) -> bool:
        """Take in a frame; whether it changed what is known. `None` (an unknown type) changes nothing."""
        match frame:
            case Delta():
                return self._delta(frame)
            case Welcome():
                return self._welcome(frame)
            case Reset():
                self._begin_again(frame.position)
                return True
            case Synced():
                return self._synced(frame)
            case GenerationState():
                return self._state(frame)
            case Event():
                return self._event(frame)
            case _:
                return False

    def text(self, generation: str) -> str:
        """The best text known: the finished message's, else what has been received."""
        end = self.finished.get(generation)
        if end is not None and end.message is not None and end.message.content is not None:
            return end.message.content
        held = self.texts.get(generation) or self.last_texts.get(generation)
        return "" if held is None else held.text

    def resume_point(self) -> ResumePoint:
        """What to present in `hello`, on any node, to go on exactly here."""
        texts = {
            generation: TextCursor(attempt=held.attempt, at=held.length)
            for generation, held in self.texts.items()
            if held.length
        }
        return ResumePoint(session=self.session, position=self.position, texts=texts or None)

    def forget(self, generation: str) -> None:
        """Drop what is kept of a generation that ended, for clients that live long."""
        self.finished.pop(generation, None)
        self.last_texts.pop(generation, None)

    # --- the rules ---------------------------------------------------------------------------

    def _welcome(self, frame: Welcome) -> bool:
        self.session = frame.session
        self.needs_resume = False
        if frame.resume in ("fresh", "reset"):
            self._begin_again(frame.position)
        else:
            # `live`: it is the position presented. `replay`: the events in between follow first.
            self.synced = False
            self.needs_sync = False
            self._seen_since_welcome = set()
        return True

    def _begin_again(self, position: str) -> None:
        """Another epoch, or the first: running texts come whole, from 0, and REST has the rest."""
        self._position = Position.parse(position)
        self.synced = False
        self.needs_sync = False
        self.needs_refetch = True
        self._seen_since_welcome = set()
        self._forget_unseen = True
        for held in self.texts.values():
            held.attempt = 0  # what is shown stays until its snapshot comes, whoever sends it

    def _synced(self, frame: Synced) -> bool:
        self.synced = True
        self.needs_sync = False
        if self._forget_unseen:
            # Generations that were running before and are not announced now ended unseen.
            for generation in set(self.texts) | set(self.running):
                if generation not in self._seen_since_welcome:
                    self._drop(generation)
            self._forget_unseen = False
        told = Position.parse(frame.position)
        if self._position is None:
            self._position = told
        elif told is not None and told != self._position and self._contiguous:
            self.needs_resume = True
        return True

    def _state(self, frame: GenerationState) -> bool:
        if frame.generation in self.finished:
            return False
        self._seen_since_welcome.add(frame.generation)
        self.running[frame.generation] = frame
        return True

    def _delta(self, frame: Delta) -> bool:
        if frame.generation in self.finished:
            return False
        if frame.kind == "reasoning":
            held = self.reasoning.setdefault(frame.generation, GrowingText())
            if frame.attempt < held.attempt:
                return False
            if frame.attempt > held.attempt or frame.at > held.length:
                # never replayed, so it begins where it was joined
                held = self.reasoning[frame.generation] = GrowingText(frame.at)
            held.apply(frame)
            return True
        held = self.texts.setdefault(frame.generation, GrowingText())
        if held.apply(frame):
            return True
        self.needs_sync = True
        return False

    def _event(self, frame: Event) -> bool:
        position = Position.parse(frame.position)
        if position is None or not self._is_next(position):
            return False
        self._position = position
        self.events.append(frame)
        match frame:
            case GenerationStarted():
                self._seen_since_welcome.add(frame.generation)
                # A state says more than the start it may have come before.
                self.running.setdefault(frame.generation, frame)
                self.texts.setdefault(frame.generation, GrowingText())
            case GenerationSwitched():
                # Only announces: the text, and whose it is, change with the attempt's first delta.
                pass
            case GenerationFinished():
                self.finished[frame.generation] = frame
                self.last_texts[frame.generation] = self.texts.get(frame.generation) or GrowingText()
                self._drop(frame.generation)
            case _:
                pass
        return True

    def _is_next(self, position: Position) -> bool:
        """Whether an event is the next one: not one seen before, and none missing before it."""
        held = self._position
        if held is None:
            return True
        if position.epoch == held.epoch and position.offset <= held.offset:
            return False
        if self._contiguous and position != (held.epoch, held.offset + 1):
            self.needs_resume = True
            return False
        return True

    def _drop(self, generation: str) -> None:
        for known in (self.texts, self.reasoning, self.running):
            known.pop(generation, None)
