"""Which messages a prompt sees: branches, siblings, budgets; and pages of a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest

from server.conversations.store import MessageRow, NotFound
from tests.adapters.postgres.given import (
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)


def contents(messages: Iterable[MessageRow]) -> list[str]:
    return [message.content for message in messages]


def test_history_is_the_conversation_so_far_and_ends_with_the_question(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="a1")
            await a_turn(store, user, first.conversation.id, content="q2", answer="a2")
            third = await store.accept(a_send(user, first.conversation.id, content="q3"))
            assert contents(third.history) == ["q1", "a1", "q2", "a2", "q3"]
            assert contents(await store.history(user, third.message.id, tokens=6000)) == contents(
                third.history
            )

    asyncio.run(go())


def test_history_takes_the_newest_that_fit_and_always_the_question(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="a1", token_count=10)  # answers count 5
            for number in (2, 3):
                await a_turn(
                    store,
                    user,
                    first.conversation.id,
                    content=f"q{number}",
                    answer=f"a{number}",
                    token_count=10,
                )
            last = await store.accept(
                a_send(user, first.conversation.id, content="q4", token_count=10, history_tokens=25)
            )
            assert contents(last.history) == ["q3", "a3", "q4"]

            async def within(tokens: int, messages: int = 200) -> list[str]:
                return contents(await store.history(user, last.message.id, tokens=tokens, messages=messages))

            assert await within(1) == ["q4"]
            assert await within(14) == ["q4"]
            assert await within(15) == ["a3", "q4"]
            assert await within(24) == ["a3", "q4"]
            assert await within(40) == ["q2", "a2", "q3", "a3", "q4"]
            assert await within(6000, messages=3) == ["q3", "a3", "q4"]

    asyncio.run(go())


def test_a_message_that_does_not_fit_ends_the_history(app_url: str) -> None:
    """The newest that fit, without a hole: nothing older is taken because it is smaller."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="a1", token_count=1)
            await a_turn(store, user, first.conversation.id, content="long", answer="a2", token_count=500)
            last = await store.accept(a_send(user, first.conversation.id, content="q3", history_tokens=100))
            assert contents(last.history) == ["a2", "q3"]

    asyncio.run(go())


def test_a_regenerated_answer_is_a_sibling_made_without_the_old_one(app_url: str) -> None:
    """rest.md: a new assistant message, sibling of the old, from the history up to the user message."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="a1")
            second = await a_turn(store, user, first.conversation.id, content="q2", answer="a2")
            for target in (second.generation.message_id, second.message.id):
                again = await store.accept_again(a_regenerate(user, target))
                assert again.message == second.message
                assert contents(again.history) == ["q1", "a1", "q2"]
                assert again.generation.reply_to == second.message.id
                assert again.generation.message_id > second.generation.message_id
                assert await store.finish(an_end(again, "a2 again"))

    asyncio.run(go())


def test_later_history_holds_the_newest_sibling(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="old")
            again = await store.accept_again(a_regenerate(user, first.generation.message_id))
            await store.finish(an_end(again, "new"))
            later = await store.accept(a_send(user, first.conversation.id, content="q2"))
            assert contents(later.history) == ["q1", "new", "q2"]
            assert later.message.parent_message_id == again.generation.message_id

    asyncio.run(go())


def test_a_parent_picks_a_branch(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="old")
            again = await store.accept_again(a_regenerate(user, first.generation.message_id))
            await store.finish(an_end(again, "new"))
            branch = await a_turn(
                store,
                user,
                first.conversation.id,
                content="q2",
                answer="a2",
                parent_message_id=first.generation.message_id,
            )
            assert contents(branch.history) == ["q1", "old", "q2"]
            later = await store.accept(a_send(user, first.conversation.id, content="q3"))
            assert contents(later.history) == ["q1", "old", "q2", "a2", "q3"]

    asyncio.run(go())


def test_a_repeated_regenerate_is_a_duplicate(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user)
            order = a_regenerate(user, first.generation.message_id)
            again = await store.accept_again(order)
            repeat = await store.accept_again(order)
            assert (repeat.duplicate, repeat.generation) == (True, again.generation)

    asyncio.run(go())


def test_an_answer_that_answers_nothing_cannot_be_made_again(app_url: str, admin_url: str) -> None:
    """A welcome message has no question."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            made = await store.create(user, title="t", context_type="assessment", context_data={"a": 1})
            async with connected(admin_url) as admin:
                welcome = await admin.fetchval(
                    "INSERT INTO messages (id, conversation_id, user_id, sender_type, content)"
                    " VALUES (uuid_v7($1), $1, $2, 'assistant', 'Welcome') RETURNING id",
                    UUID(made.id),
                    UUID(user),
                )
                await admin.execute(
                    "UPDATE conversations SET last_message_id = $2 WHERE id = $1", UUID(made.id), welcome
                )
            with pytest.raises(NotFound) as refused:
                await store.accept_again(a_regenerate(user, str(welcome)))
            assert refused.value.what == "parent"
            accepted = await store.accept(a_send(user, made.id, content="hello"))
            assert contents(accepted.history) == ["Welcome", "hello"]

    asyncio.run(go())


