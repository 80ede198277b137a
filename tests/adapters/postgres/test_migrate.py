"""Migrating: once however many begin, back again to exactly what was, refused with words that help."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.migrate import DEFAULT_DIRECTORY, migrate, rollback
from server.adapters.postgres.migration_files import MigrationError
from server.adapters.postgres.pool import Database as Pools
from server.adapters.postgres.pool import PoolLimits
from server.adapters.postgres.roles import grant_login
from server.conversations.store import NotFound, StoreUnavailable
from tests.adapters.postgres.catalogue import database_name, empty_database, everything_in
from tests.adapters.postgres.given import a_send, a_turn, a_user, an_end, connected, opened
from tests.scripted.waiting import eventually
from tests.services import Database, both_urls, own_services, with_database

NAMES = sorted(path.name for path in DEFAULT_DIRECTORY.glob("*.sql"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The house's migrations, to add to and to change."""
    return Path(shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "migrations"))


def test_a_database_comes_up_from_nothing_and_a_second_time_there_is_nothing_to_do(
    module_database: Database,
) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            assert await migrate(database.admin_url) == NAMES
            assert await migrate(database.admin_url) == []
            async with connected(database.admin_url) as admin:
                ran = await admin.fetch("SELECT version FROM schema_migrations ORDER BY version")
                assert [row["version"] for row in ran] == [name.partition("_")[0] for name in NAMES]
                sums = await admin.fetch("SELECT name FROM migration_checksums ORDER BY version")
                assert [row["name"] for row in sums] == NAMES
                owners = await admin.fetch(
                    "SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class"
                    " WHERE relnamespace = 'chat'::regnamespace"
                )
                assert [row["owner"] for row in owners] == ["chat_owner"]
            await grant_login(database.admin_url, "chat_app")
            async with opened(database.app_url) as store:
                await a_turn(store, a_user())

    asyncio.run(go())


def test_of_four_runners_at_once_one_works(module_database: Database, copied: Path) -> None:
    """Also where a migration builds an index without holding anybody up: waiting for a lock would be a ring."""
    (copied / "9000_index.sql").write_text(
        "-- migrate:up transaction:false\n"
        "CREATE INDEX CONCURRENTLY audit_by_time ON audit (at);\n"
        "-- migrate:down transaction:false\n"
        "DROP INDEX CONCURRENTLY audit_by_time;\n",
        encoding="utf-8",
    )

    async def go() -> None:
        async with empty_database(module_database) as database:
            told = await asyncio.gather(*(migrate(database.admin_url, directory=copied) for _ in range(4)))
            assert sorted(told, key=len) == [[], [], [], [*NAMES, "9000_index.sql"]]
            back = await asyncio.gather(*(rollback(database.admin_url, directory=copied) for _ in range(2)))
            assert sorted(name for some in back for name in some) == [NAMES[-1], "9000_index.sql"]

    asyncio.run(go())


def test_every_file_can_be_taken_back_to_exactly_what_was_before_it(
    module_database: Database, tmp_path: Path
) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            await migrate(database.admin_url)
            async with connected(database.admin_url) as admin:
                after = {len(NAMES): await everything_in(admin)}
                for count in range(len(NAMES) - 1, -1, -1):
                    assert await rollback(database.admin_url) == [NAMES[count]]
                    after[count] = await everything_in(admin)
                assert await rollback(database.admin_url) == []
                left = {row[0] for row in after[0]["relations"]}
                assert {name.removesuffix("_pkey") for name in map(str, left)} == {
                    "schema_migrations",
                    "migration_checksums",
                }
                assert after[0]["functions"] == frozenset()
                for count, name in enumerate(NAMES, start=1):
                    shutil.copy(DEFAULT_DIRECTORY / name, tmp_path / name)
                    assert await migrate(database.admin_url, directory=tmp_path) == [name]
                    now = await everything_in(admin)
                    for kind, objects in now.items():
                        assert objects == after[count][kind], f"{kind} after {name}"

    asyncio.run(go())


def test_a_file_that_changed_since_it_ran_is_refused_by_its_checksum(
    module_database: Database, copied: Path
) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            await migrate(database.admin_url, directory=copied)
            first = copied / NAMES[0]
            original = first.read_text(encoding="utf-8")
            first.write_text(original + "-- a harmless remark\n", encoding="utf-8")
            (copied / "9000_more.sql").write_text(
                "-- migrate:up\nCREATE TABLE more ();\n-- migrate:down\nDROP TABLE more;\n", encoding="utf-8"
            )
            with pytest.raises(MigrationError, match=f"{NAMES[0]} has changed since it ran"):
                await migrate(database.admin_url, directory=copied)
            async with connected(database.admin_url) as admin:
                assert await admin.fetchval("SELECT to_regclass('chat.more')") is None, "nothing runs"
            first.write_text(original, encoding="utf-8")
            assert await migrate(database.admin_url, directory=copied) == ["9000_more.sql"]

    asyncio.run(go())


