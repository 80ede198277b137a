"""Months: made ahead, filled with what had strayed, dropped with what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from server.adapters.postgres.pool import Database, PoolLimits
from server.adapters.postgres.upkeep import Upkeep
from server.conversations.store import StoreUnavailable
from tests.adapters.postgres.given import a_turn, a_user, connected, opened
from tests.scripted.waiting import eventually


@asynccontextmanager
async def upkeep(url: str, **limits: float) -> AsyncIterator[Upkeep]:
    async with Database(url, limits=PoolLimits(min_size=0, max_size=4, **limits)) as pools:
        yield Upkeep(pools.system)


def month(offset: int) -> datetime:
    """The first moment of the month so many away from this one."""
    now = datetime.now(UTC)
    count = now.year * 12 + now.month - 1 + offset
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def named(table: str, *offsets: int) -> list[str]:
    return [f"{table}_{month(offset):%Y_%m}" for offset in offsets]


async def partitions(admin: asyncpg.Connection) -> set[str]:
    rows = await admin.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent IN ('messages'::regclass, 'usage_tracking'::regclass)"
    )
    return {row["name"] for row in rows}


async def a_message_of(admin: asyncpg.Connection, user: str, conversation: str, moment: datetime) -> UUID:
    """A message whose id says that it is of this moment."""
    made: UUID = await admin.fetchval(
        "INSERT INTO messages (id, conversation_id, user_id, sender_type, content, created_at)"
        " VALUES (uuid_v7(uuid_floor($3)), $1, $2, 'user', 'then', $3) RETURNING id"
        if moment > datetime.now(UTC)
        else "INSERT INTO messages (id, conversation_id, user_id, sender_type, content, created_at)"
        " VALUES (uuid_floor($3), $1, $2, 'user', 'then', $3) RETURNING id",
        UUID(conversation),
        UUID(user),
        moment,
    )
    return made


async def where(admin: asyncpg.Connection, message: UUID) -> str:
    return str(await admin.fetchval("SELECT tableoid::regclass::text FROM messages WHERE id = $1", message))


def test_months_are_there_from_one_back_to_three_ahead(app_url: str, admin_url: str) -> None:
    """Architecture §7.7."""

    async def go() -> None:
        async with connected(admin_url) as admin, upkeep(app_url) as keeping:
            expected = {
                *named("messages", -1, 0, 1, 2, 3),
                *named("usage_tracking", -1, 0, 1, 2, 3),
                *("messages_default", "usage_tracking_default"),
            }
            assert await partitions(admin) == expected
            assert await keeping.create_partitions() == []
            await admin.execute(
                f"DROP TABLE {', '.join(named('messages', 2, 3) + named('usage_tracking', 3))}"
            )
            made = await keeping.create_partitions()
            assert made == named("messages", 2, 3) + named("usage_tracking", 3)
            assert await partitions(admin) == expected
            assert await keeping.stray_rows() == 0

    asyncio.run(go())


@pytest.mark.parametrize(
    ("moment", "place"),
    [
        (month(0), named("messages", 0)[0]),
        (month(1) - timedelta(milliseconds=1), named("messages", 0)[0]),
        (month(1), named("messages", 1)[0]),
        (month(4) - timedelta(milliseconds=1), named("messages", 3)[0]),
        (month(4), "messages_default"),
        (month(-1) - timedelta(milliseconds=1), "messages_default"),
    ],
)
def test_a_row_lies_in_the_month_of_its_id(
    app_url: str, admin_url: str, moment: datetime, place: str
) -> None:
    """Months end in UTC, by the millisecond."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            turn = await a_turn(store, user)
            transaction = admin.transaction()
            await transaction.start()
            await admin.execute("SET LOCAL timezone = 'Pacific/Kiritimati'")
            message = await a_message_of(admin, user, turn.conversation.id, moment)
            assert await where(admin, message) == place
            await transaction.rollback()

    asyncio.run(go())


