"""Changing and deleting conversations: one call each, with what it tells and its audit entry."""

from __future__ import annotations

from uuid import UUID

import orjson

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import conversation_row, json_text, refuse, uuid_or_not_found
from server.adapters.postgres.sealed_rows import sealed_context, sealed_title
from server.conversations.audit import BY_USER, Caller
from server.conversations.cipher import Cipher
from server.conversations.store import ConversationChange, ConversationRow

_STATUSES = {None, "active", "archived"}
_CONTEXT_TYPES = {None, "general", "assessment", "career_guidance"}


class Changing:
    """The part of the store that changes conversations."""

    _service: RolePool
    _cipher: Cipher
    _reads: Reads

    async def update(
        self, user_id: str, conversation_id: str, change: ConversationChange, *, caller: Caller = BY_USER
    ) -> ConversationRow:
        """See `ConversationStore.update`."""
        if change.status not in _STATUSES or change.context_type not in _CONTEXT_TYPES:
            raise ValueError(f"no status or context type: {change.status!r}, {change.context_type!r}")
        user, place = UUID(user_id), uuid_or_not_found(conversation_id, "conversation")
        title = sealed_title(self._cipher, change.title, user, place)
        context = sealed_context(self._cipher, change.context_data, user, place)
        async with self._reads.writing(user_id):
            answer = orjson.loads(
                await self._service.value(
                    query("update_conversation"),
                    user,
                    place,
                    title.text,
                    title.key,
                    change.status,
                    None if change.metadata is None else json_text(change.metadata),
                    change.context_type,
                    context.text,
                    context.key,
                    caller.actor,
                    caller.origin,
                )
            )
        if answer["outcome"] != "updated":
            refuse(answer["outcome"])
        return conversation_row(answer["conversation"], self._cipher)

    async def delete(
        self, user_id: str, conversation_id: str, *, caller: Caller = BY_USER
    ) -> tuple[str, ...]:
        """See `ConversationStore.delete`."""
        place = uuid_or_not_found(conversation_id, "conversation")
        async with self._reads.writing(user_id):
            answer = orjson.loads(
                await self._service.value(
                    query("delete_conversation"), UUID(user_id), place, caller.actor, caller.origin
                )
            )
        if answer["outcome"] != "deleted":
            refuse(answer["outcome"])
        return tuple(answer["running"])
