"""Assessments in PostgreSQL: the one conversation of a result, its stages, what the archive is to be told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from server.adapters.postgres.pool import Database
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.queries import query
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.rows import (
    conversation_row,
    generation_row,
    json_text,
    refuse,
    uuid_or_not_found,
)
from server.adapters.postgres.sealed_rows import sealed_context, sealed_title
from server.adapters.postgres.sealing import ContentCipher
from server.adapters.postgres.writing import Writing
from server.assessments.store import AssessmentConversation, AssessmentOrder, DueLink
from server.conversations.audit import BY_HOUSE, Caller
from server.conversations.cipher import Cipher
from server.conversations.store import GenerationRow, NotFound
from server.conversations.write_marks import WriteMarks
from server.notifications.stages import Notice


class PostgresAssessments(Writing):
    """Fulfils `server.assessments.store.AssessmentStore`; arguments as `PostgresConversationStore`'s."""

    def __init__(
        self,
        database: Database,
        cipher: Cipher | None = None,
        *,
        marks: WriteMarks | None = None,
        ids: ProposedIds | None = None,
    ) -> None:
        self._service = database.service
        self._system = database.system
        self._cipher = cipher or ContentCipher()
        self._reads = Reads(database, marks)
        self._ids = ids or ProposedIds()

    async def begin(self, order: AssessmentOrder) -> AssessmentConversation:
        """See `AssessmentStore.begin`."""
        user, result = UUID(order.user_id), uuid_or_not_found(order.result_id, "result")

        def arguments(place: UUID | None, _: UUID | None) -> tuple[object, ...]:
            title = sealed_title(self._cipher, order.title, user, place)
            context = sealed_context(self._cipher, order.context_data, user, place)
            return (
                result,
                title.text,
                title.key,
                context.text,
                context.key,
                json_text(order.metadata),
                json_text(order.ready.payload),
                order.ready.once_key,
                None if order.plan is None else json_text(order.plan),
                json_text(order.request),
                order.again,
                order.caller.actor,
                order.caller.origin,
                place,
            )

        answer = await self._with_ids("begin_assessment", user, arguments)
        if answer["outcome"] not in {"created", "there"}:
            refuse(answer["outcome"])
        return AssessmentConversation(
            conversation=conversation_row(answer["conversation"], self._cipher),
            welcome=_generation(answer["generation"]),
            created=answer["outcome"] == "created",
            begun=answer["begun"],
        )

    async def find(self, user_id: str, result_id: str) -> AssessmentConversation | None:
        """See `AssessmentStore.find`. The primary answers: what was begun just now must be found."""
        result = uuid_or_not_found(result_id, "result")
        async with self._service.acting_for(user_id, readonly=True) as connection:
            row = await connection.fetchrow(query("assessment_conversation"), UUID(user_id), result)
        if row is None:
            return None
        place, welcome = orjson.loads(row["conversation"]), row["welcome"]
        return AssessmentConversation(
            conversation=conversation_row(place, self._cipher),
            welcome=_generation(None if welcome is None else orjson.loads(welcome)),
        )

    async def tell(self, user_id: str, assessment: str, notice: Notice, *, caller: Caller = BY_HOUSE) -> bool:
        """See `AssessmentStore.tell`."""
        user = UUID(user_id)
        async with self._reads.writing(user_id):
            outcome = await self._service.value(
                query("tell_stage"),
                user,
                UUID(assessment),
                json_text(notice.payload),
                notice.once_key,
                caller.actor,
                caller.origin,
            )
        if outcome == "no user":
            raise NotFound("user")
        return bool(outcome == "told")

    async def system_due_links(self, *, limit: int) -> list[DueLink]:
        """See `AssessmentStore.system_due_links`."""
        rows = await self._system.rows(query("claim_links"), limit)
        return [
            DueLink(
                user_id=str(row["owner_id"]),
                result_id=str(row["result"]),
                conversation=None if row["conversation"] is None else str(row["conversation"]),
                tries=row["tries"],
            )
            for row in rows
        ]

    async def system_linked(self, link: DueLink) -> None:
        """See `AssessmentStore.system_linked`."""
        await self._system.value(query("link_done"), UUID(link.user_id), UUID(link.result_id), link.tries)


def _generation(row: dict[str, Any] | None) -> GenerationRow | None:
    return None if row is None else generation_row(row)