def test_a_file_that_fails_leaves_nothing_of_itself_and_what_went_before_it(
    module_database: Database, copied: Path
) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            bad = copied / "9001_bad.sql"
            (copied / "9000_good.sql").write_text(
                "-- migrate:up\nCREATE TABLE good ();\n-- migrate:down\nDROP TABLE good;\n", encoding="utf-8"
            )
            bad.write_text(
                "-- migrate:up\nCREATE TABLE half ();\nSELECT 1 / 0;\n-- migrate:down\nDROP TABLE half;\n",
                encoding="utf-8",
            )
            with pytest.raises(MigrationError, match=r"9001_bad\.sql: division by zero"):
                await migrate(database.admin_url, directory=copied)
            async with connected(database.admin_url) as admin:
                assert await admin.fetchval("SELECT to_regclass('chat.good')") == "good"
                assert await admin.fetchval("SELECT to_regclass('chat.half')") is None
            bad.write_text(
                "-- migrate:up\nCREATE TABLE half ();\n-- migrate:down\nDROP TABLE half;\n", encoding="utf-8"
            )
            assert await migrate(database.admin_url, directory=copied) == ["9001_bad.sql"]

    asyncio.run(go())


def test_what_a_newer_release_has_done_is_left_alone(module_database: Database, copied: Path) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            newer = copied / "9000_newer.sql"
            newer.write_text(
                "-- migrate:up\nCREATE TABLE newer ();\n-- migrate:down\nDROP TABLE newer;\n",
                encoding="utf-8",
            )
            await migrate(database.admin_url, directory=copied)
            assert await migrate(database.admin_url) == []
            with pytest.raises(MigrationError, match="version 9000 ran here, but its file is not in"):
                await rollback(database.admin_url)
            assert await rollback(database.admin_url, directory=copied) == ["9000_newer.sql"]

    asyncio.run(go())


def test_who_waits_for_another_runner_too_long_says_so(module_database: Database) -> None:
    async def go() -> None:
        async with connected(module_database.admin_url) as other:
            await other.execute("SELECT pg_advisory_lock(hashtextextended('migrations of chat', 0))")
            with pytest.raises(MigrationError, match="another process has been migrating"):
                await migrate(module_database.admin_url, wait_seconds=0.3)
            waiting = asyncio.ensure_future(migrate(module_database.admin_url))
            await other.execute("SELECT pg_advisory_unlock_all()")
            assert await waiting == []

    asyncio.run(go())


def test_a_table_somebody_holds_is_waited_for(module_database: Database, copied: Path) -> None:
    async def go() -> None:
        (copied / "9000_column.sql").write_text(
            "-- migrate:up\nALTER TABLE audit ADD COLUMN more text;\n"
            "-- migrate:down\nALTER TABLE audit DROP COLUMN more;\n",
            encoding="utf-8",
        )
        async with empty_database(module_database) as database:
            await migrate(database.admin_url)
            async with connected(database.admin_url) as holder, connected(database.admin_url) as admin:
                holding = holder.transaction()
                await holding.start()
                await holder.execute("LOCK TABLE audit IN ACCESS SHARE MODE")
                migrating = asyncio.ensure_future(migrate(database.admin_url, directory=copied))

                async def waits() -> object:
                    return await admin.fetchval(
                        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'chat.audit'::regclass"
                    )

                await eventually(waits, what="the migration waits for the table")
                await holding.rollback()
                assert await migrating == ["9000_column.sql"]

    asyncio.run(go())


def test_a_login_without_rights_is_told_what_it_needs(module_database: Database, tmp_path: Path) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database:
            with pytest.raises(
                MigrationError, match="give it CREATEROLE, or create and grant them beforehand"
            ):
                await migrate(database.app_url)
            with pytest.raises(MigrationError, match="may not create or grant them"):
                await grant_login(database.app_url, "chat_app")
            with pytest.raises(MigrationError, match="cannot be granted to nobody"):
                await grant_login(database.admin_url, "nobody")
            wrong = database.app_url.replace("chat_app:", "chat_app:x", 1)
            for address in (
                wrong,
                with_database(database.admin_url, "nowhere"),
                "postgresql://127.0.0.1:1/x",
            ):
                with pytest.raises(StoreUnavailable):
                    await migrate(address)
            with pytest.raises(MigrationError, match="no migrations in"):
                await migrate(database.admin_url, directory=tmp_path)

    asyncio.run(go())


