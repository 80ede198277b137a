"""Between what the store holds of a generation and the records of the ports.

Sans-I/O. The store knows strings only: a `reply_to` of nothing is empty, `begins` is `"1:0 2:57"`, notes are
fields `note:<attempt>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.position import Position
from server.channels.broker import ForeignValue, RunningGeneration
from server.generations.store import GenerationRecord, GenerationStart

_NOTE = b"note:"


def begins_of(text: bytes) -> tuple[tuple[int, int], ...]:
    """Read `begins`."""
    pairs = (pair.split(b":") for pair in text.split())
    return tuple((int(attempt), int(at)) for attempt, at in pairs)


def begins_text(begins: Sequence[tuple[int, int]]) -> str:
    """Write `begins`."""
    return " ".join(f"{attempt}:{at}" for attempt, at in begins)


def check_user(user: str, held: bytes | None) -> None:
    """A value read for `user` must say that it is theirs.

    Raises:
        ForeignValue
    """
    if held != user.encode():
        raise ForeignValue(f"a value read for {user} is another user's")


def running(user: str, row: Sequence[bytes]) -> RunningGeneration:
    """A generation as `snapshot.lua` gives it.

    Raises:
        ForeignValue
    """
    generation, text, owner_of, conversation, message, reply_to, model = row[:7]
    attempt, estimated, is_free, started, text_attempt, begins, length = row[7:]
    check_user(user, owner_of)
    return RunningGeneration(
        generation=generation.decode(),
        conversation=conversation.decode(),
        message=message.decode(),
        reply_to=reply_to.decode() or None,
        model=model.decode(),
        attempt=int(attempt),
        estimated_response_ms=int(estimated),
        is_free_model=is_free == b"1",
        started_ms=int(started),
        text_attempt=int(text_attempt),
        begins=begins_of(begins),
        length=int(length),
        text=text.decode(),
    )


def record(
    user: str, generation: str, held: Mapping[bytes, bytes], text: bytes, ended: bytes
) -> GenerationRecord:
    """A generation as `read_generation.lua` gives it; `ended` is empty or `"epoch offset"`.

    Raises:
        ForeignValue
    """
    check_user(user, held.get(b"user"))
    notes = sorted((int(name[len(_NOTE) :]), note) for name, note in held.items() if name.startswith(_NOTE))
    return GenerationRecord(
        user=user,
        generation=generation,
        conversation=held[b"conversation"].decode(),
        message=held[b"message"].decode(),
        reply_to=held[b"reply_to"].decode() or None,
        model=held[b"model"].decode(),
        is_free_model=held[b"is_free_model"] == b"1",
        estimated_response_ms=int(held[b"estimated_response_ms"]),
        owner=held[b"owner"].decode(),
        attempt=int(held[b"attempt"]),
        status=held[b"status"].decode(),
        stop=held[b"stop"] == b"1",
        plan=held[b"plan"],
        notes=tuple(note for _, note in notes),
        record=held[b"record"],
        persisted=held[b"persisted"] == b"1",
        started_ms=int(held[b"started_ms"]),
        deadline_ms=int(held[b"deadline_ms"]),
        text_attempt=int(held[b"text_attempt"]),
        begins=begins_of(held[b"begins"]),
        length=int(held[b"length"]),
        text=text.decode(),
        losses=int(held[b"losses"]),
        ended=_place(ended),
    )


def _place(mark: bytes) -> Position | None:
    epoch, _, offset = mark.decode().partition(" ")
    return Position(epoch, int(offset)) if offset else None


def start_fields(start: GenerationStart) -> list[str | bytes | int]:
    """The fields of a new generation, flat; its times are set by the store's clock."""
    return [
        *("user", start.user),
        *("conversation", start.conversation),
        *("message", start.message),
        *("reply_to", start.reply_to or ""),
        *("model", start.model),
        *("is_free_model", int(start.is_free_model)),
        *("estimated_response_ms", start.estimated_response_ms),
        *("owner", start.owner),
        *("plan", start.plan),
        *("attempt", 1),
        *("status", "running"),
        *("stop", 0),
        *("record", b""),
        *("persisted", 0),
        *("text_attempt", 0),
        *("begins", ""),
        *("length", 0),
        *("losses", 0),
    ]


def restore_fields(held: GenerationRecord) -> list[str | bytes | int]:
    """The fields of a generation restored from memory, flat, but those `restore.lua` compares.

    Notes are taken to be those of attempts 1, 2, 3 ... in order.
    """
    fields: list[str | bytes | int] = [
        *("user", held.user),
        *("conversation", held.conversation),
        *("message", held.message),
        *("reply_to", held.reply_to or ""),
        *("model", held.model),
        *("is_free_model", int(held.is_free_model)),
        *("estimated_response_ms", held.estimated_response_ms),
        *("plan", held.plan),
        *("stop", int(held.stop)),
        *("record", held.record),
        *("started_ms", held.started_ms),
        *("begins", begins_text(held.begins)),
        *("losses", held.losses),
    ]
    for attempt, note in enumerate(held.notes, start=1):
        fields += (f"note:{attempt}", note)
    return fields
