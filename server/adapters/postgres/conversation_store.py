"""The conversation store on PostgreSQL: its parts, put together."""

from __future__ import annotations

from server.adapters.postgres.accept import Accepting
from server.adapters.postgres.due_work import DueWork
from server.adapters.postgres.ends import Ending
from server.adapters.postgres.pool import Database
from server.adapters.postgres.reading import Reading
from server.conversations.store import StoreUnavailable


class PostgresConversationStore(Accepting, Ending, Reading, DueWork):
    """Fulfils `server.conversations.store.ConversationStore`."""

    def __init__(self, database: Database) -> None:
        self._service = database.service
        self._system = database.system

    async def healthy(self) -> bool:
        """Whether the database answers."""
        try:
            return bool(await self._service.value("SELECT true"))
        except StoreUnavailable:
            return False