def test_pages_go_both_ways_without_gap_or_overlap(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await a_turn(store, user, content="m0", answer="m1")
            place = first.conversation.id
            for number in (2, 4, 6):
                await a_turn(store, user, place, content=f"m{number}", answer=f"m{number + 1}")
            newest = await store.messages(user, place, limit=3)
            assert (contents(newest.messages), newest.has_more) == (["m5", "m6", "m7"], True)
            older = await store.messages(user, place, limit=3, before=newest.messages[0].id)
            assert (contents(older.messages), older.has_more) == (["m2", "m3", "m4"], True)
            oldest = await store.messages(user, place, limit=3, before=older.messages[0].id)
            assert (contents(oldest.messages), oldest.has_more) == (["m0", "m1"], False)
            onward = await store.messages(user, place, limit=3, after=oldest.messages[-1].id)
            assert (contents(onward.messages), onward.has_more) == (["m2", "m3", "m4"], True)
            end = await store.messages(user, place, limit=3, after=newest.messages[0].id)
            assert (contents(end.messages), end.has_more) == (["m6", "m7"], False)
            assert (await store.messages(user, place, limit=8)).has_more is False

    asyncio.run(go())


def test_a_cursor_of_another_conversation_is_not_found(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            here, there = await a_turn(store, user), await a_turn(store, user)
            for cursor in (there.message.id, str(uuid4()), "nonsense"):
                for before, after in ((cursor, None), (None, cursor)):
                    with pytest.raises(NotFound) as refused:
                        await store.messages(user, here.conversation.id, limit=3, before=before, after=after)
                    assert refused.value.what == "message"
            with pytest.raises(ValueError, match="before a message or after"):
                await store.messages(
                    user, here.conversation.id, limit=3, before=here.message.id, after=here.message.id
                )

    asyncio.run(go())


def test_conversations_are_listed_by_newest_activity_and_counted(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            made = [(await a_turn(store, user)).conversation.id for _ in range(4)]
            await a_turn(store, user, made[1])
            rows, total = await store.conversations(user, status="active", limit=3, offset=0)
            assert [row.id for row in rows] == [made[1], made[3], made[2]]
            assert total == 4
            rows, total = await store.conversations(user, status="active", limit=3, offset=3)
            assert ([row.id for row in rows], total) == ([made[0]], 4)
            assert await store.conversations(user, status="active", limit=3, offset=9) == ((), 4)
            assert await store.conversations(user, status="archived", limit=3, offset=0) == ((), 0)

    asyncio.run(go())


def test_context_and_metadata_come_back_as_they_went_in(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            context = {"scores": [1, 2.5, None], "deep": {"ü": "\u2603"}}
            made = await store.create(user, title="t", context_type="assessment", context_data=context)
            assert made.context_data == context
            assert await store.conversation(user, made.id) == made
            turn = await a_turn(store, user, made.id)
            page = await store.messages(user, made.id, limit=5)
            assert [message.metadata for message in page.messages] == [{}, {"model": "a/b"}]
            assert page.messages[0] == turn.message

    asyncio.run(go())
