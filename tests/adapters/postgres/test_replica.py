"""Reads from a replica: a real standby, made to lag, stopped, and compared with its primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.pool import Connection, Database, PoolLimits
from server.adapters.postgres.reads import Reads
from server.adapters.postgres.roles import grant_login
from server.conversations.store import ConversationChange, NotFound, StoreUnavailable
from server.conversations.usage import Period, period_of
from server.embedded.postgres import Postgres
from tests.adapters.postgres.given import a_bill, a_send, a_turn, a_user, an_end, connected
from tests.adapters.postgres.standby import Marks, Standby
from tests.scripted.clock import ManualClock
from tests.scripted.waiting import eventually
from tests.services import private_directory, running_services

LIMITS = PoolLimits(min_size=0, max_size=6, connect_seconds=2, acquire_seconds=2)


@dataclass(frozen=True)
class Pair:
    """A primary and its standby, both running."""

    primary: Postgres
    standby: Standby


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_services(valkey=False) as services, private_directory("standby") as directory:
        primary = services.postgres
        asyncio.run(migrate(primary.admin_url))
        asyncio.run(grant_login(primary.admin_url, "chat_app"))
        standby = Standby(directory / "standby", primary)
        asyncio.run(standby.start())
        try:
            yield Pair(primary, standby)
        finally:
            asyncio.run(standby.stop())


@asynccontextmanager
async def a_node(
    pair: Pair, marks: Marks | None, **urls: Any
) -> AsyncIterator[tuple[PostgresConversationStore, Database]]:
    given: dict[str, Any] = {"read_url": pair.standby.app_url, **urls}
    async with Database(pair.primary.app_url, limits=LIMITS, **given) as database:
        yield PostgresConversationStore(database, marks=marks), database


@asynccontextmanager
async def lagging(pair: Pair) -> AsyncIterator[None]:
    """The standby receives and does not replay."""
    async with connected(pair.standby.admin_url) as standby:
        await standby.execute("SELECT pg_wal_replay_pause()")

        def paused() -> bool | Awaitable[bool]:
            return standby.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'")

        await eventually(paused, what="replay is paused")
        try:
            yield
        finally:
            await standby.execute("SELECT pg_wal_replay_resume()")


async def in_recovery(connection: Connection) -> bool:
    answer = await connection.fetchval("SELECT pg_is_in_recovery()")
    assert isinstance(answer, bool)
    return answer


async def by_replica(reads: Reads, user: str) -> None:
    """Wait until the standby answers this user; it is at most a moment behind."""

    def answered() -> bool | Awaitable[bool]:
        return reads.read(user, in_recovery)

    await eventually(answered, what="the standby answers")


def test_an_unknown_user_is_the_primarys_and_then_the_replicas(pair: Pair) -> None:
    """Wherever the primary stood at a read, all the user wrote before lies behind it."""

    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks) as (_, database):
            reads = Reads(database, marks)
            assert await reads.read(user, in_recovery) is False
            assert list(marks.held) == [user]
            await by_replica(reads, user)

    asyncio.run(go())


def test_a_user_reads_their_own_writes_however_far_the_replica_is_behind(pair: Pair) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks) as (store, _):
            place = (await store.create(user, title="T0", context_type="general", context_data=None)).id
            await by_replica(store._reads, user)
            async with lagging(pair):
                for number in range(1, 4):
                    await store.update(user, place, ConversationChange(title=f"T{number}"))
                    listed, _ = await store.conversations(user, status="active", limit=9, offset=0)
                    assert [row.title for row in listed] == [f"T{number}"]
                sent = await store.accept(a_send(user, place))
                assert len((await store.messages(user, place, limit=9)).messages) == 1
                await store.finish(an_end(sent, usage=(a_bill(due=True, state="estimated"),)))
                page = await store.messages(user, place, limit=9, with_usage=True)
                assert (len(page.messages), len(page.usage)) == (2, 1)
                due = [row for row in await store.system_due_usage(limit=99) if row.user_id == user]
                await store.system_settle(
                    due[0], prompt_tokens=1, completion_tokens=2, cost=a_bill().cost, served_model=None
                )
                assert (await store.conversation_usage(user, place)).total_tokens == 3
                await store.delete(user, place)
                assert await store.conversations(user, status="active", limit=9, offset=0) == ((), 0)
                assert await store._reads.read(user, in_recovery) is False
            await by_replica(store._reads, user)
            assert await store.conversations(user, status="active", limit=9, offset=0) == ((), 0)

    asyncio.run(go())


def test_what_another_node_wrote_is_read_too(pair: Pair) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks) as (one, _), a_node(pair, marks) as (two, _):
            place = (await one.create(user, title="T0", context_type="general", context_data=None)).id
            await by_replica(two._reads, user)
            async with lagging(pair):
                await one.update(user, place, ConversationChange(title="T1"))
                listed, _ = await two.conversations(user, status="active", limit=9, offset=0)
                assert [row.title for row in listed] == ["T1"]

    asyncio.run(go())


def test_a_replica_that_is_behind_others_still_answers_who_wrote_nothing_since(pair: Pair) -> None:
    async def go() -> None:
        quiet, busy, marks = a_user(), a_user(), Marks()
        async with a_node(pair, marks) as (store, _):
            turn = await a_turn(store, quiet)
            await by_replica(store._reads, quiet)
            async with lagging(pair):
                await a_turn(store, busy)
                assert await store._reads.read(quiet, in_recovery) is True
                assert await store._reads.read(busy, in_recovery) is False
                page = await store.messages(quiet, turn.conversation.id, limit=9)
                assert len(page.messages) == 2

    asyncio.run(go())


def test_without_shared_marks_the_primary_answers(pair: Pair) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks) as (store, database):
            await a_turn(store, user)
            await by_replica(store._reads, user)
            marks.away = True
            assert await store._reads.read(user, in_recovery) is False
            # a write whose mark reached nobody is known here at least
            async with lagging(pair):
                await a_turn(store, user)
                marks.away = False
                assert (await store.conversations(user, status="active", limit=9, offset=0))[1] == 2
            assert await Reads(database, None).read(user, in_recovery) is False

    asyncio.run(go())


def test_a_mark_that_expired_is_unknown(pair: Pair) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks) as (store, _):
            await a_turn(store, user)
            await by_replica(store._reads, user)
            marks.held.clear()
            assert await store._reads.read(user, in_recovery) is False
            await by_replica(store._reads, user)

    asyncio.run(go())


def test_the_replica_shows_a_user_their_own_rows_only(pair: Pair) -> None:
    async def go() -> None:
        user, other, marks = a_user(), a_user(), Marks()
        async with a_node(pair, marks) as (store, _):
            turn = await a_turn(store, user)
            await a_turn(store, other)
            for each in (user, other):
                await by_replica(store._reads, each)
            with pytest.raises(NotFound):
                await store.messages(other, turn.conversation.id, limit=9)

            async def whose(connection: Connection) -> list[str]:
                assert await in_recovery(connection)
                return [
                    str(row[0]) for row in await connection.fetch("SELECT DISTINCT user_id FROM messages")
                ]

            assert await store._reads.read(user, whose) == [user]

    asyncio.run(go())


def test_an_address_that_is_no_replica_is_not_believed(pair: Pair) -> None:
    """A promoted standby, or the primary itself: how far it has come cannot be known."""

    async def go() -> None:
        user, marks = a_user(), Marks()
        async with a_node(pair, marks, read_url=pair.primary.app_url) as (store, database):
            await a_turn(store, user)
            assert database.replica is not None
            sent: list[str] = []
            async with database.replica.connection() as connection:
                connection.add_query_logger(lambda query: sent.append(query.query))
            assert (await store.conversations(user, status="active", limit=9, offset=0))[1] == 1
            assert any("pg_last_wal_replay_lsn" in query for query in sent)
            assert not any("FROM conversations" in query for query in sent)

    asyncio.run(go())


@pytest.mark.parametrize("wrong", ["port", "password", "database"])
def test_a_replica_that_cannot_be_had_costs_no_answer(pair: Pair, wrong: str) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        parts = urlsplit(pair.standby.app_url)
        address = {
            "port": parts._replace(netloc=parts.netloc.rpartition(":")[0] + ":1"),
            "password": parts._replace(netloc=f"chat_app:wrong@127.0.0.1:{pair.standby.port}"),
            "database": parts._replace(path="/postgres"),
        }[wrong]
        async with a_node(pair, marks, read_url=urlunsplit(address)) as (store, _):
            await a_turn(store, user)
            await eventually(lambda: user in marks.held)
            assert (await store.conversations(user, status="active", limit=9, offset=0))[1] == 1
            assert await store._reads.read(user, in_recovery) is False

    asyncio.run(go())


def test_what_the_replica_cannot_carry_out_the_primary_does(pair: Pair) -> None:
    """It cancels queries that stand in its way, and may not have a migration yet."""

    async def go() -> None:
        user, marks, clock = a_user(), Marks(), ManualClock()
        async with a_node(pair, marks) as (store, database):
            await a_turn(store, user)
            reads = Reads(database, marks, now=clock)
            await by_replica(reads, user)

            async def fails_there(connection: Connection) -> int:
                value = await connection.fetchval("SELECT 1 / (NOT pg_is_in_recovery())::integer")
                assert isinstance(value, int)
                return value

            assert await reads.read(user, fails_there) == 1
            # passed over for a moment, then asked again
            assert await reads.read(user, in_recovery) is False
            clock.advance(5.1)
            await by_replica(reads, user)

    asyncio.run(go())


def test_what_fails_on_the_primary_is_told(pair: Pair) -> None:
    async def go() -> None:
        async with a_node(pair, Marks()) as (store, _):

            async def fails(connection: Connection) -> None:
                await connection.fetchval("SELECT 1 / 0")

            with pytest.raises(asyncpg.DivisionByZeroError):
                await store._reads.read(a_user(), fails)

    asyncio.run(go())


def test_lists_history_and_usage_are_the_replicas_while_the_primary_is_away(pair: Pair) -> None:
    async def go() -> None:
        user, marks = a_user(), Marks()
        month: Period
        async with a_node(pair, marks) as (store, _):
            turn = await a_turn(store, user)
            place = turn.conversation.id
            month = period_of("year", today=turn.conversation.created_at.date())

            async def seen() -> tuple[object, ...]:
                return (
                    await store.conversations(user, status="active", limit=9, offset=0),
                    await store.messages(user, place, limit=9, with_usage=True),
                    await store.conversation_usage(user, place),
                    await store.usage_summary(user, month),
                )

            before = await seen()
            await by_replica(store._reads, user)
            await pair.primary.stop()
            try:
                assert await seen() == before
                with pytest.raises(StoreUnavailable):
                    await store.conversation(user, place)
                with pytest.raises(StoreUnavailable):
                    await store.update(user, place, ConversationChange(title="No"))
                # nobody knows what became of that write, so nobody may say what there is
                with pytest.raises(StoreUnavailable):
                    await store.conversations(user, status="active", limit=9, offset=0)
            finally:
                await pair.primary.start()
            assert await seen() == before

    asyncio.run(go())
