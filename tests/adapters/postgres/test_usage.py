"""Usage: sums of attempts per answer, per conversation, per period, against arithmetic done here."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.conversations.store import NotFound
from server.conversations.usage import (
    ConversationUsage,
    ModelUsage,
    Period,
    TokenUsage,
    UsageSummary,
    period_of,
)
from tests.adapters.postgres.given import (
    a_bill,
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)

TINY = Decimal("0.000000000001")


def now() -> datetime:
    return datetime.now(UTC)


def this(kind: str = "month") -> Period:
    return period_of(kind, today=now().date())  # type: ignore[arg-type]


def empty(summary: UsageSummary) -> bool:
    return summary == UsageSummary(0, 0, 0, Decimal(0), 0, 0, 0, 0, (), ())


async def id_at(admin: asyncpg.Connection[asyncpg.Record], moment: datetime) -> UUID:
    """A UUIDv7 of a moment."""
    floor = await admin.fetchval("SELECT uuid_floor($1)", moment)
    return UUID(f"{str(floor)[:14]}7{str(uuid4())[15:]}")


async def attempt_at(
    admin: asyncpg.Connection[asyncpg.Record],
    user: str,
    conversation: str | None,
    moment: datetime,
    *,
    model: str = "a/b",
    tokens: tuple[int, int] = (10, 5),
    cost: Decimal = TINY,
    reached: bool = True,
    free: bool = False,
) -> None:
    """The row of an attempt of a generation that was accepted at a moment."""
    generation = await id_at(admin, moment)
    await admin.execute(
        """
        INSERT INTO usage_tracking (
            id, user_id, conversation_id, generation_id, attempt, model_used, prompt_tokens, completion_tokens,
            total_tokens, cost_credits, is_free_model, state, reached
        ) VALUES (usage_id($1, 1), $2, $3, $1, 1, $4, $5, $6, $7, $8, $9, 'settled', $10)
        """,
        generation,
        UUID(user),
        None if conversation is None else UUID(conversation),
        model,
        *tokens,
        sum(tokens),
        cost,
        free,
        reached,
    )


def test_a_conversations_usage_adds_up_its_attempts_by_model(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            sent = await store.accept(a_send(user))
            bills = (
                a_bill(
                    1,
                    model="free/one",
                    prompt_tokens=100,
                    completion_tokens=0,
                    cost=Decimal(0),
                    failure="stall",
                ),
                a_bill(2, model="paid/two", prompt_tokens=110, completion_tokens=30, cost=TINY),
                # refused before it reached anybody
                a_bill(
                    3,
                    model="never/asked",
                    prompt_tokens=0,
                    completion_tokens=0,
                    cost=Decimal(0),
                    reached=False,
                ),
            )
            await store.finish(an_end(sent, usage=bills))
            place = sent.conversation.id
            await a_turn(store, user, place)  # another 100 + 20 by a/b
            await a_turn(store, user)  # another conversation
            usage = await store.conversation_usage(user, place)
            assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (310, 50, 360)
            assert usage.cost == TINY + a_bill().cost
            assert usage.by_model == (
                ModelUsage("paid/two", 1, 140, TINY),
                ModelUsage("a/b", 1, 120, a_bill().cost),
                ModelUsage("free/one", 1, 100, Decimal(0)),
            )

    asyncio.run(go())


def test_a_conversation_without_an_answer_has_used_nothing(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await store.create(user, title="Plans", context_type="general", context_data=None)
            usage = await store.conversation_usage(user, place.id)
            assert usage == ConversationUsage(0, 0, 0, Decimal(0), ())
            with pytest.raises(NotFound):
                await store.conversation_usage(user, str(uuid4()))

    asyncio.run(go())


def test_a_page_of_messages_brings_the_usage_of_its_answers(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            sent = await store.accept(a_send(user))
            bills = (a_bill(1, cost=TINY, state="settled"), a_bill(2, cost=TINY, state="estimated"))
            await store.finish(an_end(sent, usage=bills))
            place = sent.conversation.id
            again = await store.accept_again(a_regenerate(user, sent.message.id, conversation_id=place))
            await store.finish(an_end(again, usage=(a_bill(state="unknown", cost=Decimal(0)),)))
            silent = await store.accept(a_send(user, place))
            await store.finish(an_end(silent, None))
            page = await store.messages(user, place, limit=9, with_usage=True)
            assert page.usage == {
                sent.generation.message_id: TokenUsage(200, 40, 240, TINY * 2, "estimated"),
                again.generation.message_id: TokenUsage(100, 20, 120, Decimal(0), "unknown"),
            }
            newest = await store.messages(user, place, limit=1, with_usage=True)
            assert ([row.id for row in newest.messages], newest.usage) == ([silent.message.id], {})
            older = await store.messages(user, place, limit=1, before=silent.message.id, with_usage=True)
            assert list(older.usage) == [again.generation.message_id]
            assert (await store.messages(user, place, limit=9)).usage == {}

    asyncio.run(go())


def test_a_summary_adds_up_all_conversations_deleted_ones_too(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user)
            await a_turn(store, user, first.conversation.id)
            gone = await store.accept(a_send(user))
            free = a_bill(1, model="x/y:free", is_free_model=True, cost=Decimal(0), failure="stall")
            await store.finish(
                an_end(
                    gone,
                    usage=(
                        free,
                        a_bill(2, reached=False, prompt_tokens=0, completion_tokens=0, cost=Decimal(0)),
                    ),
                )
            )
            await store.delete(user, gone.conversation.id)
            await store.create(user, title="Plans", context_type="general", context_data=None)
            await a_turn(store, a_user())  # somebody else's
            for kind in ("day", "week", "month", "year"):
                summary = await store.usage_summary(user, this(kind))
                assert (summary.prompt_tokens, summary.completion_tokens) == (300, 60)
                assert (summary.total_tokens, summary.cost) == (360, a_bill().cost * 2)
                assert (summary.requests, summary.free_requests) == (3, 1)
                assert (summary.conversations, summary.messages) == (3, 6)
                assert summary.by_model == (
                    ModelUsage("a/b", 2, 240, a_bill().cost * 2),
                    ModelUsage("x/y:free", 1, 120, Decimal(0)),
                )
                (today,) = summary.timeline
                assert (today.requests, today.tokens, today.cost) == (3, 360, a_bill().cost * 2)

    asyncio.run(go())


def test_an_answer_that_ended_after_its_conversation_was_deleted_is_counted(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            sent = await store.accept(a_send(user))
            await store.delete(user, sent.conversation.id)
            assert await store.finish(an_end(sent)) is False
            summary = await store.usage_summary(user, this())
            assert (summary.total_tokens, summary.cost, summary.messages) == (120, a_bill().cost, 1)

    asyncio.run(go())


def test_who_has_used_nothing_gets_zeros(app_url: str) -> None:
    async def go() -> None:
        async with opened(app_url) as store:
            assert empty(await store.usage_summary(a_user(), this()))

    asyncio.run(go())


def test_a_period_has_its_first_moment_and_not_its_end(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        month = period_of("month", today=date(2026, 2, 10))
        moment = timedelta(milliseconds=1)
        async with opened(app_url) as store, connected(admin_url) as admin:
            for at, tokens in (
                (month.start - moment, (1, 0)),
                (month.start, (10, 0)),
                (month.start + timedelta(days=1) - moment, (100, 0)),
                (month.start + timedelta(days=1), (1000, 0)),
                (month.end - moment, (10_000, 0)),
                (month.end, (100_000, 0)),
            ):
                await attempt_at(admin, user, None, at, tokens=tokens)
            summary = await store.usage_summary(user, month)
            assert summary.total_tokens == 11_110
            assert [(part.day, part.tokens) for part in summary.timeline] == [
                (date(2026, 2, 1), 110),
                (date(2026, 2, 2), 1000),
                (date(2026, 2, 28), 10_000),
            ]
            day = await store.usage_summary(user, period_of("day", today=date(2026, 2, 1)))
            assert (day.total_tokens, len(day.timeline)) == (110, 1)
            year = await store.usage_summary(user, period_of("year", today=date(2026, 2, 1)))
            assert year.total_tokens == 111_111
            assert empty(await store.usage_summary(user, period_of("year", today=date(2025, 2, 1))))

    asyncio.run(go())


def test_parts_add_up_to_the_sums_to_the_twelfth_place(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        cost = Decimal("0.333333333333")
        async with opened(app_url) as store, connected(admin_url) as admin:
            place = await store.create(user, title="Plans", context_type="general", context_data=None)
            for number in range(30):
                await attempt_at(
                    admin,
                    user,
                    place.id,
                    datetime(2026, 1, 1 + number % 7, tzinfo=UTC) + timedelta(hours=number % 24),
                    model=f"m/{number % 3}",
                    tokens=(number, 1),
                    cost=cost + TINY * number,
                    reached=number % 5 != 0,
                    free=number % 2 == 0,
                )
            summary = await store.usage_summary(user, period_of("week", today=date(2026, 1, 1)))
            whole = await store.usage_summary(user, period_of("month", today=date(2026, 1, 1)))
            assert whole.cost == cost * 30 + TINY * sum(range(30))
            assert whole.requests == 24
            assert whole.free_requests == 12
            assert summary.cost < whole.cost
            for each in (summary, whole):
                for parts in (each.by_model, each.timeline):
                    assert sum(part.cost for part in parts) == each.cost
                    assert sum(part.tokens for part in parts) == each.total_tokens
                    assert sum(part.requests for part in parts) == each.requests
                assert each.prompt_tokens + each.completion_tokens == each.total_tokens
            assert (await store.conversation_usage(user, place.id)).cost == whole.cost

    asyncio.run(go())


def test_old_conversations_count_by_what_was_said_in_the_period(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store, connected(admin_url) as admin:
            turn = await a_turn(store, user)
            # as if it had been begun in the month before, and told on in this one
            old = period_of("month", today=this("month").start.date() - timedelta(days=1))
            began = await id_at(admin, old.start + timedelta(days=3))
            await admin.execute(
                "INSERT INTO conversations (id, user_id, title) VALUES ($1, $2, 'Old')", began, UUID(user)
            )
            for moment in (old.start + timedelta(days=3, hours=1), now()):
                await admin.execute(
                    "INSERT INTO messages (id, conversation_id, user_id, sender_type, content)"
                    " VALUES ($1, $2, $3, 'user', 'told')",
                    await id_at(admin, moment),
                    began,
                    UUID(user),
                )
            present = await store.usage_summary(user, this("month"))
            assert (present.conversations, present.messages) == (2, 3)
            past = await store.usage_summary(user, old)
            assert (past.conversations, past.messages) == (1, 1)
            assert turn.created

    asyncio.run(go())


def test_a_settled_bill_shows_in_every_sum(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            sent = await store.accept(a_send(user))
            await store.finish(an_end(sent, usage=(a_bill(state="estimated", due=True),)))
            due = [row for row in await store.system_due_usage(limit=1000) if row.user_id == user]
            await store.system_settle(
                due[0], prompt_tokens=7, completion_tokens=3, cost=TINY, served_model=None
            )
            summary = await store.usage_summary(user, this())
            assert (summary.total_tokens, summary.cost) == (10, TINY)
            page = await store.messages(user, sent.conversation.id, limit=9, with_usage=True)
            assert page.usage[sent.generation.message_id] == TokenUsage(7, 3, 10, TINY, "settled")

    asyncio.run(go())
