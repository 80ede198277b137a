"""A user's channel as the store tells it: what happens is published, and can be read back at any moment.

Sans-I/O. A plain second telling of what the broker port promises, for properties that lose, repeat and delay
what was published. What happens gives arrivals; whether anybody hears them is the test's affair.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from protocol.codec import encode
from protocol.codes import ErrorCode
from protocol.frames import (
    Event,
    Failure,
    GenerationFinished,
    GenerationStarted,
    GenerationSwitched,
    Message,
    Segment,
    Usage,
    UsageSettled,
    type_of,
)
from protocol.position import Position
from server.channels.broker import Arrival, EventArrived, LogEntry, RunningGeneration, Snapshot, TextArrived

USER = "0b6f7a40-0000-4000-8000-00000000feed"
NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0, cost="0", state="settled")


def an_id(number: int) -> str:
    """A UUID that counts."""
    return f"00000000-0000-4000-8000-{number:012d}"


@dataclass
class Told:
    """A generation as the store knows it. `owners` has the attempt that wrote each code point."""

    generation: str
    attempt: int = 1
    text_attempt: int = 0
    text: str = ""
    begins: list[tuple[int, int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    lost: int = 0  # code points the store has lost and the owner has not written again
    gone: bool = False  # the store has lost all of it, until the owner writes it again

    @property
    def segments(self) -> list[Segment]:
        """Whose code points the text's are."""
        found = []
        for attempt in range(1, self.attempt + 1):
            places = [at for at, owner in enumerate(self.owners) if owner == attempt]
            start, to = (places[0], places[-1] + 1) if places else (0, 0)
            found.append(
                Segment(
                    attempt=attempt,
                    model=f"m/{attempt}",
                    served_model=None,
                    start=start,
                    to=to,
                    usage=NO_USAGE,
                )
            )
        return found

    def append(self, text: str, *, at: int | None = None) -> tuple[int, int]:
        """It grows; an attempt's first text may begin `at` a lower place. The attempt before, and the place."""
        first = self.text_attempt != self.attempt
        place = min(at, len(self.text)) if at is not None and first else len(self.text)
        previous = self.text_attempt
        if first:
            self.begins.append((self.attempt, place))
            self.text_attempt = self.attempt
        self.text = self.text[:place] + text
        self.owners = self.owners[:place] + [self.attempt] * len(text)
        return previous, place

    def started(self) -> GenerationStarted:
        """The event of its start."""
        return GenerationStarted(
            generation=self.generation,
            conversation=an_id(900),
            message=an_id(901),
            reply_to=an_id(902),
            model="m/1",
            attempt=1,
            estimated_response_ms=1000,
            is_free_model=True,
        )

    def switched(self) -> GenerationSwitched:
        """The event of its present attempt."""
        return GenerationSwitched(
            generation=self.generation,
            attempt=self.attempt,
            from_model=f"m/{self.attempt - 1}",
            to_model=f"m/{self.attempt}",
            cause="stall_timeout",
            mode="continue",
            keep=len(self.text),
        )

    def finished(self) -> GenerationFinished:
        """The event of its end."""
        message = Message(
            id=an_id(901),
            sender_type="assistant",
            content=self.text,
            content_type="text",
            parent_message_id=an_id(902),
            created_at="2026-01-01T00:00:00.000Z",
            metadata={},
        )
        return GenerationFinished(
            generation=self.generation,
            conversation=an_id(900),
            status="completed" if self.text else "failed",
            finish_reason="stop" if self.text else None,
            message=message if self.text else None,
            usage=NO_USAGE,
            model=f"m/{self.attempt}",
            served_model=None,
            segments=self.segments,
            length=len(self.text),
            sha256=hashlib.sha256(self.text.encode()).hexdigest(),
            processing_time_ms=1,
            persisted=True,
            error=None if self.text else Failure(code=ErrorCode.ALL_MODELS_FAILED, message="none"),
        )


