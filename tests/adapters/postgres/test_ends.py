"""Ends: written once however often they are told, with what was used to the twelfth place."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.conversations.store import Accepted, EndRecord, GenerationInProgress, NotFound
from tests.adapters.postgres.given import a_bill, a_send, a_turn, a_user, an_end, connected, opened


async def outbox(admin: asyncpg.Connection, user: str) -> list[tuple[str, Any]]:
    rows = await admin.fetch(
        "SELECT kind, payload::text FROM outbox WHERE user_id = $1 AND kind LIKE 'chat.%' ORDER BY id",
        UUID(user),
    )
    return [(row["kind"], row["payload"]) for row in rows]


async def bills(admin: asyncpg.Connection, user: str) -> list[asyncpg.Record]:
    return await admin.fetch(
        "SELECT * FROM usage_tracking WHERE user_id = $1 ORDER BY generation_id, attempt", UUID(user)
    )


def test_an_end_is_an_answer_its_bills_and_the_generation_in_one_piece(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            end = an_end(
                accepted,
                "An answer.",
                usage=(
                    a_bill(1, state="unknown", upstream_id=None, failure="stalled", reached=False),
                    a_bill(2, model="c/d", is_free_model=True),
                ),
            )
            assert await store.finish(end)
            page = await store.messages(user, accepted.conversation.id, limit=5)
            assert page.messages[-1] == end.message
            found = await store.generation(user, accepted.generation.id)
            assert (found.status, found.finished_at) == ("completed", end.finished_at)
            assert found.finished == end.finished, "the answer's content is put back from its row"
            one, two = await bills(admin, user)
            assert (one["attempt"], one["state"], one["failure"], one["reached"]) == (
                1,
                "unknown",
                "stalled",
                False,
            )
            assert (two["model_used"], two["served_model"], two["is_free_model"]) == ("c/d", "a/b-1", True)
            assert (two["prompt_tokens"], two["completion_tokens"], two["total_tokens"]) == (100, 20, 120)
            assert (str(two["message_id"]), two["upstream_id"], two["upstream_key"]) == (
                accepted.generation.message_id,
                "gen-2",
                "k1",
            )
            kinds = [kind for kind, _ in await outbox(admin, user)]
            assert kinds == ["chat.conversation.created", "chat.message.completed", "chat.usage.recorded"]
            stored = await admin.fetchval(
                "SELECT finished::text FROM generations WHERE id = $1", UUID(accepted.generation.id)
            )
            assert "An answer." not in stored, "the content stands in one place alone"

    asyncio.run(go())


@pytest.mark.parametrize("at_once", [False, True])
def test_an_end_told_again_changes_nothing(app_url: str, admin_url: str, at_once: bool) -> None:
    """Architecture §3: idempotent by generation; several nodes may complete the same sealed record."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            end = an_end(accepted, usage=(a_bill(1), a_bill(2)))
            if at_once:
                assert await asyncio.gather(*(store.finish(end) for _ in range(8))) == [True] * 8
            else:
                assert await store.finish(end)
                for _ in range(3):
                    assert await store.finish(end)
            # Whoever tells another end for the same generation tells nothing: it was decided before.
            assert await store.finish(an_end(accepted, "another", status="failed", usage=(a_bill(3),)))
            assert len(await bills(admin, user)) == 2
            assert [kind for kind, _ in await outbox(admin, user)].count("chat.usage.recorded") == 1
            page = await store.messages(user, accepted.conversation.id, limit=5)
            assert [message.content for message in page.messages] == ["What suits me?", "An answer."]
            assert (await store.generation(user, accepted.generation.id)).status == "completed"

    asyncio.run(go())


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "interrupted"])
@pytest.mark.parametrize("text", ["Half an ans", None])
def test_an_answer_that_broke_off_is_kept_and_one_that_never_came_leaves_none(
    app_url: str, status: str, text: str | None
) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            accepted = await store.accept(a_send(user))
            assert await store.finish(an_end(accepted, text, status=status))
            page = await store.messages(user, accepted.conversation.id, limit=5)
            assert [message.content for message in page.messages[1:]] == ([] if text is None else [text])
            assert (await store.generation(user, accepted.generation.id)).status == status
            await store.accept(a_send(user, accepted.conversation.id))

    asyncio.run(go())


