"""The audit log: entries are added and read, never changed or removed (the table refuses it)."""

from __future__ import annotations

from uuid import UUID

from server.adapters.postgres.pool import Database
from server.adapters.postgres.queries import query
from server.conversations.audit import AuditEntry


class PostgresAuditLog:
    """Fulfils `server.conversations.audit.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._system = database.system

    async def record(self, entry: AuditEntry) -> None:
        """See `AuditLog.record`."""
        await self._system.value(
            query("record_audit"),
            entry.caller.actor,
            entry.caller.origin,
            entry.action,
            entry.subject_kind,
            entry.subject_id,
            None if entry.user_id is None else UUID(entry.user_id),
        )
