"""Sealed ends into the database's words, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from protocol.frames import GenerationFinished
from server.conversations.store import (
    ConversationStore,
    EndRecord,
    GenerationRow,
    MessageRow,
    NotFound,
    StoreUnavailable,
    UsageRow,
)
from server.conversations.tokens import estimate_text
from server.generations.order import EndUnavailable
from server.generations.sealed import AttemptBill, SealedEnd


class Ends:
    """Writes ends through the conversation store."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def write(self, end: SealedEnd) -> bool:
        """See `EndWriter.write`."""
        try:
            return await self._store.finish(record_of(end))
        except StoreUnavailable as error:
            raise EndUnavailable from error

    async def read(self, user: str, generation: str) -> SealedEnd | None:
        """See `EndWriter.read`."""
        try:
            row = await self._store.generation(user, generation)
        except NotFound:
            return None
        except StoreUnavailable as error:
            raise EndUnavailable from error
        return end_of(row)


def end_of(row: GenerationRow) -> SealedEnd | None:
    """The end in a row; `None` where it has none. What is owed for it is in rows of its own."""
    if row.finished is None or row.finished_at is None:
        return None
    finished = msgspec.convert(row.finished, GenerationFinished)
    return SealedEnd(
        user=row.user_id,
        generation=row.id,
        conversation=row.conversation_id,
        reply_to=row.reply_to,
        message=row.message_id,
        status=finished.status,
        finished=finished,
        bills=(),
        finished_ms=int(row.finished_at.timestamp() * 1000),
        is_free_model=bool(finished.message and (finished.message.metadata or {}).get("is_free_model")),
    )


def record_of(end: SealedEnd) -> EndRecord:
    """The record the database writes."""
    finished_at = datetime.fromtimestamp(end.finished_ms / 1000, UTC)
    answer = end.finished.message
    message = None
    if answer is not None:
        message = MessageRow(
            id=answer.id,
            conversation_id=end.conversation,
            sender_type=answer.sender_type,
            content=answer.content or "",
            content_type=answer.content_type,
            parent_message_id=answer.parent_message_id,
            created_at=finished_at,
            metadata=answer.metadata,
            token_count=estimate_text(answer.content or ""),
        )
    return EndRecord(
        user_id=end.user,
        generation_id=end.generation,
        conversation_id=end.conversation,
        status=end.status,
        message=message,
        usage=tuple(_usage_row(bill) for bill in end.bills),
        finished=msgspec.to_builtins(end.finished),
        finished_at=finished_at,
        free_model=end.is_free_model,
    )


def _usage_row(bill: AttemptBill) -> UsageRow:
    return UsageRow(
        attempt=bill.attempt,
        model=bill.model,
        served_model=bill.served_model,
        prompt_tokens=bill.prompt_tokens,
        completion_tokens=bill.completion_tokens,
        cost=Decimal(bill.cost),
        state=bill.state,
        is_free_model=bill.is_free_model,
        processing_time_ms=bill.processing_time_ms,
        upstream_id=bill.upstream_id,
        key=bill.key,
        reached=bill.reached,
        failure=bill.failure,
        due=bill.due,
    )
