"""Accepting: a send or a regenerate is one call of one function, so one transaction and one round trip."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import orjson

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.queries import query
from server.adapters.postgres.rows import accepted, conversation_row, json_text, refuse, uuid_or_not_found
from server.conversations.store import Accepted, ConversationRow, NotFound, RegenerateOrder, SendOrder


class Accepting:
    """The part of the store that begins things."""

    _service: RolePool

    async def accept(self, order: SendOrder) -> Accepted:
        """See `ConversationStore.accept`; `NotFound("user")` for a user who was erased or never was."""
        conversation = order.conversation_id
        parent = order.parent_message_id
        return accepted(
            await self._ask(
                "accept_message",
                UUID(order.user_id),
                None if conversation is None else uuid_or_not_found(conversation, "conversation"),
                UUID(order.client_message_id),
                order.content,
                None,  # content_key: stored plain
                order.content_type,
                None if parent is None else uuid_or_not_found(parent, "parent"),
                order.token_count,
                order.title,
                None,  # title_key
                order.default_title,
                json_text(order.plan),
                json_text(order.request),
                order.max_generations,
                order.history_tokens,
                order.history_messages,
            )
        )

    async def accept_again(self, order: RegenerateOrder) -> Accepted:
        """See `ConversationStore.accept_again`; `NotFound("parent")` for an answer that answers nothing."""
        conversation = order.conversation_id
        return accepted(
            await self._ask(
                "accept_again",
                UUID(order.user_id),
                uuid_or_not_found(order.message_id, "message"),
                None if conversation is None else uuid_or_not_found(conversation, "conversation"),
                UUID(order.client_message_id),
                json_text(order.plan),
                json_text(order.request),
                order.max_generations,
                order.history_tokens,
                order.history_messages,
            )
        )

    async def by_client_message_id(self, user_id: str, client_message_id: str) -> Accepted | None:
        """See `ConversationStore.by_client_message_id`; `NotFound` when its conversation is deleted."""
        answer = await self._ask("find_order", UUID(user_id), UUID(client_message_id))
        return None if answer is None else accepted(answer)

    async def create(
        self, user_id: str, *, title: str, context_type: str, context_data: dict[str, Any] | None
    ) -> ConversationRow:
        """See `ConversationStore.create`."""
        answer = await self._ask(
            "create_conversation",
            UUID(user_id),
            title,
            None,  # title_key
            context_type,
            None if context_data is None else json_text(context_data),
            None,  # context_key
        )
        if answer["outcome"] != "created":
            refuse(answer["outcome"])
        return conversation_row(answer["conversation"])

    async def _ask(self, name: str, *arguments: object) -> Any:
        try:
            answer = await self._service.value(query(name), *arguments)
        except asyncpg.ForeignKeyViolationError as error:
            # the ecosystem's table of users has no such user
            raise NotFound("user") from error
        return None if answer is None else orjson.loads(answer)
