"""Due work: claimed by one at a time, given out again when it came to nothing, told in order and once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from server.conversations.store import Accepted, ConversationChange, ConversationStore, DueUsage, OutboxRow
from tests.adapters.postgres.given import a_bill, a_send, a_turn, a_user, an_end, connected, opened


@pytest.fixture(autouse=True)
def nothing_is_due(admin_url: str) -> None:
    """Claims are over all users: what the test before left is not this one's."""

    async def go() -> None:
        async with connected(admin_url) as admin:
            await admin.execute(
                "DELETE FROM outbox; UPDATE generations SET status = 'failed', finished_at = now()"
                " WHERE status = 'accepted'; UPDATE usage_tracking SET settle_due_at = NULL"
            )

    asyncio.run(go())


# --- generations that nobody began ------------------------------------------------------------------


async def age(
    admin: asyncpg.Connection, accepted: Accepted, *, created: float = 0, looked: float = 0
) -> None:
    await admin.execute(
        "UPDATE generations SET created_at = created_at - make_interval(secs => $2),"
        " looked_at = looked_at - make_interval(secs => $3) WHERE id = $1",
        UUID(accepted.generation.id),
        created,
        looked,
    )


async def unstarted(store: ConversationStore, limit: int = 10) -> list[str]:
    return [row.id for row in await store.system_unstarted(older_than_seconds=3, limit=limit)]


def test_what_was_accepted_and_never_begun_is_found_after_a_while(app_url: str, admin_url: str) -> None:
    """Architecture §6: a row that is `accepted` for 3 s; one that ended is nobody's to begin."""

    async def go() -> None:
        async with opened(app_url) as store, connected(admin_url) as admin:
            orders = [a_send(a_user()) for _ in range(3)]
            fresh, old, ended = [await store.accept(order) for order in orders]
            for accepted in (old, ended):
                await age(admin, accepted, created=10)
            await store.finish(an_end(ended))
            rows = await store.system_unstarted(older_than_seconds=3, limit=10)
            assert [row.id for row in rows] == [old.generation.id]
            (row,) = rows
            assert (row.user_id, row.status, row.plan, row.request, row.reply_to) == (
                orders[1].user_id,
                "accepted",
                orders[1].plan,
                orders[1].request,
                old.message.id,
            )
            assert await unstarted(store) == [], "somebody looked a moment ago"
            await age(admin, old, looked=6)
            await age(admin, fresh, created=10)
            assert sorted(await unstarted(store)) == sorted([old.generation.id, fresh.generation.id])

    asyncio.run(go())


