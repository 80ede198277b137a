"""Due work: claims over all users, as the house's own role. A claim that comes to nothing is made again."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from server.adapters.postgres.pool import RolePool
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import generation_row
from server.adapters.postgres.sealed_rows import opened_event
from server.conversations.cipher import Cipher
from server.conversations.store import Destination, DueUsage, GenerationRow, OutboxRow


class DueWork:
    """The part of the store that acts for the house."""

    _system: RolePool
    _cipher: Cipher
    _reads: Reads

    async def system_unstarted(self, *, older_than_seconds: float, limit: int) -> list[GenerationRow]:
        """See `ConversationStore.system_unstarted`; a look lasts five seconds."""
        rows = await self._system.rows(query("claim_unstarted"), older_than_seconds, limit)
        return [generation_row(row) for row in rows]

    async def system_outbox(self, destination: Destination, *, limit: int) -> list[OutboxRow]:
        """See `ConversationStore.system_outbox`.

        A conversation's rows come together or not at all. What is not reported done is given out again after
        5, 10, 20 ... 300 seconds, and holds up what follows it in its conversation.
        """
        rows = await self._system.rows(query("claim_outbox"), destination, limit)
        return [
            OutboxRow(
                id=str(row["id"]),
                destination=row["destination"],
                user_id=str(row["user_id"]),
                conversation_id=None if row["conversation_id"] is None else str(row["conversation_id"]),
                kind=row["kind"],
                payload=opened_event(self._cipher, orjson.loads(row["payload"]), str(row["user_id"])),
                attempts=row["attempts"],
            )
            for row in rows
        ]

    async def system_outbox_done(self, ids: list[str]) -> None:
        """See `ConversationStore.system_outbox_done`. Idempotent."""
        await self._system.value(query("outbox_done"), [UUID(done) for done in ids])

    async def system_due_usage(self, *, limit: int) -> list[DueUsage]:
        """See `ConversationStore.system_due_usage`.

        Tries are 5, 10, 20 ... 600 seconds apart. The first after `created_at` plus an hour is the last one;
        the row is `unknown` from then on, unless `system_settle` is called for it.
        """
        rows = await self._system.rows(query("claim_due_usage"), limit)
        return [
            DueUsage(
                id=str(row["id"]),
                user_id=str(row["user_id"]),
                generation_id=str(row["generation_id"]),
                attempt=row["attempt"],
                upstream_id=row["upstream_id"],
                key=row["upstream_key"] or "",
                tries=row["settle_tries"],
                created_at=row["created_at"],
            )
            for row in rows
        ]

    async def system_settle(
        self,
        usage: DueUsage,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        cost: Decimal,
        served_model: str | None,
    ) -> dict[str, Any] | None:
        """See `ConversationStore.system_settle`. A second time it changes and tells nothing."""
        async with self._reads.writing(usage.user_id):
            total = await self._system.value(
                query("settle_usage"), UUID(usage.id), prompt_tokens, completion_tokens, cost, served_model
            )
        return None if total is None else orjson.loads(total)

    async def system_give_up_usage(self, usage: DueUsage) -> None:
        """See `ConversationStore.system_give_up_usage`; a settled one stays settled."""
        await self._system.value(query("give_up_usage"), UUID(usage.id))
