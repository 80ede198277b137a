"""From the last effect of a generation to its sealed end: the message, the segments, the bills.

Sans-I/O. Everything any node needs to write the end down and to tell it is in the record, so that whoever
carries it out decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from protocol.codes import ErrorCode
from protocol.frames import Failure, GenerationFinished, Message, Segment, Usage, UsageState
from server.generations.effects import AttemptNote, End
from server.generations.order import GenerationOrder
from server.generations.sealed import AttemptBill, SealedEnd

_CHARS_PER_TOKEN = 4

_SENTENCES: dict[ErrorCode, str] = {
    ErrorCode.ALL_MODELS_FAILED: "No model could answer. Please try again in a moment.",
    ErrorCode.MODEL_UNAVAILABLE: "The model is not available at the moment.",
    ErrorCode.UPSTREAM_RATE_LIMITED: "The models are too busy at the moment. Please try again in a minute.",
    ErrorCode.CONTEXT_TOO_LONG: "The conversation is too long for the model.",
    ErrorCode.CONTENT_FILTERED: "The model refused to answer this.",
    ErrorCode.BUDGET_EXHAUSTED: "The service has no budget left for answers.",
    ErrorCode.GENERATION_TIMEOUT: "The answer took too long.",
    ErrorCode.NODE_LOST: "The answer was interrupted on our side. Please ask again.",
    ErrorCode.NOT_FOUND: "The conversation is gone.",
    ErrorCode.UNAVAILABLE: "The service cannot answer right now; try again in a moment.",
    ErrorCode.INTERNAL: "Something went wrong here.",
}


def build_end(
    order: GenerationOrder,
    end: End,
    *,
    text: str,
    model: str,
    elapsed_ms: int,
    now_ms: int,
    count: Callable[[str], int],
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> SealedEnd:
    """The sealed end.

    `count` estimates tokens where the upstream has not told them (yet). `beside` is noted in the message's
    metadata.
    """
    bills = tuple(_bill(order, note, text, elapsed_ms, count) for note in end.notes)
    segments = [_segment(note, bill) for note, bill in zip(end.notes, bills, strict=True)]
    last = end.notes[-1] if end.notes else None
    # where none was asked it is as free as those that should have been
    asked = [note for note in end.notes if note.reached and not note.refused] or end.notes
    free = bool(asked) and all(note.model in order.plan.free for note in asked)
    finished = GenerationFinished(
        generation=order.generation,
        conversation=order.conversation,
        status=end.status,
        finish_reason=end.finish_reason,
        message=_message(order, end, text, model, beside, free=free, now_ms=now_ms) if text else None,
        usage=total(segment.usage for segment in segments),
        model=last.model if last is not None else model,
        served_model=last.served_model if last is not None else None,
        segments=segments,
        length=len(text),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        processing_time_ms=elapsed_ms,
        persisted=True,
        error=Failure(code=end.code, message=failure_sentence(end.code)) if end.code is not None else None,
    )
    return SealedEnd(
        user=order.user,
        generation=order.generation,
        conversation=order.conversation,
        reply_to=order.reply_to,
        message=order.message,
        status=end.status,
        finished=finished,
        bills=bills,
        finished_ms=now_ms,
        is_free_model=free,
    )


def failure_sentence(code: ErrorCode) -> str:
    """What a user reads of a failure; nothing of the inside."""
    return _SENTENCES.get(code, _SENTENCES[ErrorCode.INTERNAL])


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of bills, as sure as the least sure of them."""
    prompt = completion = 0
    cost = Decimal(0)
    states: set[UsageState] = set()
    for usage in usages:
        prompt += usage.prompt_tokens
        completion += usage.completion_tokens
        cost += Decimal(usage.cost)
        states.add(usage.state)
    state: UsageState = (
        "unknown" if "unknown" in states else "estimated" if "estimated" in states else "settled"
    )
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cost=plain(cost),
        state=state,
    )


def plain(amount: Decimal) -> str:
    """An exact amount of at most twelve places, without exponent and trailing zeros."""
    text = format(amount.quantize(Decimal("1e-12")).normalize(), "f")
    return "0" if text in {"-0", "0"} else text


def _message(
    order: GenerationOrder,
    end: End,
    text: str,
    model: str,
    beside: Mapping[str, Any],
    *,
    free: bool,
    now_ms: int,
) -> Message:
    return Message(
        id=order.message,
        sender_type="assistant",
        content=text,
        content_type="text",
        parent_message_id=order.reply_to,
        created_at=_iso(now_ms),
        metadata={
            **beside,
            **({"static": True} if end.notes and end.notes[-1].model == order.plan.last_resort else {}),
            "model": model,
            "is_free_model": free,
            "status": end.status,
            "generation": order.generation,
        },
    )


def _bill(
    order: GenerationOrder, note: AttemptNote, text: str, elapsed_ms: int, count: Callable[[str], int]
) -> AttemptBill:
    state, prompt, completion, cost = _known(note, text, count)
    return AttemptBill(
        attempt=note.attempt,
        model=note.model,
        served_model=note.served_model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=plain(cost),
        state=state,
        is_free_model=note.model in order.plan.free,
        processing_time_ms=elapsed_ms,
        upstream_id=note.generation_id,
        key=note.key,
        reached=note.reached,
        failure=note.failure,
        due=state == "estimated",
    )


def _known(note: AttemptNote, text: str, count: Callable[[str], int]) -> tuple[UsageState, int, int, Decimal]:
    """How sure an attempt's bill is, its tokens, its cost.

    An upstream that was never reached, or refused, bills nothing. One that told no bill is asked for it
    later by the id it gave; without an id nobody ever can, and where no headers came there may be none: then
    nothing is made up.
    """
    if note.usage is not None:
        usage = note.usage
        return "settled", usage.prompt_tokens, usage.completion_tokens, usage.cost
    if note.refused or not note.reached:
        return "settled", 0, 0, Decimal(0)
    if note.key is None and not note.completion_chars:
        return "unknown", 0, 0, Decimal(0)
    shown = text[note.start : note.to]
    unshown = max(0, note.completion_chars - len(shown))
    completion = count(shown) + -(-unshown // _CHARS_PER_TOKEN)
    state: UsageState = "estimated" if note.generation_id is not None else "unknown"
    return state, note.prompt_tokens_estimate, completion, Decimal(0)


def _segment(note: AttemptNote, bill: AttemptBill) -> Segment:
    return Segment(
        attempt=note.attempt,
        model=note.model,
        served_model=note.served_model,
        start=note.start,
        to=note.to,
        usage=Usage(
            prompt_tokens=bill.prompt_tokens,
            completion_tokens=bill.completion_tokens,
            total_tokens=bill.prompt_tokens + bill.completion_tokens,
            cost=bill.cost,
            state="settled" if bill.state == "settled" else "estimated" if bill.due else "unknown",
        ),
    )


def _iso(ms: int) -> str:
    when = datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)
    return when.isoformat(timespec="milliseconds") + "Z"