def test_another_schema_is_as_good_and_two_do_not_meet(module_database: Database) -> None:
    async def go() -> None:
        schema = 'Other "house"'
        async with empty_database(module_database) as database:
            assert await migrate(database.admin_url) == await migrate(database.admin_url, schema=schema)
            await grant_login(database.admin_url, "chat_app")
            user = a_user()
            limits = PoolLimits(min_size=0, max_size=4)
            async with Pools(database.app_url, schema=schema, limits=limits) as pools:
                elsewhere = PostgresConversationStore(pools)
                turn = await a_turn(elsewhere, user)
                assert await elsewhere.system_outbox("broker", limit=10)
            async with opened(database.app_url) as store:
                assert (await store.conversations(user, status="active", limit=5, offset=0))[1] == 0
                with pytest.raises(NotFound):
                    await store.conversation(user, turn.conversation.id)
                assert await store.system_outbox("broker", limit=10) == []
            async with connected(database.admin_url) as admin:
                one, other = await everything_in(admin), await everything_in(admin, schema)
                assert len(one["relations"]) == len(other["relations"])
            assert await rollback(database.admin_url, schema=schema, steps=len(NAMES)) == NAMES[::-1]
            async with opened(database.app_url) as store:
                await a_turn(store, user)

    asyncio.run(go())


def test_conversations_belong_to_the_ecosystems_users_where_their_table_is(module_database: Database) -> None:
    """A user removed there takes everything here along; one who never was there is nobody."""

    async def go() -> None:
        async with empty_database(module_database) as database, connected(database.admin_url) as admin:
            await admin.execute("CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY)")
            await migrate(database.admin_url)
            await grant_login(database.admin_url, "chat_app")
            user, other = a_user(), a_user()
            await admin.executemany("INSERT INTO auth.users VALUES ($1)", [(UUID(user),), (UUID(other),)])
            async with opened(database.app_url) as store:
                await a_turn(store, user)
                running = await store.accept(a_send(user))
                kept = await a_turn(store, other)
                for call in (
                    store.accept(a_send(a_user())),
                    store.create(a_user(), title="t", context_type="general", context_data=None),
                ):
                    with pytest.raises(NotFound) as refused:
                        await call
                    assert refused.value.what == "user"
                await admin.execute("DELETE FROM auth.users WHERE id = $1", UUID(user))
                tables = ("conversations", "messages", "usage_tracking", "generations")
                for table in tables:
                    counted = await admin.fetch(f"SELECT DISTINCT user_id::text AS id FROM {table}")
                    assert [row["id"] for row in counted] == [other], table
                assert await store.finish(an_end(running)) is False, "a late end finds nobody"
                assert (await store.conversation(other, kept.conversation.id)).id == kept.conversation.id

    asyncio.run(go())


def test_a_login_that_owns_the_database_and_may_create_roles_is_enough() -> None:
    """Managed PostgreSQL gives nobody a superuser; and roles are made once by two databases at the same time."""

    async def go() -> None:
        async with own_services(valkey=False) as services:
            urls = both_urls(services)
            async with connected(urls.admin_url) as admin:
                await admin.execute("CREATE ROLE manager LOGIN CREATEROLE PASSWORD 'secret'")
                await admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            async with (
                empty_database(urls, owner="manager") as one,
                empty_database(urls, owner="manager") as two,
            ):
                managers = [
                    urls.admin_url.replace("//postgres:", "//manager:").split("@")[0].rpartition(":")[0]
                    + f":secret@{database.admin_url.split('@')[1]}"
                    for database in (one, two)
                ]
                told = await asyncio.gather(*(migrate(url) for url in managers for _ in range(2)))
                assert sorted(map(len, told)) == [0, 0, len(NAMES), len(NAMES)]
                await grant_login(managers[0], "chat_app")
                async with opened(one.app_url) as store:
                    await a_turn(store, a_user())
                # The one who migrates may also be the one who serves; row security holds for it all the same.
                async with opened(managers[1]) as store:
                    user = a_user()
                    turn = await a_turn(store, user)
                    with pytest.raises(NotFound):
                        await store.conversation(a_user(), turn.conversation.id)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connected(one.app_url) as app:
                        await app.execute("SET ROLE chat_owner")
                async with connected(urls.admin_url) as admin:
                    await admin.execute("ALTER ROLE chat_system BYPASSRLS")
                with pytest.raises(MigrationError, match="chat_system may bypass row level security"):
                    await migrate(managers[0])
                assert database_name(one.admin_url) != database_name(two.admin_url)

    asyncio.run(go())