class Story:
    """The log, the texts, and what is published of them."""

    def __init__(self, user: str = USER) -> None:
        self.user = user
        self.epoch = "e0"
        self.log: list[LogEntry] = []
        self.oldest = 1
        self.running: dict[str, Told] = {}
        self.ended: dict[str, Told] = {}
        self.facts: list[bytes] = []  # of all epochs
        self._count = 0

    @property
    def head(self) -> Position:
        """Of the log."""
        return Position(self.epoch, len(self.log))

    # --- what happens --------------------------------------------------------------------------

    def start(self) -> tuple[str, list[Arrival]]:
        """A generation begins."""
        self._count += 1
        told = Told(an_id(self._count))
        self.running[told.generation] = told
        return told.generation, [self._publish(told.started(), told.generation)]

    def append(self, generation: str, text: str, *, at: int | None = None) -> list[Arrival]:
        """Its text grows; an attempt's first text may begin `at` a lower place, where the text is cut."""
        told = self._restored(generation)
        previous, place = told.append(text, at=at)
        return [TextArrived(self.user, generation, told.attempt, previous, place, len(told.text), text)]

    def switch(self, generation: str) -> list[Arrival]:
        """Another attempt is announced."""
        told = self._restored(generation)
        told.attempt += 1
        return [self._publish(told.switched(), generation)]

    def finish(self, generation: str) -> list[Arrival]:
        """It ends with the text it has."""
        told = self._restored(generation)
        del self.running[generation]
        self.ended[generation] = told
        return [self._publish(told.finished(), generation)]

    def settle(self, generation: str) -> list[Arrival]:
        """An event that changes no text."""
        return [self._publish(UsageSettled(generation=generation, usage=NO_USAGE), "")]

    def forget(self, keep: int) -> None:
        """The log's window moves on: only the newest `keep` events stay."""
        self.oldest = max(self.oldest, len(self.log) - keep + 1)

    def lose_epoch(self, *, tail: int, all_texts: bool) -> None:
        """The store restarts: the log is gone, and the texts' tails, or the texts."""
        self.epoch = f"e{int(self.epoch[1:]) + 1}"
        self.log, self.oldest = [], 1
        for told in self.running.values():
            told.lost = min(len(told.text), max(told.lost, tail))
            told.gone = told.gone or all_texts

    def begin_again(self, generation: str) -> list[Arrival]:
        """A generation whose owner and whose state were lost begins once more, from nothing."""
        told = self.running[generation] = Told(generation)
        return [self._publish(told.started(), generation)]

    # --- what can be read ----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The channel now."""
        running = tuple(self._as_running(told) for told in self.running.values() if not told.gone)
        oldest = self.oldest if self.oldest <= len(self.log) else None
        return Snapshot(self.head, oldest, running, now_ms=5_000)

    def read_log(self, after: Position, *, limit: int = 3) -> list[LogEntry] | None:
        """A page of at most `limit` entries, or `None` where there would be a hole."""
        if after.epoch != self.epoch or after.offset > len(self.log) or after.offset + 1 < self.oldest:
            return None
        return self.log[after.offset : after.offset + limit]

    # --- parts ---------------------------------------------------------------------------------

    def _restored(self, generation: str) -> Told:
        told = self.running[generation]
        told.lost, told.gone = 0, False
        return told

    def _as_running(self, told: Told) -> RunningGeneration:
        length = len(told.text) - told.lost
        begins = tuple((attempt, at) for attempt, at in told.begins if at <= length)
        return RunningGeneration(
            generation=told.generation,
            conversation=an_id(900),
            message=an_id(901),
            reply_to=an_id(902),
            model=f"m/{told.attempt}",
            attempt=told.attempt,
            estimated_response_ms=1000,
            is_free_model=True,
            started_ms=1_000,
            text_attempt=begins[-1][0] if begins else 0,
            begins=begins,
            length=length,
            text=told.text[:length],
        )

    def _publish(self, event: Event, generation: str) -> EventArrived:
        body = encode(event)
        self.log.append(LogEntry(len(self.log) + 1, body))
        self.facts.append(body)
        return EventArrived(self.user, self.epoch, len(self.log), type_of(event), generation, body)
