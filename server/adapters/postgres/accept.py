"""Accepting: a send or a regenerate is one call of one function, so one transaction and one round trip."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from server.adapters.postgres.rows import accepted, conversation_row, json_text, refuse, uuid_or_not_found
from server.adapters.postgres.sealed_rows import sealed_content, sealed_context, sealed_title
from server.adapters.postgres.writing import Writing
from server.conversations.audit import BY_USER, Caller
from server.conversations.store import (
    Accepted,
    ConversationRow,
    RegenerateOrder,
    SendOrder,
)


class Accepting(Writing):
    """The part of the store that begins things."""

    async def accept(self, order: SendOrder) -> Accepted:
        """See `ConversationStore.accept`; `NotFound("user")` for a user who was erased or never was."""
        user = UUID(order.user_id)
        given = order.conversation_id
        conversation = None if given is None else uuid_or_not_found(given, "conversation")
        parent = order.parent_message_id
        follows = None if parent is None else uuid_or_not_found(parent, "parent")
        plan, request = json_text(order.plan), json_text(order.request)

        def arguments(place: UUID | None, message: UUID | None) -> tuple[object, ...]:
            content = sealed_content(self._cipher, order.content, user, message)
            title = sealed_title(
                self._cipher, order.title, user, conversation or place, plain=order.default_title
            )
            return (
                conversation,
                UUID(order.client_message_id),
                content.text,
                content.key,
                order.content_type,
                follows,
                order.token_count,
                title.text,
                title.key,
                order.default_title,
                plan,
                request,
                order.max_generations,
                order.history_tokens,
                order.history_messages,
                order.caller.actor,
                order.caller.origin,
                None if conversation else place,
                message,
            )

        return accepted(await self._with_ids("accept_message", user, arguments, conversation), self._cipher)

    async def accept_again(self, order: RegenerateOrder) -> Accepted:
        """See `ConversationStore.accept_again`; `NotFound("parent")` for an answer that answers nothing."""
        conversation = order.conversation_id
        return accepted(
            await self._write(
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
                order.caller.actor,
                order.caller.origin,
            ),
            self._cipher,
        )

    async def by_client_message_id(self, user_id: str, client_message_id: str) -> Accepted | None:
        """See `ConversationStore.by_client_message_id`; `NotFound` when its conversation is deleted."""
        answer = await self._ask("find_order", UUID(user_id), UUID(client_message_id))
        return None if answer is None else accepted(answer, self._cipher)

    async def create(
        self,
        user_id: str,
        *,
        title: str,
        context_type: str,
        context_data: dict[str, Any] | None,
        caller: Caller = BY_USER,
    ) -> ConversationRow:
        """See `ConversationStore.create`; `NotFound("user")` as in `accept`."""
        user = UUID(user_id)

        def arguments(place: UUID | None, _: UUID | None) -> tuple[object, ...]:
            sealed = sealed_title(self._cipher, title, user, place)
            context = sealed_context(self._cipher, context_data, user, place)
            return (
                sealed.text,
                sealed.key,
                context_type,
                context.text,
                context.key,
                caller.actor,
                caller.origin,
                place,
            )

        answer = await self._with_ids("create_conversation", user, arguments)
        if answer["outcome"] != "created":
            refuse(answer["outcome"])
        return conversation_row(answer["conversation"], self._cipher)