def test_of_many_nodes_that_look_each_generation_is_given_to_one(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        async with opened(app_url, max_size=8) as store, opened(app_url, max_size=8) as other:
            async with connected(admin_url) as admin:
                made = [await store.accept(a_send(a_user())) for _ in range(30)]
                for accepted in made:
                    await age(admin, accepted, created=10)
            told = await asyncio.gather(
                *((store, other)[n % 2].system_unstarted(older_than_seconds=3, limit=7) for n in range(8))
            )
            assert all(len(some) <= 7 for some in told)
            claimed = [row.id for some in told for row in some]
            while left := await store.system_unstarted(older_than_seconds=3, limit=7):
                claimed += [row.id for row in left]
            assert sorted(claimed) == sorted(each.generation.id for each in made)

    asyncio.run(go())


def test_those_never_looked_at_come_first_and_then_the_longest_unseen(app_url: str, admin_url: str) -> None:
    """One that cannot be begun does not keep the others from being begun."""

    async def go() -> None:
        async with opened(app_url) as store, connected(admin_url) as admin:
            made = [await store.accept(a_send(a_user())) for _ in range(3)]
            for n, accepted in enumerate(made):
                await age(admin, accepted, created=100 - n)
            assert await unstarted(store, limit=1) == [made[0].generation.id]
            await age(admin, made[0], looked=60)
            assert await unstarted(store, limit=1) == [made[1].generation.id]
            await age(admin, made[1], looked=30)
            order = [await unstarted(store, limit=1) for _ in range(3)]
            assert order == [[made[n].generation.id] for n in (2, 0, 1)]

    asyncio.run(go())


# --- the outbox -------------------------------------------------------------------------------------


async def make_due(admin: asyncpg.Connection, user: str = "") -> None:
    await admin.execute(
        "UPDATE outbox SET due_at = now() - interval '1 second' WHERE $1 = '' OR user_id::text = $1", user
    )


def told(rows: list[OutboxRow]) -> list[str]:
    return [str(row.payload.get("conversation", {}).get("title")) for row in rows]


async def renamed(store: ConversationStore, user: str, names: list[str]) -> str:
    """A conversation that was made and renamed; its channel is told each name in turn."""
    made = await store.create(user, title=names[0], context_type="general", context_data=None)
    for name in names[1:]:
        await store.update(user, made.id, ConversationChange(title=name))
    return made.id


def test_what_is_told_comes_in_order_and_goes_when_it_is_done(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            conversation = await renamed(store, user, ["a", "b", "c"])
            rows = await store.system_outbox("channel", limit=10)
            assert told(rows) == ["a", "b", "c"]
            assert [row.kind for row in rows] == [
                "conversation.created",
                "conversation.updated",
                "conversation.updated",
            ]
            assert {(row.user_id, row.conversation_id, row.attempts) for row in rows} == {
                (user, conversation, 1)
            }
            assert await store.system_outbox("channel", limit=10) == [], "they are in somebody's hands"
            assert [row.kind for row in await store.system_outbox("broker", limit=10)] == [
                "chat.conversation.created"
            ], "each destination goes its own way"
            for _ in range(2):
                await store.system_outbox_done([row.id for row in rows])
            await make_due(admin)
            assert await store.system_outbox("channel", limit=10) == []
            assert await admin.fetchval("SELECT count(*) FROM outbox WHERE destination = 'channel'") == 0

    asyncio.run(go())


def test_what_was_not_reported_done_is_given_out_again_later_and_later(app_url: str, admin_url: str) -> None:
    """The claimant may have died after delivering: the row's id is what the receiver knows it by."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            await renamed(store, user, ["a"])
            waits, ids = [], set()
            for attempt in range(1, 10):
                (row,) = await store.system_outbox("channel", limit=10)
                assert row.attempts == attempt
                ids.add(row.id)
                waits.append(
                    await admin.fetchval(
                        "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM outbox WHERE id = $1",
                        UUID(row.id),
                    )
                )
                await make_due(admin)
            assert len(ids) == 1
            assert [round(wait / 5) * 5 for wait in waits] == [5, 10, 20, 40, 80, 160, 300, 300, 300]

    asyncio.run(go())


def test_one_that_is_stuck_holds_up_its_conversation_and_no_other(app_url: str, admin_url: str) -> None:
    """In order per conversation: what follows a row that is in somebody's hands waits."""

    async def go() -> None:
        user, other = a_user(), a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            stuck = await renamed(store, user, ["a"])
            (first,) = await store.system_outbox("channel", limit=10)
            await store.update(user, stuck, ConversationChange(title="b"))
            await renamed(store, user, ["another"])
            await renamed(store, other, ["x", "y"])
            rows = await store.system_outbox("channel", limit=10)
            assert sorted(told(rows)) == ["another", "x", "y"]
            await store.system_outbox_done([row.id for row in rows])
            await make_due(admin)
            again = await store.system_outbox("channel", limit=10)
            assert told(again) == ["a", "b"]
            assert again[0].id == first.id
            await store.system_outbox_done([first.id])
            await store.update(user, stuck, ConversationChange(title="c"))
            assert await store.system_outbox("channel", limit=10) == [], "b is still in somebody's hands"
            await make_due(admin)
            assert told(await store.system_outbox("channel", limit=10)) == ["b", "c"]

    asyncio.run(go())


def test_many_nodes_deliver_every_conversation_in_order_and_every_row_once(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        async with opened(app_url, max_size=8) as store, opened(app_url, max_size=8) as other:
            names = [str(n) for n in range(6)]
            await asyncio.gather(*(renamed(store, a_user(), names) for _ in range(12)))
            delivered: dict[str, list[str]] = {}
            done: list[str] = []

            async def relay(which: ConversationStore) -> None:
                while len(done) < 12 * len(names):
                    rows = await which.system_outbox("channel", limit=5)
                    for row in rows:
                        delivered.setdefault(str(row.conversation_id), []).append(told([row])[0])
                        done.append(row.id)
                        await asyncio.sleep(0)
                    await which.system_outbox_done([row.id for row in rows])

            async with asyncio.timeout(30):
                await asyncio.gather(*(relay(each) for each in (store, other) * 2))
            assert len(set(done)) == len(done) == 72
            assert list(delivered.values()) == [names] * 12

    asyncio.run(go())


def test_rows_that_belong_to_no_conversation_wait_for_nobody(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            await admin.executemany(
                "INSERT INTO outbox (id, destination, user_id, kind, payload)"
                " VALUES (uuid_v7(), 'channel', $1, 'notification', $2)",
                [(UUID(user), f'{{"n": {n}}}') for n in range(4)],
            )
            (one,) = await store.system_outbox("channel", limit=1)
            rest = await store.system_outbox("channel", limit=10)
            assert sorted([one.payload["n"], *(row.payload["n"] for row in rest)]) == [0, 1, 2, 3]
            assert {row.conversation_id for row in rest} == {None}

    asyncio.run(go())


def test_what_must_be_told_once_stays_known_after_it_was_told(app_url: str, admin_url: str) -> None:
    """Architecture §6: "once per stage" is a unique row, not a key that expires."""

    async def go() -> None:
        user = a_user()
        insert = (
            "INSERT INTO outbox (id, destination, user_id, kind, payload, once_key)"
            " VALUES (uuid_v7(), 'channel', $1, 'notification', '{\"x\": 1}', 'stage-7')"
        )
        async with opened(app_url) as store, connected(admin_url) as admin:
            await admin.execute(insert, UUID(user))
            (row,) = await store.system_outbox("channel", limit=5)
            await store.system_outbox_done([row.id])
            with pytest.raises(asyncpg.UniqueViolationError):
                await admin.execute(insert, UUID(user))
            await make_due(admin)
            assert await store.system_outbox("channel", limit=5) == []
            kept = await admin.fetchrow(
                "SELECT payload::text, delivered_at FROM outbox WHERE once_key = 'stage-7'"
            )
            assert kept is not None
            assert (kept["payload"], kept["delivered_at"] is None) == ("{}", False)

    asyncio.run(go())


# --- bills ------------------------------------------------------------------------------------------


async def owed(store: ConversationStore, *bills: Any, user: str = "") -> Accepted:
    accepted = await store.accept(a_send(user or a_user(), max_generations=0))
    assert await store.finish(an_end(accepted, usage=bills))
    return accepted


async def settle(store: ConversationStore, usage: DueUsage, cost: str, **more: Any) -> dict[str, Any] | None:
    fields: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 3, "served_model": None, **more}
    return await store.system_settle(usage, cost=Decimal(cost), **fields)


def estimated(attempt: int, **more: Any) -> Any:
    fields = {"state": "estimated", "due": True, "cost": Decimal("0.5"), **more}
    return a_bill(attempt, **fields)


def test_bills_that_are_open_are_asked_for_and_settled_ones_are_not(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            accepted = await owed(
                store,
                a_bill(1),
                estimated(2, key="k2"),
                estimated(3, upstream_id=None),
                estimated(4, due=False),
                user=user,
            )
            (due,) = await store.system_due_usage(limit=10)
            assert (due.user_id, due.generation_id, due.attempt) == (user, accepted.generation.id, 2)
            assert (due.upstream_id, due.key, due.tries) == ("gen-2", "k2", 1)
            assert await store.system_due_usage(limit=10) == []

    asyncio.run(go())


def test_settling_changes_the_sums_and_tells_it_once(app_url: str, admin_url: str) -> None:
    """Invariant I4: sums equal the upstream's bill; nobody is charged twice."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            accepted = await owed(store, a_bill(1, cost=Decimal("0.000000000001")), estimated(2), user=user)
            before = (await store.generation(user, accepted.generation.id)).finished
            assert before is not None
            (due,) = await store.system_due_usage(limit=10)
            expected = {
                "prompt_tokens": 107,
                "completion_tokens": 23,
                "total_tokens": 130,
                "cost": "0.123456789013",
                "state": "settled",
            }
            assert await settle(store, due, "0.123456789012", served_model="a/b-2") == expected
            # A second answer, to another node that had asked too, changes nothing and tells nothing.
            assert await settle(store, due, "9") == expected
            (event,) = [
                row for row in await store.system_outbox("channel", limit=10) if row.kind == "usage.settled"
            ]
            assert event.payload == {
                "type": "usage.settled",
                "generation": accepted.generation.id,
                "usage": expected,
            }
            assert (event.user_id, event.conversation_id) == (user, accepted.conversation.id)
            after = (await store.generation(user, accepted.generation.id)).finished
            assert after is not None
            assert after["usage"] == expected
            assert after["message"] == before["message"]
            one, two = after["segments"]
            assert one == before["segments"][0]
            assert two["served_model"] == "a/b-2"
            assert (two["usage"]["cost"], two["usage"]["state"]) == ("0.123456789012", "settled")
            usage = await store.conversation_usage(user, accepted.conversation.id)
            assert usage.cost == Decimal("0.123456789013")
            assert await store.system_due_usage(limit=10) == []

    asyncio.run(go())


def test_two_attempts_settled_at_once_end_in_the_sum_of_both(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url, max_size=8) as store, opened(app_url, max_size=8) as other:
            for _ in range(6):
                accepted = await owed(store, estimated(1), estimated(2), user=user)
                due = await store.system_due_usage(limit=10)
                sums = await asyncio.gather(
                    *(settle((store, other)[n % 2], usage, "0.25") for n, usage in enumerate(due * 3))
                )
                assert Decimal("0.5") in {Decimal(each["cost"]) for each in sums if each}
                finished = (await store.generation(user, accepted.generation.id)).finished
                assert finished is not None
                assert (finished["usage"]["cost"], finished["usage"]["state"]) == ("0.5", "settled")
                events = [
                    row
                    for row in await store.system_outbox("channel", limit=20)
                    if row.kind == "usage.settled"
                ]
                assert len(events) == 2
                assert events[-1].payload["usage"]["cost"] == "0.5", "the last word is the whole sum"

    asyncio.run(go())


def test_a_bill_is_asked_for_again_and_again_for_an_hour_and_then_it_is_unknown(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await owed(store, estimated(1), user=user)
            waits = []
            for tries in range(1, 10):
                (due,) = await store.system_due_usage(limit=10)
                assert due.tries == tries
                waits.append(
                    await admin.fetchval(
                        "SELECT extract(epoch FROM settle_due_at - clock_timestamp())::float FROM usage_tracking"
                        " WHERE id = $1",
                        UUID(due.id),
                    )
                )
                await admin.execute(
                    "UPDATE usage_tracking SET settle_due_at = now() WHERE id = $1", UUID(due.id)
                )
            assert [round(wait / 5) * 5 for wait in waits] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
            await admin.execute(
                "UPDATE usage_tracking SET created_at = now() - interval '59 minutes' WHERE id = $1",
                UUID(due.id),
            )
            (due,) = await store.system_due_usage(limit=10)
            left = await admin.fetchval(
                "SELECT extract(epoch FROM settle_due_at - created_at)::float FROM usage_tracking WHERE id = $1",
                UUID(due.id),
            )
            assert 3595 < left < 3605, "the last try is at the hour"
            await admin.execute(
                "UPDATE usage_tracking SET settle_due_at = now(), created_at = now() - interval '1 hour'"
                " WHERE id = $1",
                UUID(due.id),
            )
            (last,) = await store.system_due_usage(limit=10)
            assert (
                await admin.fetchval("SELECT state FROM usage_tracking WHERE id = $1", UUID(due.id))
                == "unknown"
            )
            assert await store.system_due_usage(limit=10) == []
            usage = await settle(store, last, "0.1")
            assert usage is not None
            assert (usage["state"], usage["cost"]) == ("settled", "0.1"), "an answer that does come counts"
            assert (await store.conversation_usage(user, accepted.conversation.id)).cost == Decimal("0.1")

    asyncio.run(go())


def test_a_bill_that_will_never_be_known_is_given_up_and_a_settled_one_stays(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await owed(store, estimated(1), estimated(2), user=user)
            one, two = sorted(await store.system_due_usage(limit=10), key=lambda due: due.attempt)
            await settle(store, one, "0.1")
            for due in (one, two, two):
                await store.system_give_up_usage(due)
            await admin.execute(
                "UPDATE usage_tracking SET settle_due_at = now() WHERE settle_due_at IS NOT NULL AND user_id = $1",
                UUID(user),
            )
            assert await store.system_due_usage(limit=10) == []
            states = await admin.fetch(
                "SELECT state FROM usage_tracking WHERE generation_id = $1 ORDER BY attempt",
                UUID(accepted.generation.id),
            )
            assert [row["state"] for row in states] == ["settled", "unknown"]

    asyncio.run(go())


def test_a_bill_of_nobody_is_settled_by_nobody(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await owed(store, estimated(1))
            (due,) = await store.system_due_usage(limit=10)
            await admin.execute(
                "DELETE FROM usage_tracking WHERE generation_id = $1", UUID(accepted.generation.id)
            )
            assert await settle(store, due, "1") is None
            await store.system_give_up_usage(due)

    asyncio.run(go())


def test_of_many_nodes_that_ask_each_bill_is_given_to_one(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        async with opened(app_url, max_size=8) as store, opened(app_url, max_size=8) as other:
            for _ in range(10):
                await owed(store, estimated(1), estimated(2))
            claimed = await asyncio.gather(
                *((store, other)[n % 2].system_due_usage(limit=6) for n in range(8))
            )
            ids = [due.id for some in claimed for due in some]
            while left := await store.system_due_usage(limit=6):
                ids += [due.id for due in left]
            assert len(ids) == len(set(ids)) == 20
            assert max(map(len, claimed)) <= 6

    asyncio.run(go())


def test_a_turn_leaves_nothing_due_when_all_went_well(app_url: str, admin_url: str) -> None:
    """Invariant I3 and I8: no row stays open."""

    async def go() -> None:
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await a_turn(store, a_user())
            await age(admin, accepted, created=100)
            for destination in ("channel", "broker"):
                rows = await store.system_outbox(destination, limit=10)
                await store.system_outbox_done([row.id for row in rows])
            assert await unstarted(store) == []
            assert await store.system_due_usage(limit=10) == []
            assert await admin.fetchval("SELECT count(*) FROM outbox") == 0

    asyncio.run(go())
