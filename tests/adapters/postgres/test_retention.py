"""Retention: what is too old goes, nothing else does, one node at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database
from server.adapters.postgres.retention import PostgresHousekeeping, PostgresRetention
from server.adapters.postgres.roles import grant_login
from server.conversations.retention import Retained
from tests.adapters.postgres.given import a_send, a_turn, a_user, connected
from tests.adapters.postgres.sealed import SMALL
from tests.services import Database as Addresses

Admin: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOTHING = Retained((), 0, 0, 0, 0)


@pytest.fixture
def urls(database: Addresses) -> Addresses:
    """A database of the test's own: retention looks at all of it."""
    asyncio.run(grant_login(database.admin_url, "chat_app"))
    return database


@asynccontextmanager
async def retaining(urls: Addresses, batch_rows: int = 500) -> AsyncIterator[PostgresRetention]:
    async with Database(urls.app_url, limits=SMALL) as database:
        yield PostgresRetention(database, batch_rows=batch_rows)


def months_ago(count: int) -> datetime:
    """The first moment of a month."""
    moment = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(count):
        moment = (moment - timedelta(days=1)).replace(day=1)
    return moment


async def id_at(admin: Admin, moment: datetime) -> UUID:
    floor = await admin.fetchval("SELECT uuid_floor($1)", moment)
    return UUID(f"{str(floor)[:14]}7{str(uuid4())[15:]}")


async def a_month(admin: Admin, moment: datetime) -> None:
    for parent in ("messages", "usage_tracking"):
        await admin.execute("SELECT create_partition($1, $2::date)", parent, moment.date())


async def an_old_turn(
    admin: Admin,
    moment: datetime,
    *,
    conversation: UUID | None = None,
    quiet_since: datetime | None = None,
    status: str = "completed",
) -> UUID:
    """A message, its bill and its generation of a moment; its conversation, new where none is given."""
    user = UUID(a_user())
    place = conversation or await id_at(admin, moment)
    if conversation is None:
        await admin.execute(
            "INSERT INTO conversations (id, user_id, title, updated_at) VALUES ($1, $2, 'Old', $3)",
            place,
            user,
            quiet_since or moment,
        )
    else:
        user = await admin.fetchval("SELECT user_id FROM conversations WHERE id = $1", place)
    message, generation = await id_at(admin, moment), await id_at(admin, moment)
    await admin.execute(
        "INSERT INTO messages (id, conversation_id, user_id, sender_type, content)"
        " VALUES ($1, $2, $3, 'user', 'old')",
        message,
        place,
        user,
    )
    await admin.execute(
        "INSERT INTO usage_tracking (id, user_id, conversation_id, generation_id, attempt, model_used, state,"
        " reached) VALUES (usage_id($1, 1), $2, $3, $1, 1, 'a/b', 'settled', true)",
        generation,
        user,
        place,
    )
    await admin.execute(
        "INSERT INTO generations (id, user_id, conversation_id, reply_to, message_id, client_message_id, status,"
        " finished_at, request, plan)"
        " VALUES ($1, $2, $3, $4, $4, $5, $6, CASE WHEN $6 <> 'accepted' THEN now() END, '{}', '{}')",
        generation,
        user,
        place,
        message,
        uuid4(),
        status,
    )
    return place


async def counts(admin: Admin) -> tuple[int, int, int, int]:
    return (
        await admin.fetchval("SELECT count(*) FROM messages"),
        await admin.fetchval("SELECT count(*) FROM usage_tracking"),
        await admin.fetchval("SELECT count(*) FROM generations"),
        await admin.fetchval("SELECT count(*) FROM conversations"),
    )


def test_whole_months_are_dropped_and_the_boundary_month_goes_row_by_row(urls: Addresses) -> None:
    async def go() -> None:
        boundary = months_ago(5)
        before = boundary + timedelta(days=10)
        async with connected(urls.admin_url) as admin, retaining(urls, batch_rows=2) as retention:
            for month in (7, 6, 5):
                await a_month(admin, months_ago(month))
            for moment in (
                months_ago(7) + timedelta(days=3),
                months_ago(6) + timedelta(days=27),
                *(boundary + timedelta(days=day) for day in range(1, 6)),
                before - timedelta(milliseconds=1),
            ):
                await an_old_turn(admin, moment)
            kept = [await an_old_turn(admin, before), await an_old_turn(admin, datetime.now(UTC))]
            removed = await retention.retain(before=before)
            assert removed is not None
            dropped = {f"{t}{months_ago(m):_%Y_%m}" for t in ("messages", "usage_tracking") for m in (7, 6)}
            assert set(removed.partitions) == dropped
            # the other rows of these went with their months
            assert (removed.messages, removed.usage) == (6, 6)
            assert (removed.generations, removed.conversations) == (8, 8)
            assert await counts(admin) == (2, 2, 2, 2)
            assert [r["id"] for r in await admin.fetch("SELECT id FROM conversations ORDER BY id")] == kept
            assert await retention.retain(before=before) == NOTHING

    asyncio.run(go())


