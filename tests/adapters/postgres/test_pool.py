"""Pools: away is `StoreUnavailable` in time and passes; a login that may not is refused; nothing is held."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psutil
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.pool import Database, PoolLimits, RoleRefused
from server.adapters.postgres.roles import grant_login
from server.conversations.store import StoreUnavailable
from server.embedded.postgres import Postgres
from server.embedded.services import EmbeddedServices
from tests.adapters.cancelling import cancelled_at_every_await
from tests.adapters.postgres.catalogue import empty_database
from tests.adapters.postgres.given import a_send, a_turn, a_user, an_end, connected
from tests.scripted.waiting import eventually
from tests.services import Database as Urls
from tests.services import both_urls, running_services

BRIEF: dict[str, float] = {"connect_seconds": 2.0, "acquire_seconds": 2.0, "statement_seconds": 1.0}


@asynccontextmanager
async def pools(url: str, **limits: Any) -> AsyncIterator[tuple[Database, PostgresConversationStore]]:
    async with Database(url, limits=PoolLimits(**{"min_size": 1, "max_size": 4, **limits})) as database:
        yield database, PostgresConversationStore(database)


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServices]:
    """A server of this file's own, to stop, kill and freeze."""
    with running_services(valkey=False) as services:

        async def prepare() -> None:
            await migrate(both_urls(services).admin_url)
            await grant_login(both_urls(services).admin_url, "chat_app")

        asyncio.run(prepare())
        yield services


def signalled(server: Postgres, do: Callable[[psutil.Process], None]) -> None:
    """The server, then its children: one of them serves each connection, and may end before its turn comes."""
    first = psutil.Process(server.pid)
    do(first)
    for child in first.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            do(child)


async def is_back(store: PostgresConversationStore) -> None:
    await eventually(store.healthy, what="the database answers")


Fault = Callable[[Postgres], Awaitable[None]]


async def stopped(server: Postgres) -> None:
    await server.stop()


async def killed(server: Postgres) -> None:
    await server.kill()


async def frozen(server: Postgres) -> None:
    signalled(server, psutil.Process.suspend)


async def mend(server: Postgres) -> None:
    if server.running:
        signalled(server, psutil.Process.resume)
    else:
        await server.start()


@pytest.mark.parametrize("fault", [stopped, killed, frozen])
def test_a_server_that_is_away_is_unavailable_in_time_and_used_again_when_it_is_back(
    own: EmbeddedServices, fault: Fault
) -> None:
    """quality.md §2: PostgreSQL away; asking again is safe (I7)."""

    async def go() -> None:
        user = a_user()
        async with pools(both_urls(own).app_url, **BRIEF) as (_, store):
            turn = await a_turn(store, user)
            running = await store.accept(a_send(user))
            order = a_send(user)
            async with connected(both_urls(own).admin_url) as admin:
                # The tests' server does not flush by itself, so a crash would take back what was acked.
                await admin.execute("CHECKPOINT")
            await fault(own.postgres)
            try:
                async with asyncio.timeout(60):
                    told = await asyncio.gather(
                        store.accept(order),
                        store.finish(an_end(running)),
                        store.conversation(user, turn.conversation.id),
                        store.system_outbox("channel", limit=5),
                        return_exceptions=True,
                    )
                    assert not await store.healthy()
                assert {type(each) for each in told} == {StoreUnavailable}
            finally:
                await mend(own.postgres)
            await is_back(store)
            accepted = await store.accept(order)
            assert (await store.accept(order)).duplicate
            assert await store.finish(an_end(running))
            assert accepted.message.content == order.content
            assert (await store.conversation(user, turn.conversation.id)).id == turn.conversation.id

    asyncio.run(go())


def test_a_server_that_is_not_there_at_the_start_is_unavailable(own: EmbeddedServices) -> None:
    async def go() -> None:
        await own.postgres.stop()
        try:
            with pytest.raises(StoreUnavailable):
                await Database(both_urls(own).app_url, limits=PoolLimits(**BRIEF)).open()  # type: ignore[arg-type]
        finally:
            await own.postgres.start()

    asyncio.run(go())


