"""Row level security with the service's own role: nobody sees or touches another user's rows (invariant I6)."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database, PoolLimits
from server.conversations.store import (
    Accepted,
    ConversationChange,
    ConversationStore,
    NotFound,
)
from server.conversations.usage import Period
from tests.adapters.cancelling import cancelled_at_every_await
from tests.adapters.postgres.given import (
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)

# Tables that hold no user's rows, and are nobody's but the owner's.
_RECORDS = {"schema_migrations", "migration_checksums"}
_USERS_TABLES = ("conversations", "messages", "usage_tracking", "generations", "outbox", "audit")


@asynccontextmanager
async def as_service(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A bare connection in the service's role, where one can say what the store never does."""
    connection = await asyncpg.connect(
        url, timeout=10, server_settings={"search_path": "chat, pg_temp", "role": "chat_service"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def rows_of(admin_url: str, user: str) -> dict[str, list[str]]:
    """Everything a user has, told by somebody who sees it all."""
    async with connected(admin_url) as admin:
        return {
            table: [
                row[0]
                for row in await admin.fetch(
                    f"SELECT t::text FROM {table} AS t WHERE user_id = $1 ORDER BY id", UUID(user)
                )
            ]
            for table in _USERS_TABLES
        }


async def act_for(connection: asyncpg.Connection, user: str) -> None:
    await connection.execute("SELECT set_config('app.current_user_id', $1, true)", user)


# --- every call of the store, by somebody else ------------------------------------------------------

Stranger = Callable[[ConversationStore, str, Accepted, Accepted], Awaitable[object]]
_PERIOD = Period("month", datetime.now(UTC) - timedelta(days=30), datetime.now(UTC) + timedelta(days=1))

# (store, the stranger, a turn of the victim's that ended, one that runs) -> what the stranger gets
CALLS: dict[str, Stranger] = {
    "accept": lambda store, user, ended, _: store.accept(a_send(user, ended.conversation.id)),
    "accept_again": lambda store, user, ended, _: store.accept_again(a_regenerate(user, ended.message.id)),
    "history": lambda store, user, ended, _: store.history(user, ended.message.id, tokens=1000),
    "finish": lambda store, user, _, running: store.finish(an_end(running, user_id=user, usage=())),
    "create": lambda store, user, *_: store.create(user, title="t", context_type="general", context_data={}),
    "update": lambda store, user, ended, _: store.update(
        user, ended.conversation.id, ConversationChange(title="taken")
    ),
    "delete": lambda store, user, ended, _: store.delete(user, ended.conversation.id),
    "conversations": lambda store, user, *_: store.conversations(user, status="active", limit=9, offset=0),
    "conversation": lambda store, user, ended, _: store.conversation(user, ended.conversation.id),
    "messages": lambda store, user, ended, _: store.messages(
        user, ended.conversation.id, limit=9, with_usage=True
    ),
    "generation": lambda store, user, ended, _: store.generation(user, ended.generation.id),
    "by_client_message_id": lambda store, user, ended, _: store.by_client_message_id(
        user, ended.generation.client_message_id
    ),
    "conversation_usage": lambda store, user, ended, _: store.conversation_usage(user, ended.conversation.id),
    "usage_summary": lambda store, user, *_: store.usage_summary(user, _PERIOD),
}


def test_every_call_of_the_store_is_among_those_a_stranger_makes() -> None:
    """A call that is new must be tried here too."""
    calls = {
        name
        for name, _ in inspect.getmembers(ConversationStore, inspect.isfunction)
        if not name.startswith(("_", "system_"))
    }
    assert calls - {"healthy"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_stranger_neither_sees_nor_changes_what_is_anothers(
    app_url: str, admin_url: str, name: str
) -> None:
    async def go() -> None:
        victim, stranger = a_user(), a_user()
        async with opened(app_url) as store:
            ended = await a_turn(store, victim, content="a secret", answer="another secret", title="private")
            running = await store.accept(a_send(victim, content="a third secret"))
            before, told = await rows_of(admin_url, victim), ""
            with contextlib.suppress(NotFound):
                told = repr(await CALLS[name](store, stranger, ended, running))
            for secret in ("secret", "private", victim, ended.conversation.id, ended.message.id):
                assert secret not in told
            assert await rows_of(admin_url, victim) == before
            # What is the victim's own is still to be had, by the same call.
            assert (await store.generation(victim, running.generation.id)).status == "accepted"

    asyncio.run(go())


# --- statements the store never makes ---------------------------------------------------------------


@pytest.mark.parametrize("setting", ["never set", "empty", "reset", "of an ended transaction"])
def test_without_a_user_there_are_no_rows(app_url: str, setting: str) -> None:
    """Architecture §7.8: unset means no rows; after a transaction the setting is the empty string."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            await a_turn(store, user)
        async with as_service(app_url) as service:
            if setting == "empty":
                await service.execute("SET app.current_user_id = ''")
            elif setting == "reset":
                await service.execute(f"SET app.current_user_id = '{user}'; RESET app.current_user_id")
            elif setting == "of an ended transaction":
                async with service.transaction():
                    await act_for(service, user)
                    assert await service.fetchval("SELECT count(*) FROM messages") == 2
            for table in ("conversations", "messages", "usage_tracking", "generations", "erased_users"):
                assert await service.fetchval(f"SELECT count(*) FROM {table}") == 0, table
            assert await service.execute("UPDATE generations SET status = 'failed'") == "UPDATE 0"
            for insert in (
                "INSERT INTO conversations (id, user_id, title) VALUES (uuid_v7(), gen_random_uuid(), 't')",
                """INSERT INTO outbox (id, destination, user_id, kind, payload)
                VALUES (uuid_v7(), 'broker', gen_random_uuid(), 'k', '{}')""",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await service.execute(insert)

    asyncio.run(go())


def test_a_user_reads_and_writes_their_own_rows_alone(app_url: str) -> None:
    async def go() -> None:
        victim, stranger = a_user(), a_user()
        async with opened(app_url) as store:
            theirs = await a_turn(store, victim)
            own = await a_turn(store, stranger)
        async with as_service(app_url) as service:
            for table in ("conversations", "messages", "usage_tracking", "generations"):
                async with service.transaction():
                    await act_for(service, stranger)
                    seen = await service.fetch(f"SELECT DISTINCT user_id::text AS id FROM {table}")
                    assert [row["id"] for row in seen] == [stranger], table
            transaction = service.transaction()
            await transaction.start()
            await act_for(service, stranger)
            changed = await service.execute(
                "UPDATE conversations SET title = 'x' WHERE id = $1", UUID(theirs.conversation.id)
            )
            assert changed == "UPDATE 0"
            for place, owner in (
                (theirs.conversation.id, victim),  # another's row
                (theirs.conversation.id, stranger),  # one's own, in another's conversation
                (own.conversation.id, victim),  # another's, in one's own conversation
            ):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ForeignKeyViolationError)):
                    async with service.transaction():
                        await service.execute(
                            "INSERT INTO messages (id, conversation_id, user_id, sender_type, content)"
                            " VALUES (uuid_v7(), $1, $2, 'user', 'x')",
                            UUID(place),
                            UUID(owner),
                        )
            await transaction.rollback()

    asyncio.run(go())


def test_a_row_cannot_be_given_to_somebody_else(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            await a_turn(store, user)
        async with as_service(app_url) as service:
            for table in ("conversations", "messages", "usage_tracking", "generations"):
                transaction = service.transaction()
                await transaction.start()
                await act_for(service, user)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await service.execute(f"UPDATE {table} SET user_id = gen_random_uuid()")
                await transaction.rollback()

    asyncio.run(go())


def test_partitions_named_directly_show_nothing(app_url: str, admin_url: str) -> None:
    """Architecture §7.8: no grants, and row security of their own should somebody grant them."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            await a_turn(store, user)
        async with connected(admin_url) as admin, as_service(app_url) as service:
            partitions = [
                row["name"]
                for row in await admin.fetch(
                    "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
                    " WHERE inhparent IN ('messages'::regclass, 'usage_tracking'::regclass)"
                )
            ]
            assert len(partitions) >= 12
            for name in partitions:
                direct = service.transaction()
                await direct.start()
                await act_for(service, user)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await service.fetch(f"SELECT * FROM {name}")
                await direct.rollback()
            full = [name for name in partitions if await admin.fetchval(f"SELECT count(*) FROM {name}")]
            assert len(full) >= 2
            for name in full:
                transaction = admin.transaction()
                await transaction.start()
                await admin.execute(f"GRANT SELECT, DELETE ON {name} TO chat_service, chat_system")
                for role in ("chat_service", "chat_system", "chat_owner"):
                    await admin.execute(f"SET LOCAL ROLE {role}")
                    await act_for(admin, user)
                    assert await admin.fetchval(f"SELECT count(*) FROM {name}") == 0, (role, name)
                    assert await admin.execute(f"DELETE FROM {name}") == "DELETE 0"
                    await admin.execute("RESET ROLE")
                await transaction.rollback()

    asyncio.run(go())


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE chat_owner",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE chat_service BYPASSRLS",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY open ON messages USING (true)",
        "DROP POLICY own ON messages",
        "GRANT chat_owner TO chat_service",
        "CREATE FUNCTION theft() RETURNS SETOF messages LANGUAGE sql SECURITY DEFINER AS 'TABLE messages'",
        "CREATE TABLE copy AS TABLE messages",
        "CREATE VIEW view AS TABLE messages",
        "DELETE FROM messages",
        "UPDATE messages SET content = ''",
        "TRUNCATE messages",
        "DELETE FROM conversations",
        "SELECT * FROM outbox",
        "SELECT * FROM audit",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM migration_checksums",
        "UPDATE usage_tracking SET cost_credits = 0",
        "INSERT INTO erased_users (user_id) VALUES (gen_random_uuid())",
        "SELECT create_partitions()",
        "SELECT create_partition('messages', '2040-01-01')",
        "SELECT drop_partitions('infinity')",
        "SELECT stray_rows()",
        "SELECT bury_user(gen_random_uuid(), 'a', 'b')",
        "SELECT erase_rows(gen_random_uuid(), 1)",
        "COPY messages TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_service_may_not(app_url: str, statement: str) -> None:
    async def go() -> None:
        async with as_service(app_url) as service:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)

    asyncio.run(go())


def test_switching_row_security_off_shows_no_more(app_url: str) -> None:
    async def go() -> None:
        async with opened(app_url) as store:
            await a_turn(store, a_user())
        async with as_service(app_url) as service:
            await service.execute("SET row_security = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await service.fetch("SELECT * FROM messages")

    asyncio.run(go())


def test_the_login_by_itself_may_do_nothing(app_url: str) -> None:
    """Without the role it has no rights at all: forgetting to become the service shows nothing."""

    async def go() -> None:
        async with connected(app_url) as login:
            for statement in ("SELECT * FROM chat.messages", "SELECT chat.uuid_v7()", "SET ROLE chat_owner"):
                with pytest.raises(asyncpg.PostgresError) as refused:
                    await login.execute(statement)
                assert isinstance(
                    refused.value, asyncpg.InsufficientPrivilegeError | asyncpg.UndefinedTableError
                )
        async with as_service(app_url) as service:
            await service.execute("SET ROLE NONE")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute("SELECT * FROM chat.messages")
            await service.execute("RESET ROLE")
            assert await service.fetchval("SELECT current_user::text") == "chat_service"
            await service.execute("RESET ALL")
            assert await service.fetchval("SELECT current_user::text") == "chat_service"

    asyncio.run(go())


# --- connections that were used before --------------------------------------------------------------

Used = Callable[[PostgresConversationStore, Database, str], Coroutine[Any, Any, object]]


async def fails_inside(_: PostgresConversationStore, database: Database, user: str) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.service.acting_for(user) as connection:
            await connection.fetch("SELECT 1 / 0")


async def sets_it_for_good(_: PostgresConversationStore, database: Database, user: str) -> None:
    async with database.service.connection() as connection:
        await connection.execute(f"SET app.current_user_id = '{user}'")


async def reads(store: PostgresConversationStore, _: Database, user: str) -> None:
    await store.conversations(user, status="active", limit=5, offset=0)


async def sends(store: PostgresConversationStore, _: Database, user: str) -> None:
    await store.accept(a_send(user, max_generations=0))


async def is_refused(store: PostgresConversationStore, _: Database, user: str) -> None:
    with pytest.raises(NotFound):
        await store.accept(a_send(user, str(uuid4())))


async def seen_by_nobody(database: Database) -> None:
    """The pool's only connection, as the next one gets it."""
    async with database.service.connection() as connection:
        assert not await connection.fetchval("SELECT current_setting('app.current_user_id', true)")
        assert await connection.fetchval("SELECT count(*) FROM messages") == 0
        assert await connection.fetchval("SELECT current_user::text") == "chat_service"
        assert not connection.is_in_transaction()


@pytest.mark.parametrize("used", [reads, sends, is_refused, fails_inside, sets_it_for_good])
def test_a_recycled_connection_carries_no_user(app_url: str, used: Used) -> None:
    async def go() -> None:
        user = a_user()
        async with Database(app_url, limits=PoolLimits(min_size=1, max_size=2)) as database:
            store = PostgresConversationStore(database)
            await a_turn(store, user)
            for _ in range(3):
                await used(store, database, user)
                await seen_by_nobody(database)

    asyncio.run(go())


@pytest.mark.parametrize("used", [reads, sends])
def test_a_call_cancelled_at_any_await_leaves_no_user_behind(app_url: str, used: Used) -> None:
    """Invariant I6, also after cancelled calls; and the pool's only connection is to be had again."""

    async def go() -> None:
        user = a_user()
        async with Database(app_url, limits=PoolLimits(min_size=1, max_size=2)) as database:
            store = PostgresConversationStore(database)
            await a_turn(store, user)
            steps = 0
            async for _ in cancelled_at_every_await(lambda: used(store, database, user)):
                steps += 1
                await seen_by_nobody(database)
                other = await store.conversations(a_user(), status="active", limit=5, offset=0)
                assert other == ((), 0)
            assert steps > 0

    asyncio.run(go())


# --- what the catalogue says, whatever is added -----------------------------------------------------


def test_every_table_has_row_security_that_holds_for_its_owner_too(admin_url: str) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:
            tables = await admin.fetch(
                "SELECT relname, relrowsecurity AND relforcerowsecurity AS safe, relowner::regrole::text AS owner"
                " FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind IN ('r', 'p')"
            )
            assert {row["relname"] for row in tables if not row["safe"]} == _RECORDS
            assert {row["owner"] for row in tables} == {"chat_owner"}
            views = "SELECT count(*) FROM pg_class WHERE relnamespace = 'chat'::regnamespace AND relkind IN ('v', 'm')"
            assert await admin.fetchval(views) == 0, "a view has its owner's rights"

    asyncio.run(go())


def test_rights_are_the_two_roles_alone_and_on_no_partition_and_no_record(admin_url: str) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:
            rights = await admin.fetch(
                "SELECT relname, relispartition, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END"
                " AS who FROM pg_class, aclexplode(relacl)"
                " WHERE relnamespace = 'chat'::regnamespace AND grantee <> relowner"
            )
            assert {row["who"] for row in rights} == {"chat_service", "chat_system"}
            assert not [row["relname"] for row in rights if row["relispartition"]]
            assert not {row["relname"] for row in rights} & _RECORDS
            policies = await admin.fetch("SELECT * FROM pg_policies WHERE schemaname = 'chat'")
            for policy in policies:
                assert policy["permissive"] == "PERMISSIVE"
                assert len(policy["roles"]) == 1
                if policy["roles"] == ["chat_service"]:
                    assert "current_setting('app.current_user_id'::text, true)" in policy["qual"]
                    assert policy["with_check"] in {None, policy["qual"]}
                else:
                    assert policy["roles"][0] in {"chat_system", "chat_owner"}

    asyncio.run(go())


def test_functions_with_the_owners_rights_are_the_houses_alone_and_fixed_to_the_schema(
    admin_url: str,
) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:
            functions = await admin.fetch(
                "SELECT proname, proconfig, has_function_privilege('chat_service', oid, 'EXECUTE') AS service,"
                " EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)"
                " AS everybody FROM pg_proc WHERE pronamespace = 'chat'::regnamespace AND prosecdef"
            )
            assert len(functions) >= 4
            for function in functions:
                assert not function["service"], function["proname"]
                assert not function["everybody"], function["proname"]
                assert any(each.startswith("search_path=chat") for each in function["proconfig"])

    asyncio.run(go())


def test_the_roles_own_nothing_cannot_log_in_and_are_no_exception(admin_url: str) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:
            roles = await admin.fetch(
                "SELECT * FROM pg_roles WHERE rolname IN ('chat_owner', 'chat_service', 'chat_system')"
            )
            assert len(roles) == 3
            for role in roles:
                for right in ("super", "bypassrls", "canlogin", "createrole", "createdb", "replication"):
                    assert not role[f"rol{right}"], (role["rolname"], right)
            owned = await admin.fetchval(
                "SELECT count(*) FROM pg_shdepend WHERE deptype = 'o'"
                " AND refobjid IN ('chat_service'::regrole, 'chat_system'::regrole)"
            )
            assert owned == 0
            assert not await admin.fetchval("SELECT has_schema_privilege('chat_service', 'chat', 'CREATE')")
            assert not await admin.fetchval("SELECT has_schema_privilege('chat_service', 'public', 'CREATE')")

    asyncio.run(go())
