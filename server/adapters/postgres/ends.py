"""Ends: the answer, its bills and the generation's row, written by one call that may be repeated."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import json_text
from server.adapters.postgres.sealed_rows import (
    PRIVATE_METADATA,
    private_metadata,
    sealed_content,
    sealed_metadata,
)
from server.conversations.cipher import Cipher
from server.conversations.store import EndRecord, UsageRow


class Ending:
    """The part of the store that ends things."""

    _service: RolePool
    _cipher: Cipher
    _reads: Reads

    async def finish(self, record: EndRecord) -> bool:
        """See `ConversationStore.finish`. For a user who was erased nothing is kept at all."""
        async with self._reads.writing(record.user_id):
            return await self._finish(record)

    async def _finish(self, record: EndRecord) -> bool:
        message, user = record.message, UUID(record.user_id)
        parent = None if message is None else message.parent_message_id
        sealed = (
            None if message is None else sealed_content(self._cipher, message.content, user, UUID(message.id))
        )
        return bool(
            await self._service.value(
                query("finish_generation"),
                user,
                UUID(record.generation_id),
                UUID(record.conversation_id),
                record.status,
                json_text(without_content(record.finished)),
                record.finished_at,
                record.free_model,
                json_text([_bill(row) for row in record.usage]),
                None if message is None else UUID(message.id),
                None if message is None else message.sender_type,
                None if sealed is None else sealed.text,
                None if sealed is None else sealed.key,
                None if message is None else message.content_type,
                None if parent is None else UUID(parent),
                None if message is None else message.created_at,
                None
                if message is None
                else json_text(sealed_metadata(self._cipher, message.metadata, user, UUID(message.id))),
                None if message is None else message.token_count,
            )
        )


def without_content(finished: dict[str, Any]) -> dict[str, Any]:
    """The public end without what the message's row alone keeps: its content, and what is private."""
    message = finished.get("message")
    if message is None:
        return finished
    kept = {**message, "content": None}
    if private_metadata(message.get("metadata", {})):
        known = message["metadata"].items()
        kept["metadata"] = {name: value for name, value in known if name not in PRIVATE_METADATA}
    return {**finished, "message": kept}


def with_content(
    finished: dict[str, Any] | None, content: str | None, metadata: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The public end whole again; both are `None` where the message's row is gone."""
    message = None if finished is None else finished.get("message")
    if finished is None or message is None or message.get("content_omitted"):
        return finished
    whole = {**message, "content": content}
    if private := private_metadata(metadata or {}):
        whole["metadata"] = {**message.get("metadata", {}), **private}
    return {**finished, "message": whole}


def _bill(row: UsageRow) -> dict[str, Any]:
    return {
        "attempt": row.attempt,
        "model": row.model,
        "served_model": row.served_model,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        # as text: a JSON number would pass through a float on the way
        "cost": format(row.cost, "f"),
        "state": row.state,
        "is_free_model": row.is_free_model,
        "processing_time_ms": row.processing_time_ms,
        "upstream_id": row.upstream_id,
        "key": row.key,
        "reached": row.reached,
        "failure": row.failure,
        "due": row.due and row.upstream_id is not None,
    }
