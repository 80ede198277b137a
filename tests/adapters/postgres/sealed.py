"""Ciphers and stores that seal, and a look at everything a database holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database, PoolLimits
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.sealing import ContentCipher
from tests.adapters.postgres.given import connected

OLD, NEW = bytes([1] * 32), bytes([2] * 32)
SMALL = PoolLimits(min_size=0, max_size=10)


@asynccontextmanager
async def sealing(
    url: str, keys: Sequence[bytes] = (NEW,), *, ids: ProposedIds | None = None
) -> AsyncIterator[PostgresConversationStore]:
    """A store that seals under the first of the keys."""
    async with Database(url, limits=SMALL) as database:
        yield PostgresConversationStore(database, ContentCipher(keys), ids=ids)


def key_id(key: bytes) -> str:
    newest = ContentCipher([key]).newest
    assert newest is not None
    return newest


async def everything(admin_url: str) -> dict[str, str]:
    """Every row of every table, as text, by table."""
    async with connected(admin_url) as admin:
        tables = await admin.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind IN ('r', 'p')"
        )
        return {
            name: await admin.fetchval(f"SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM {name} AS t")
            for (name,) in tables
        }
