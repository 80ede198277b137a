"""The answer so far and who wrote which part of it.

Sans-I/O. `Answer` is the text as a machine has asked for it to be appended, with an account of every attempt.
An attempt's text is code points `[start, to)`. An attempt begins where its first text goes; if that is
below the length, it cuts there, and what earlier attempts had beyond is no longer theirs. So the spans
cover the text in order, and an attempt of which nothing remains has an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from server.generations.effects import AttemptNote
from server.generations.upstream import FailureKind, UsageReported

_UNREACHED = frozenset({FailureKind.CONNECT_TIMEOUT, FailureKind.CONNECT_REFUSED})
_notes = msgspec.json.Decoder(AttemptNote)


def encode_note(note: AttemptNote) -> bytes:
    """A note as the store keeps it; costs are decimal strings."""
    return msgspec.json.encode(note)


def decode_note(raw: bytes) -> AttemptNote:
    """Read a note again.

    Raises:
        msgspec.DecodeError: it is no note.
    """
    return _notes.decode(raw)


@dataclass(slots=True)
class Draft:
    """An attempt while it runs. `begun`: its first text has been put, so `start` is fixed.

    `unshown` counts characters received and not put: overlap, preamble, text that was held when it ended.
    """

    attempt: int
    model: str
    start: int
    to: int
    begun: bool = False
    opened: bool = False
    sent: bool = False
    served_model: str | None = None
    generation_id: str | None = None
    key: str | None = None
    usage: UsageReported | None = None
    failure: str | None = None
    unreached: bool = False
    refused: bool = False
    prompt_tokens: int = 0
    unshown: int = 0
    finish: str | None = None

    def fail(self, failure: str, status: int | None) -> None:
        """It ended by `failure`; a status before the headers of a stream means the model never got it."""
        self.failure = failure
        self.unreached = failure in _UNREACHED
        self.refused = status is not None and not self.opened

    def note(self, chars: int) -> AttemptNote:
        """What is known of it; `chars` is all text received, shown or not."""
        return AttemptNote(
            attempt=self.attempt,
            model=self.model,
            start=self.start,
            to=self.to,
            served_model=self.served_model,
            generation_id=self.generation_id,
            key=self.key,
            reached=self.opened or (self.sent and not self.unreached),
            refused=self.refused,
            usage=self.usage,
            failure=self.failure,
            prompt_tokens_estimate=self.prompt_tokens,
            completion_chars=chars,
            finish=self.finish,
        )


class Answer:
    """The text and its attempts. Lengths are code points; appending costs the same however long it is."""

    def __init__(self, text: str = "", notes: Sequence[AttemptNote] = ()) -> None:
        self.pieces = [text] if text else []
        self.length = len(text)
        self._closed = list(notes)
        self._draft: Draft | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @property
    def draft(self) -> Draft:
        """The present attempt."""
        assert self._draft is not None
        return self._draft

    @property
    def is_open(self) -> bool:
        """Whether an attempt is open; a successor's answer has none until it makes one."""
        return self._draft is not None

    @property
    def notes(self) -> tuple[AttemptNote, ...]:
        """One note per attempt, in order; the present one as far as it is."""
        if self._draft is None:
            return tuple(self._closed)
        return (*self._closed, self.present)

    @property
    def present(self) -> AttemptNote:
        """The note of the present attempt."""
        draft = self.draft
        draft.to = self.length
        if not draft.begun:
            draft.start = self.length
        return draft.note(draft.unshown + draft.to - draft.start)

    @property
    def begins(self) -> tuple[tuple[int, int], ...]:
        """`(attempt, at)` of every attempt some of whose text remains, by attempt."""
        return tuple((note.attempt, note.start) for note in self.notes if note.start < note.to)

    def open(self, attempt: int, model: str) -> None:
        """Another attempt begins; the one before, if any, is closed as it stands."""
        if self._draft is not None:
            self._closed.append(self.present)
        self._draft = Draft(attempt, model, self.length, self.length)

    def withdraw(self, attempt: int) -> None:
        """This attempt and those behind it never were, nor said anything; the one before it is over."""
        self._closed = [note for note in self._closed if note.attempt < attempt]
        self._draft = None

    def put(self, at: int, text: str) -> None:
        """The present attempt's first text, at or below the length."""
        draft = self.draft
        if at < self.length:
            kept = self.text[:at]
            self.pieces = [kept] if kept else []
            self._closed = [
                replace(note, start=min(note.start, at), to=min(note.to, at)) for note in self._closed
            ]
        self.pieces.append(text)
        self.length = at + len(text)
        draft.start = at
        draft.begun = True


def inherited(
    text: str,
    attempt: int,
    model: str,
    notes: Sequence[AttemptNote],
    begins: Sequence[tuple[int, int]],
    failure: str,
) -> list[AttemptNote]:
    """The notes of attempts 1 to `attempt` as a successor finds them, the last one ended by `failure`.

    What the dead owner noted may be older than the text, so the spans come from the store's `begins`, and a
    finish counts only if it was noted at the length the text has. An attempt nobody noted may have reached
    its model: it counts as such.
    """
    held = {note.attempt: note for note in notes if note.attempt <= attempt}
    begun = dict(begins)
    account: list[AttemptNote] = []
    edge = len(text)
    for number in range(attempt, 0, -1):
        note = held.get(number) or AttemptNote(number, model, edge, edge, reached=True)
        start = min(begun.get(number, edge), edge) if number > 1 else 0
        chars = max(note.completion_chars, edge - start)
        account.append(replace(note, start=start, to=edge, completion_chars=chars))
        edge = start
    account.reverse()
    last = account[-1]
    if last.finish is not None and held[attempt].to != len(text):
        last = replace(last, finish=None)
    if last.failure is None and (last.finish is None or not text):
        # its owner is gone and cannot say what became of the call
        last = replace(last, failure=failure, reached=True)
    account[-1] = last
    return account
