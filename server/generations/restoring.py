"""A generation's state as the store holds it, made again from what its owner knows.

Sans-I/O. For a store that lost it.
"""

from __future__ import annotations

from server.generations.attempts import encode_note
from server.generations.machine import Machine
from server.generations.order import GenerationOrder, encode_plan
from server.generations.sealed import SealedEnd, encode_end
from server.generations.store import GenerationRecord


def running_state(
    order: GenerationOrder,
    machine: Machine,
    *,
    owner: str,
    attempt: int,
    text: str,
    stop: bool,
    started_ms: int,
    estimated_response_ms: int,
    deadline_ms: int,
) -> GenerationRecord:
    """A running one: `attempt` is the last one announced, `text` what was written or is about to be."""
    begins = machine.begins
    return GenerationRecord(
        user=order.user,
        generation=order.generation,
        conversation=order.conversation,
        message=order.message,
        reply_to=order.reply_to,
        model=machine.model,
        is_free_model=machine.model in order.plan.free,
        estimated_response_ms=estimated_response_ms,
        owner=owner,
        attempt=attempt,
        status="running",
        stop=stop,
        plan=encode_plan(order.plan),
        notes=tuple(encode_note(note) for note in machine.notes),
        record=b"",
        persisted=False,
        started_ms=started_ms,
        deadline_ms=deadline_ms,
        text_attempt=max((each for each, _ in begins), default=0),
        begins=begins,
        length=len(text),
        text=text,
        losses=0,
    )


def sealed_state(end: SealedEnd, *, owner: str) -> GenerationRecord:
    """A sealed generation's state, from its record."""
    finished = end.finished
    begins = tuple((each.attempt, each.start) for each in finished.segments if each.start < each.to)
    text = (finished.message.content if finished.message else None) or ""
    return GenerationRecord(
        user=end.user,
        generation=end.generation,
        conversation=end.conversation,
        message=end.message,
        reply_to=end.reply_to,
        model=finished.model,
        is_free_model=end.is_free_model,
        estimated_response_ms=0,
        owner=owner,
        attempt=max((each.attempt for each in finished.segments), default=1),
        status="sealed",
        stop=False,
        plan=b"{}",  # nothing goes on from a sealed one
        notes=(),
        record=encode_end(end),
        persisted=False,
        started_ms=end.finished_ms - finished.processing_time_ms,
        deadline_ms=end.finished_ms,
        text_attempt=max((attempt for attempt, _ in begins), default=0),
        begins=begins,
        length=finished.length,
        text=text,
        losses=0,
    )