def test_a_conversation_that_is_still_used_loses_only_what_is_old(urls: Addresses) -> None:
    async def go() -> None:
        long_ago = months_ago(5) + timedelta(days=3)
        async with connected(urls.admin_url) as admin, retaining(urls) as retention:
            await a_month(admin, long_ago)
            place = await an_old_turn(admin, long_ago, quiet_since=datetime.now(UTC))
            await an_old_turn(admin, datetime.now(UTC), conversation=place)
            removed = await retention.retain(before=long_ago + timedelta(days=10))
            assert removed == Retained((), 1, 1, 1, 0)
            assert await counts(admin) == (1, 1, 1, 1)
            user = str(await admin.fetchval("SELECT user_id FROM conversations"))
        async with Database(urls.app_url, limits=SMALL) as database:
            store = PostgresConversationStore(database)
            assert len((await store.messages(user, str(place), limit=9)).messages) == 1
            assert not (await store.accept(a_send(user, str(place)))).created

    asyncio.run(go())


def test_what_runs_is_left_alone(urls: Addresses) -> None:
    async def go() -> None:
        async with connected(urls.admin_url) as admin, retaining(urls) as retention:
            place = await an_old_turn(admin, months_ago(30), status="accepted")
            await retention.retain(before=months_ago(12))
            assert await admin.fetchval("SELECT id FROM conversations") == place
            assert await admin.fetchval("SELECT count(*) FROM generations") == 1

    asyncio.run(go())


def test_deleted_conversations_and_strayed_rows_go_too(urls: Addresses) -> None:
    async def go() -> None:
        async with connected(urls.admin_url) as admin, retaining(urls) as retention:
            # no month was made for these: they are in the default partitions
            place = await an_old_turn(admin, months_ago(30))
            await admin.execute("UPDATE conversations SET status = 'deleted' WHERE id = $1", place)
            assert await admin.fetchval("SELECT stray_rows()") == 2
            removed = await retention.retain(before=months_ago(12))
            assert removed == Retained((), 1, 1, 1, 1)
            assert await counts(admin) == (0, 0, 0, 0)

    asyncio.run(go())


def test_nothing_new_is_touched_and_nothing_is_noted(urls: Addresses) -> None:
    async def go() -> None:
        async with Database(urls.app_url, limits=SMALL) as database:
            store = PostgresConversationStore(database)
            user = a_user()
            turn = await a_turn(store, user)
            removed = await PostgresRetention(database).retain(before=datetime.now(UTC) - timedelta(days=1))
            assert removed is not None
            assert (removed.messages, removed.conversations) == (0, 0)
            assert len((await store.messages(user, turn.conversation.id, limit=9)).messages) == 2

    asyncio.run(go())


def test_a_run_that_removed_something_is_audited(urls: Addresses) -> None:
    async def go() -> None:
        async with connected(urls.admin_url) as admin, retaining(urls) as retention:
            assert await retention.retain(before=months_ago(12)) == NOTHING
            assert await admin.fetchval("SELECT count(*) FROM audit") == 0
            await an_old_turn(admin, months_ago(30))
            await retention.retain(before=months_ago(12))
            row = await admin.fetchrow("SELECT actor, action, subject_id, user_id FROM audit")
            assert row is not None
            assert tuple(row) == ("house", "retention.run", months_ago(12).isoformat(), None)

    asyncio.run(go())


def test_one_node_works_at_a_time(urls: Addresses) -> None:
    async def go() -> None:
        async with connected(urls.admin_url) as admin:
            await an_old_turn(admin, months_ago(30))
            lock = "hashtextextended('retention of chat', 0)"
            await admin.execute(f"SELECT pg_advisory_lock({lock})")
            async with retaining(urls) as one:
                assert await one.retain(before=months_ago(12)) is None
                assert await counts(admin) == (1, 1, 1, 1)
                await admin.execute(f"SELECT pg_advisory_unlock({lock})")
                assert await one.retain(before=months_ago(12)) == Retained((), 1, 1, 1, 1)
                # and the lock is free again
                assert await admin.fetchval(f"SELECT pg_try_advisory_lock({lock})")

    asyncio.run(go())


def test_nodes_at_once_remove_everything_once(urls: Addresses) -> None:
    async def go() -> None:
        async with connected(urls.admin_url) as admin:
            for _ in range(20):
                await an_old_turn(admin, months_ago(30))
            async with retaining(urls, 3) as one, retaining(urls, 3) as two, retaining(urls, 3) as three:
                runs = await asyncio.gather(*(r.retain(before=months_ago(12)) for r in (one, two, three)))
            assert sum(run.messages for run in runs if run is not None) == 20
            assert await counts(admin) == (0, 0, 0, 0)

    asyncio.run(go())


def test_housekeeping_makes_months_and_retains(urls: Addresses) -> None:
    async def go() -> None:
        coming = f"messages{(months_ago(0) + timedelta(days=40)):_%Y_%m}"
        async with connected(urls.admin_url) as admin:
            await an_old_turn(admin, months_ago(30))
            kept = await an_old_turn(admin, months_ago(1) + timedelta(days=1))
            await admin.execute(f"DROP TABLE {coming}")
            async with Database(urls.app_url, limits=SMALL) as database:
                await PostgresHousekeeping(database, retention_days=365).keep()
            assert await admin.fetchval("SELECT id FROM conversations") == kept
            assert await admin.fetchval("SELECT to_regclass($1) IS NOT NULL", coming)

    asyncio.run(go())