def test_a_conversation_deleted_meanwhile_keeps_only_the_bill(app_url: str, admin_url: str) -> None:
    """rest.md: the end of a turn is written only while its conversation is there; what was used stays known."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            await store.delete(user, accepted.conversation.id)
            end = an_end(accepted, usage=(a_bill(1), a_bill(2, due=True)))
            assert await asyncio.gather(*(store.finish(end) for _ in range(3))) == [False] * 3
            assert await store.finish(end) is False
            messages = "SELECT count(*) FROM messages WHERE user_id = $1 AND sender_type = 'assistant'"
            assert await admin.fetchval(messages, UUID(user)) == 0
            one, two = await bills(admin, user)
            assert (one["message_id"], str(one["conversation_id"])) == (None, accepted.conversation.id)
            assert two["settle_due_at"] is not None
            kinds = [kind for kind, _ in await outbox(admin, user)]
            assert kinds == ["chat.conversation.created", "chat.usage.recorded"]
            row = await admin.fetchrow(
                "SELECT status, bill_only FROM generations WHERE id = $1", UUID(accepted.generation.id)
            )
            assert row is not None
            assert tuple(row.values()) == ("completed", True), "nothing stays open"

    asyncio.run(go())


def test_a_conversation_removed_altogether_keeps_only_the_bill(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            await admin.execute("DELETE FROM conversations WHERE user_id = $1", UUID(user))
            for _ in range(2):
                assert await store.finish(an_end(accepted)) is False
            (bill,) = await bills(admin, user)
            assert (bill["conversation_id"], bill["message_id"]) == (None, None)
            assert [kind for kind, _ in await outbox(admin, user)].count("chat.usage.recorded") == 1
            with pytest.raises(NotFound):
                await store.generation(user, accepted.generation.id)

    asyncio.run(go())


COSTS = [
    "0",
    "0.000000000001",
    "0.123456789012",
    "1E-12",
    "12345678.000000000009",
    "99999999.999999999999",
    "2E+2",
]


def test_costs_are_exact_to_the_twelfth_place(app_url: str, admin_url: str) -> None:
    """No float on the way in, in the sums, or on the way out."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            used = tuple(a_bill(n, cost=Decimal(cost)) for n, cost in enumerate(COSTS, start=1))
            assert await store.finish(an_end(accepted, usage=used))
            stored = [row["cost_credits"] for row in await bills(admin, user)]
            assert stored == [Decimal(cost) for cost in COSTS]
            total = sum(map(Decimal, COSTS), Decimal())
            told = dict(await outbox(admin, user))["chat.usage.recorded"]
            assert f'"cost": "{total.normalize():f}"' in told
            usage = await store.conversation_usage(user, accepted.conversation.id)
            assert usage.cost == total

    asyncio.run(go())


@pytest.mark.parametrize(
    "wrong",
    [
        {"cost": Decimal("-0.1")},
        {"prompt_tokens": -1},
        {"state": "perhaps"},
        {"cost": Decimal(123456789)},
    ],
)
def test_an_end_the_database_refuses_leaves_nothing_and_can_be_told_right(
    app_url: str, admin_url: str, wrong: dict[str, Any]
) -> None:
    """One transaction: no answer without its bill, no bill without its answer."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            with pytest.raises(asyncpg.PostgresError):
                await store.finish(an_end(accepted, usage=(a_bill(1), a_bill(2, **wrong))))
            assert await bills(admin, user) == []
            assert len((await store.messages(user, accepted.conversation.id, limit=5)).messages) == 1
            assert (await store.generation(user, accepted.generation.id)).status == "accepted"
            assert await store.finish(an_end(accepted))

    asyncio.run(go())


def test_an_end_and_the_next_message_at_once_do_not_wait_for_each_other_in_a_ring(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url, max_size=12) as store:
            turn = await a_turn(store, user)
            for _ in range(10):
                accepted = await store.accept(a_send(user, turn.conversation.id))
                told = await asyncio.gather(
                    *(store.finish(an_end(accepted)) for _ in range(3)),
                    *(store.accept(a_send(user, turn.conversation.id)) for _ in range(3)),
                    return_exceptions=True,
                )
                assert told[:3] == [True] * 3
                sent = [each for each in told[3:] if isinstance(each, Accepted)]
                assert all(isinstance(each, Accepted | GenerationInProgress) for each in told[3:])
                for each in sent:
                    await store.finish(an_end(each))

    asyncio.run(go())


def test_an_end_for_what_was_never_accepted_is_a_bill_alone(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            accepted = await store.accept(a_send(user))
            record: EndRecord = replace(an_end(accepted), generation_id=str(uuid4()), message=None)
            assert await store.finish(record) is False
            assert len(await bills(admin, user)) == 1
            assert (await store.generation(user, accepted.generation.id)).status == "accepted"

    asyncio.run(go())
