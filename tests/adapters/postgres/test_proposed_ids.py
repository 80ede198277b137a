"""Ids a node proposes, and what the database makes of them."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import hypothesis.strategies as st
from hypothesis import given

from server.adapters.postgres.proposed_ids import ProposedIds, ticks_of
from tests.adapters.postgres.given import connected

NOW_NS = 1_780_000_000_000_000_000


@given(st.integers(0, 2**47 * 1_000_000), st.integers(0, 10**9))
def test_a_proposed_id_is_a_uuid7_of_its_clock_and_follows_what_it_must(clock: int, later: int) -> None:
    ids = ProposedIds(lambda: clock)
    first = ids.next()
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert ticks_of(first) == clock * 4096 // 1_000_000
    ahead = ProposedIds(lambda: clock + later).next()
    assert ids.next(after=ahead) > ahead


def test_a_node_whose_clock_is_off_goes_by_the_databases() -> None:
    right, wrong = ProposedIds(lambda: NOW_NS), ProposedIds(lambda: NOW_NS - 3600 * 10**9)
    wrong.learn(right.next())
    assert ticks_of(wrong.next()) == ticks_of(right.next())


def test_the_database_takes_ids_of_about_now_that_follow(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        async with connected(admin_url) as admin:

            async def taken(proposed: UUID, after: UUID | None = None) -> bool:
                answer = await admin.fetchval("SELECT may_be_id($1, $2)", proposed, after)
                assert isinstance(answer, bool)
                return answer

            ids = ProposedIds()
            ids.learn(await admin.fetchval("SELECT uuid_v7()"))
            now = ids.next()

            def off(seconds: float, beside: UUID = now) -> UUID:
                return ProposedIds(lambda: (ticks_of(beside) * 1_000_000 >> 12) + int(seconds * 1e9)).next()

            assert await taken(now)
            assert await taken(ids.next(after=now), after=now)
            assert not await taken(now, after=ids.next(after=now))
            assert not await taken(now, after=now)
            assert await taken(off(-2))
            assert await taken(off(2))
            assert not await taken(off(-20))
            assert not await taken(off(20))
            assert not await taken(uuid4())
            # a conversation ahead of every clock goes on from where it is
            ahead = off(3600)
            assert await taken(ids.next(after=ahead), after=ahead)
            assert not await taken(off(60, beside=ahead), after=ahead)
            assert await taken(await admin.fetchval("SELECT uuid_v7($1)", ahead), after=ahead)

    asyncio.run(go())
