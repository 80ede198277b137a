"""Sealed ends into the database's words."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from server.conversations.store import ConversationStore, EndRecord, MessageRow, StoreUnavailable, UsageRow
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
