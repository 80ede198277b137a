"""Accepting: a send or a regenerate is one call of one function, so one transaction and one round trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import accepted, conversation_row, json_text, refuse, uuid_or_not_found
from server.adapters.postgres.sealed_rows import sealed_content, sealed_context, sealed_title
from server.conversations.audit import BY_USER, Caller
from server.conversations.cipher import Cipher
from server.conversations.store import (
    Accepted,
    ConversationRow,
    NotFound,
    RegenerateOrder,
    SendOrder,
    StoreUnavailable,
)

_TRIES = 4  # the second is the last, unless others write into the conversation meanwhile


class Accepting:
    """The part of the store that begins things."""

    _service: RolePool
    _cipher: Cipher
    _reads: Reads
    _ids: ProposedIds

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

    async def _with_ids(
        self,
        name: str,
        user: UUID,
        arguments: Callable[[UUID | None, UUID | None], tuple[object, ...]],
        conversation: UUID | None = None,
    ) -> Any:
        """Call a function with ids for a conversation and a message; again with its own, where it names some.

        Where nothing is sealed the database makes them.
        """
        if self._cipher.newest is None:
            return await self._write(name, user, *arguments(None, None))
        place = conversation or self._ids.next()
        message = self._ids.next(after=place)
        for _ in range(_TRIES):
            answer = await self._write(name, user, *arguments(place, message))
            if answer["outcome"] != "other ids":
                return answer
            self._ids.learn(UUID(answer["clock"]))
            place = UUID(answer["conversation_id"])
            message = UUID(answer.get("message_id", answer["clock"]))
        raise StoreUnavailable("no id was accepted")

    async def _write(self, name: str, user: UUID, *arguments: object) -> Any:
        async with self._reads.writing(str(user)):
            return await self._ask(name, user, *arguments)

    async def _ask(self, name: str, *arguments: object) -> Any:
        try:
            answer = await self._service.value(query(name), *arguments)
        except asyncpg.ForeignKeyViolationError as error:
            # the ecosystem's table of users has no such user
            raise NotFound("user") from error
        return None if answer is None else orjson.loads(answer)