def test_connections_cut_in_the_middle_of_a_transaction_leave_nothing_half_done(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        user = a_user()
        async with pools(app_url) as (database, store), connected(admin_url) as admin:
            turn = await a_turn(store, user)

            async def cut() -> None:
                async with database.service.acting_for(user) as connection:
                    await connection.execute("UPDATE conversations SET title = 'half'")
                    pid = connection.get_server_pid()
                    await admin.execute("SELECT pg_terminate_backend($1, 5000)", pid)
                    await connection.execute("UPDATE conversations SET title = 'done'")

            with pytest.raises(StoreUnavailable):
                await cut()
            assert (await store.conversation(user, turn.conversation.id)).title == turn.conversation.title

    asyncio.run(go())


def test_idle_connections_that_were_cut_are_replaced_without_anybody_noticing_for_long(
    app_url: str, admin_url: str
) -> None:
    """A proxy or a restart cuts what lies in the pool."""

    async def go() -> None:
        user = a_user()
        async with pools(app_url, min_size=3, max_size=5) as (_, store), connected(admin_url) as admin:
            await asyncio.gather(*(a_turn(store, user, max_generations=0) for _ in range(3)))
            for _ in range(3):
                await admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'chat %'"
                    " AND datname = current_database()"
                )
                await is_back(store)
                await a_turn(store, user)

    asyncio.run(go())


def test_who_finds_no_connection_free_is_told_in_time_and_the_houses_work_goes_on(app_url: str) -> None:
    """Two of the connections are the house's own."""

    async def go() -> None:
        user = a_user()
        async with pools(app_url, max_size=4, acquire_seconds=0.3) as (database, store):
            await a_turn(store, user)
            async with database.service.connection(), database.service.connection():
                with pytest.raises(StoreUnavailable):
                    await store.accept(a_send(user))
                assert await store.system_outbox("channel", limit=5) == []
            await a_turn(store, user)

    asyncio.run(go())


def test_a_statement_that_takes_too_long_is_given_up_and_the_connection_is_good_again(app_url: str) -> None:
    async def go() -> None:
        async with pools(app_url, max_size=3, statement_seconds=0.3) as (database, store):
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await database.service.value("SELECT pg_sleep(30)")
                with pytest.raises(StoreUnavailable):
                    async with database.service.acting_for(a_user()) as connection:
                        await connection.execute("SELECT pg_sleep(30)")
            assert await store.healthy()
            assert await database.service.value("SELECT current_setting('app.current_user_id', true)") in {
                None,
                "",
            }

    asyncio.run(go())