def test_what_strayed_is_counted_and_moves_when_its_month_is_made(app_url: str, admin_url: str) -> None:
    """Nothing is refused and nothing is lost when nobody made the months: DEFAULT takes it."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin, upkeep(app_url) as keeping:
            turn = await a_turn(store, user)
            here = turn.conversation.id
            await admin.execute(f"DROP TABLE {', '.join(named('messages', 2) + named('usage_tracking', 2))}")
            strays = [await a_message_of(admin, user, here, month(2) + timedelta(days=n)) for n in range(3)]
            beyond = await a_message_of(admin, user, here, month(9))
            await admin.execute(
                "INSERT INTO usage_tracking (id, user_id, generation_id, attempt, model_used, state, reached)"
                " VALUES (usage_id(uuid_v7(uuid_floor($2)), 1), $1, gen_random_uuid(), 1, 'a/b', 'settled', true)",
                UUID(user),
                month(2),
            )
            assert await keeping.stray_rows() == 5
            assert {await where(admin, each) for each in (*strays, beyond)} == {"messages_default"}
            made = await keeping.create_partitions()
            assert made == named("messages", 2) + named("usage_tracking", 2)
            assert {await where(admin, each) for each in strays} == set(named("messages", 2))
            assert await where(admin, beyond) == "messages_default"
            assert await keeping.stray_rows() == 1
            page = await store.messages(user, here, limit=10)
            assert len(page.messages) == 6, "readers see no difference"
            for name in made:
                row = await admin.fetchrow(
                    "SELECT relrowsecurity, relforcerowsecurity, relowner::regrole::text, relacl"
                    " FROM pg_class WHERE relname = $1",
                    name,
                )
                assert row is not None
                assert tuple(row.values()) == (True, True, "chat_owner", None)
            await admin.execute("DELETE FROM messages WHERE id = $1", beyond)

    asyncio.run(go())


def test_a_month_that_is_made_takes_part_in_everything(app_url: str, admin_url: str) -> None:
    """Keys, references and checks are the parent's: made aside, it must not be laxer."""

    async def go() -> None:
        async with connected(admin_url) as admin:
            assert await admin.fetchval("SELECT create_partition('messages', '2041-05-17')")
            assert not await admin.fetchval("SELECT create_partition('messages', '2041-05-01')")
            for what in (
                """SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE conrelid = $1::regclass AND contype <> 'n'""",
                """SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING', '') FROM pg_index
                WHERE indrelid = $1::regclass""",
                """SELECT attname || format_type(atttypid, atttypmod) || attnotnull FROM pg_attribute
                WHERE attrelid = $1::regclass AND attnum > 0""",
            ):
                parent, child = [
                    {row[0] for row in await admin.fetch(what, table)}
                    for table in ("messages", "messages_2041_05")
                ]
                assert parent == child
            await admin.execute("DROP TABLE messages_2041_05")

    asyncio.run(go())


def test_whole_months_go_with_what_is_in_them_and_the_others_stay(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin, upkeep(app_url) as keeping:
            turn = await a_turn(store, user)
            for offset in (-3, -2):
                for table in ("messages", "usage_tracking"):
                    await admin.execute("SELECT create_partition($1, $2)", table, month(offset).date())
            old = await a_message_of(admin, user, turn.conversation.id, month(-3))
            kept = await a_message_of(admin, user, turn.conversation.id, month(-2))
            assert await keeping.drop_partitions(month(-2) - timedelta(seconds=1)) == []
            gone = named("messages", -3) + named("usage_tracking", -3)
            assert await keeping.drop_partitions(month(-2)) == gone
            assert await keeping.drop_partitions(month(-2) + timedelta(days=20)) == []
            assert await admin.fetchval("SELECT count(*) FROM messages WHERE id = $1", old) == 0
            assert await where(admin, kept) == named("messages", -2)[0]
            assert len((await store.messages(user, turn.conversation.id, limit=9)).messages) == 2, "today's"
            gone = named("messages", -2) + named("usage_tracking", -2)
            assert await keeping.drop_partitions(month(-1)) == gone
            assert "messages_default" in await partitions(admin)

    asyncio.run(go())


def test_of_many_nodes_that_keep_the_months_one_works_and_all_are_content(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin, upkeep(app_url) as one, upkeep(app_url) as two:
            missing = named("messages", 1, 3) + named("usage_tracking", 2)
            await admin.execute(f"DROP TABLE {', '.join(missing)}")
            told = await asyncio.gather(*((one, two)[n % 2].create_partitions() for n in range(8)))
            assert sorted(name for some in told for name in some) == sorted(missing)
            assert await one.create_partitions() == []

    asyncio.run(go())


def test_a_table_in_use_is_not_waited_for_long_and_nothing_is_half_done(app_url: str, admin_url: str) -> None:
    """A lock that is not to be had in time is `StoreUnavailable`; users' work goes on meanwhile."""

    async def go() -> None:
        user = a_user()
        async with (
            opened(app_url) as store,
            connected(admin_url) as admin,
            connected(admin_url) as holder,
            upkeep(app_url, statement_seconds=1.0) as keeping,
        ):
            await admin.execute(f"DROP TABLE {', '.join(named('messages', 3))}")
            holding = holder.transaction()
            await holding.start()
            await holder.execute("LOCK TABLE messages_default IN ROW EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable):
                await keeping.create_partitions()
            assert named("messages", 3)[0] not in await partitions(admin)
            await a_turn(store, user)
            await holding.rollback()

            async def made() -> object:
                return named("messages", 3)[0] in await keeping.create_partitions()

            await eventually(made)

    asyncio.run(go())


def test_only_the_two_tables_have_months_and_only_reasonable_ones(admin_url: str) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:
            for statement in (
                "SELECT create_partition('conversations', '2040-01-01')",
                "SELECT create_partition('messages; DROP TABLE audit', '2040-01-01')",
                "SELECT create_partitions(-1, 3)",
                "SELECT create_partitions(1, 1000)",
            ):
                with pytest.raises(asyncpg.InvalidParameterValueError):
                    await admin.execute(statement)

    asyncio.run(go())
