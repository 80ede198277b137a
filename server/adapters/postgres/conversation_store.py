"""The conversation store on PostgreSQL: its parts, put together."""

from __future__ import annotations

from server.adapters.postgres.accept import Accepting
from server.adapters.postgres.changes import Changing
from server.adapters.postgres.due_work import DueWork
from server.adapters.postgres.ends import Ending
from server.adapters.postgres.pool import Database
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.reading import Reading
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.sealing import ContentCipher
from server.adapters.postgres.usage_reading import UsageReading
from server.conversations.cipher import Cipher
from server.conversations.store import StoreUnavailable
from server.conversations.write_marks import WriteMarks


class PostgresConversationStore(Accepting, Changing, Ending, Reading, UsageReading, DueWork):
    """Fulfils `server.conversations.store.ConversationStore`.

    Args:
        database: Its pools, opened and closed by the caller.
        cipher: Seals content; without one everything is stored plain.
        marks: Without them a replica is never asked.
        ids: Proposes ids for what is sealed.
    """

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

    async def healthy(self) -> bool:
        """Whether the database answers."""
        try:
            return bool(await self._service.value("SELECT true"))
        except StoreUnavailable:
            return False