def test_a_lock_somebody_holds_is_not_waited_for_for_ever(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with (
            pools(app_url, statement_seconds=0.4) as (_, store),
            connected(admin_url) as holder,
        ):
            turn = await a_turn(store, user)
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("SELECT FROM conversations WHERE user_id::text = $1 FOR UPDATE", user)
            order = a_send(user, turn.conversation.id)
            with pytest.raises(StoreUnavailable):
                await store.accept(order)
            await transaction.rollback()
            assert not (await store.accept(order)).duplicate, "nothing had been written"

    asyncio.run(go())


def test_a_mistake_of_our_own_is_not_called_an_outage(app_url: str) -> None:
    """What asking again cannot mend must be seen."""

    async def go() -> None:
        async with pools(app_url) as (database, _):
            for statement, mistake in (
                ("SELECT 1 / 0", asyncpg.DivisionByZeroError),
                ("SELECT nonsense", asyncpg.UndefinedColumnError),
                ("DELETE FROM messages", asyncpg.InsufficientPrivilegeError),
            ):
                with pytest.raises(mistake):
                    await database.service.value(statement)
            with pytest.raises(asyncpg.DataError):
                await database.service.value("SELECT $1::uuid", "no uuid")
            with pytest.raises(ValueError, match="badly formed"):
                async with database.service.acting_for("'; DROP TABLE messages; --"):
                    pass

    asyncio.run(go())


@pytest.mark.parametrize("least", [0, 1])
def test_a_login_that_may_not_become_the_service_is_refused_at_the_start(
    module_database: Urls, least: int
) -> None:
    async def go() -> None:
        async with empty_database(module_database) as database, connected(database.admin_url) as admin:
            await admin.execute("DROP ROLE IF EXISTS somebody; CREATE ROLE somebody LOGIN PASSWORD 'secret'")
            url = f"postgresql://somebody:secret@{database.admin_url.split('@')[1]}"
            try:
                with pytest.raises(RoleRefused, match="the login cannot work as chat_service"):
                    await Database(url, limits=PoolLimits(min_size=least)).open()
                await admin.execute("GRANT chat_service TO somebody")
                with pytest.raises(RoleRefused, match="the login cannot work as chat_system"):
                    await Database(url, limits=PoolLimits(min_size=least)).open()
            finally:
                await admin.execute("DROP ROLE somebody")

    asyncio.run(go())


def test_a_role_that_is_taken_away_later_is_unavailable_until_it_is_given_back(
    module_database: Urls,
) -> None:
    async def go() -> None:
        urls = module_database
        async with connected(urls.admin_url) as admin:
            await admin.execute("DROP ROLE IF EXISTS lent; CREATE ROLE lent LOGIN PASSWORD 'secret'")
            await grant_login(urls.admin_url, "lent")
            url = f"postgresql://lent:secret@{urls.admin_url.split('@')[1]}"
            try:
                async with pools(url) as (_, store):
                    await a_turn(store, a_user())
                    await admin.execute("REVOKE chat_service, chat_system FROM lent")
                    await admin.execute(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'lent'"
                    )

                    async def refused() -> bool:
                        try:
                            await store.accept(a_send(a_user()))
                        except StoreUnavailable as error:
                            return "cannot work as chat_service any more" in str(error)
                        return False

                    await eventually(refused)
                    await grant_login(urls.admin_url, "lent")
                    await is_back(store)
                    await a_turn(store, a_user())
            finally:
                await admin.execute("DROP ROLE lent")

    asyncio.run(go())


def test_a_superusers_address_does_not_change_what_the_service_may_see(admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with pools(admin_url) as (database, store):
            await a_turn(store, user)
            assert await database.service.value("SELECT current_user::text") == "chat_service"
            assert await database.service.value("SELECT count(*) FROM messages") == 0
            assert await database.system.value("SELECT current_user::text") == "chat_system"

    asyncio.run(go())


def test_what_users_do_is_durable_before_it_is_acked(app_url: str) -> None:
    """I7: only the house's own work, which is claimed and done again, may be lost with the machine."""

    async def go() -> None:
        async with pools(app_url) as (database, _):
            # The tests' server has it off for all; what matters is that the service does not ask for less.
            told = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
            assert await database.service.value(told) == "command line"
            assert await database.system.value(told) == "client"
            assert await database.system.value("SHOW synchronous_commit") == "off"
            assert await database.service.value("SHOW timezone") == "UTC"

    asyncio.run(go())


def test_a_call_cancelled_at_any_await_gives_its_connection_back(app_url: str) -> None:
    """I8: a pool of one is the next one's at once, whenever the one before was cancelled."""

    async def go() -> None:
        user = a_user()
        async with pools(app_url, max_size=2, acquire_seconds=5.0) as (database, store):
            turn = await a_turn(store, user)

            async def transaction() -> None:
                async with database.service.acting_for(user) as connection:
                    await connection.execute("UPDATE conversations SET title = 'cancelled'")
                    await connection.fetchval("SELECT pg_sleep(0.001)")

            async for _ in cancelled_at_every_await(transaction):
                title = (await store.conversation(user, turn.conversation.id)).title
                assert title in {turn.conversation.title, "cancelled"}
                assert await database.service.value("SELECT 1") == 1
            order = a_send(user, max_generations=0)
            async for _ in cancelled_at_every_await(lambda: store.accept(order)):
                assert await database.service.value("SELECT 1") == 1
            assert (await store.accept(order)).duplicate

    asyncio.run(go())


def test_a_closed_pool_is_unavailable_and_closing_can_be_repeated(app_url: str) -> None:
    async def go() -> None:
        async with pools(app_url) as (database, store):
            await a_turn(store, a_user())
            for _ in range(2):
                await database.close()
            with pytest.raises(StoreUnavailable):
                await store.accept(a_send(a_user()))
            await database.open()
            await a_turn(store, a_user())

    asyncio.run(go())


def test_closing_waits_for_a_call_under_way(app_url: str) -> None:
    async def go() -> None:
        async with pools(app_url) as (database, _):
            slow = asyncio.ensure_future(database.service.value("SELECT pg_sleep(0.3) IS NOT NULL"))
            async with connected(app_url) as watching:

                async def begun() -> object:
                    return await watching.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.3)%'"
                        " AND pid <> pg_backend_pid() AND state = 'active'"
                    )

                await eventually(begun)
            await database.close()
            assert await slow is True

    asyncio.run(go())
