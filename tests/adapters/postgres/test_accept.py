"""Accepting: durable, once, one running generation per conversation, history for the prompt."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database, PoolLimits
from server.conversations.store import GenerationInProgress, NotFound, TooManyGenerations
from tests.adapters.postgres.given import (
    DEFAULT_TITLE,
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)


def test_a_first_message_makes_conversation_message_and_generation(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            order = a_send(user)
            accepted = await store.accept(order)
            assert (accepted.duplicate, accepted.created, accepted.retitled) == (False, True, False)
            assert accepted.conversation.title == order.title
            assert accepted.conversation.user_id == user
            assert accepted.message.content == order.content
            assert accepted.message.parent_message_id is None
            assert accepted.message.conversation_id == accepted.conversation.id
            assert accepted.generation.reply_to == accepted.message.id
            assert accepted.generation.status == "accepted"
            assert accepted.generation.plan == order.plan
            assert accepted.generation.request == order.request
            assert accepted.history == (accepted.message,)
            assert accepted.generation == await store.generation(user, accepted.generation.id)
            assert accepted.conversation == await store.conversation(user, accepted.conversation.id)

    asyncio.run(go())


def test_accepting_is_one_round_trip(app_url: str) -> None:
    """quality.md: accept in at most 15 ms; architecture.md §3: one round trip."""

    async def go() -> None:
        user = a_user()
        async with Database(app_url, limits=PoolLimits(min_size=1, max_size=2)) as database:
            store = PostgresConversationStore(database)
            await store.accept(a_send(user))
            sent: list[str] = []
            async with database.service.connection() as connection:
                connection.add_query_logger(lambda query: sent.append(query.query))
            accepted = await store.accept(a_send(user))
            assert accepted.created
            (only,) = [query for query in sent if "RESET ALL" not in query]
            assert only.startswith("SELECT accept_message(")

    asyncio.run(go())


def test_twenty_sends_of_one_id_make_one_message(app_url: str, admin_url: str) -> None:
    """The loser of a race between duplicates gets the duplicate answer, not an error (protocol.md §3)."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url, max_size=20) as store:
            order = a_send(user)
            answers = await asyncio.gather(*(store.accept(order) for _ in range(20)))
            assert [a.duplicate for a in answers].count(False) == 1
            assert len({a.message.id for a in answers}) == 1
            assert len({a.generation.id for a in answers}) == 1
            assert all(a.history == () for a in answers if a.duplicate)
        async with connected(admin_url) as admin:
            assert await admin.fetchval("SELECT count(*) FROM messages WHERE user_id = $1", UUID(user)) == 1
            assert (
                await admin.fetchval("SELECT count(*) FROM conversations WHERE user_id = $1", UUID(user)) == 1
            )

    asyncio.run(go())


def test_concurrent_sends_into_one_conversation_let_one_through(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url, max_size=20) as store:
            first = await a_turn(store, user)
            answers = await asyncio.gather(
                *(store.accept(a_send(user, first.conversation.id)) for _ in range(12)),
                return_exceptions=True,
            )
            refused = [a for a in answers if isinstance(a, GenerationInProgress)]
            accepted = [a for a in answers if not isinstance(a, BaseException)]
            assert (len(accepted), len(refused)) == (1, 11)

    asyncio.run(go())


def test_concurrent_sends_of_a_user_keep_to_the_greatest_number_of_generations(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url, max_size=20) as store:
            answers = await asyncio.gather(
                *(store.accept(a_send(user, max_generations=3)) for _ in range(12)), return_exceptions=True
            )
            assert sum(isinstance(a, TooManyGenerations) for a in answers) == 9
            assert sum(not isinstance(a, BaseException) for a in answers) == 3
            assert (await store.accept(a_send(user, max_generations=0))).created

    asyncio.run(go())


def test_an_ended_generation_frees_its_conversation(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await store.accept(a_send(user))
            with pytest.raises(GenerationInProgress):
                await store.accept(a_send(user, first.conversation.id))
            await store.finish(an_end(first, None))
            second = await store.accept(a_send(user, first.conversation.id))
            assert second.message.parent_message_id == first.message.id

    asyncio.run(go())


def test_a_refused_order_leaves_nothing(app_url: str, admin_url: str) -> None:
    """A refused message uses nothing up, so it can be sent again with the same id (rest.md, Limits)."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await store.accept(a_send(user))
            again = a_send(user, first.conversation.id)
            with pytest.raises(GenerationInProgress):
                await store.accept(again)
            assert await store.by_client_message_id(user, again.client_message_id) is None
            await store.finish(an_end(first))
            assert not (await store.accept(again)).duplicate
            with pytest.raises(TooManyGenerations):
                await store.accept(a_send(user, max_generations=1))
        async with connected(admin_url) as admin:
            assert (
                await admin.fetchval("SELECT count(*) FROM conversations WHERE user_id = $1", UUID(user)) == 1
            )

    asyncio.run(go())


def test_a_default_title_is_replaced_once(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            made = await store.create(user, title=DEFAULT_TITLE, context_type="general", context_data=None)
            first = await a_turn(store, user, made.id, title="About me")
            assert (first.created, first.retitled, first.conversation.title) == (False, True, "About me")
            second = await a_turn(store, user, made.id, title="Something else")
            assert (second.retitled, second.conversation.title) == (False, "About me")
            named = await store.create(user, title="Mine", context_type="general", context_data=None)
            assert not (await a_turn(store, user, named.id, title="About me")).retitled

    asyncio.run(go())


def test_what_an_earlier_order_did_beside_is_known_to_whoever_begins_it(app_url: str) -> None:
    """A node may die after the commit and before it told of the new conversation (architecture.md §6)."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            order = a_send(user)
            first = await store.accept(order)
            known = await store.by_client_message_id(user, order.client_message_id)
            assert known is not None
            assert (known.duplicate, known.created, known.retitled) == (True, True, False)
            assert (known.message, known.generation) == (first.message, first.generation)
            assert await store.by_client_message_id(user, str(uuid4())) is None

    asyncio.run(go())


def test_an_order_for_what_is_not_there_is_refused(app_url: str) -> None:
    async def go() -> None:
        user, other = a_user(), a_user()
        async with opened(app_url) as store:
            mine = await a_turn(store, user)
            elsewhere = await a_turn(store, user)
            theirs = await a_turn(store, other)
            for conversation in (str(uuid4()), theirs.conversation.id, "nonsense"):
                with pytest.raises(NotFound) as refused:
                    await store.accept(a_send(user, conversation))
                assert refused.value.what == "conversation"
            for parent in (str(uuid4()), elsewhere.message.id, theirs.message.id, "nonsense"):
                with pytest.raises(NotFound) as refused:
                    await store.accept(a_send(user, mine.conversation.id, parent_message_id=parent))
                assert refused.value.what == "parent"
            with pytest.raises(NotFound) as refused:
                await store.accept(a_send(user, None, parent_message_id=mine.message.id))
            assert refused.value.what == "parent"
            for message in (str(uuid4()), theirs.message.id, "nonsense"):
                with pytest.raises(NotFound) as refused:
                    await store.accept_again(a_regenerate(user, message))
                assert refused.value.what == "message"
            with pytest.raises(NotFound) as refused:
                await store.accept_again(
                    a_regenerate(user, mine.message.id, conversation_id=elsewhere.conversation.id)
                )
            assert refused.value.what == "message"

    asyncio.run(go())


def test_a_deleted_conversation_takes_no_orders(app_url: str, admin_url: str) -> None:
    """rest.md: a deleted one is 404 everywhere, and takes no messages."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            order = a_send(user)
            first = await store.accept(order)
            await store.finish(an_end(first))
            async with connected(admin_url) as admin:
                await admin.execute(
                    "UPDATE conversations SET status = 'deleted' WHERE id = $1", UUID(first.conversation.id)
                )
            refused = (
                store.accept(a_send(user, first.conversation.id)),
                store.accept(order),
                store.accept_again(a_regenerate(user, first.message.id)),
                store.by_client_message_id(user, order.client_message_id),
                store.conversation(user, first.conversation.id),
                store.messages(user, first.conversation.id, limit=5),
            )
            for call in refused:
                with pytest.raises(NotFound) as refusal:
                    await call
                assert refusal.value.what == "conversation"
            with pytest.raises(NotFound):
                await store.history(user, first.message.id, tokens=1000)
            with pytest.raises(NotFound):
                await store.generation(user, first.generation.id)
            assert await store.conversations(user, status="deleted", limit=5, offset=0) == ((), 0)

    asyncio.run(go())


def test_an_erased_user_is_given_nothing_new(app_url: str, admin_url: str) -> None:
    """rest.md, Data at rest: erasure leaves a tombstone that keeps late writers out."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            first = await store.accept(a_send(user))
            async with connected(admin_url) as admin:
                await admin.execute("INSERT INTO erased_users (user_id) VALUES ($1)", UUID(user))
            for call in (
                store.accept(a_send(user)),
                store.accept_again(a_regenerate(user, first.message.id)),
                store.create(user, title="x", context_type="general", context_data=None),
            ):
                with pytest.raises(NotFound) as refusal:
                    await call
                assert refusal.value.what == "user"
            assert await store.finish(an_end(first)) is False
            async with connected(admin_url) as admin:
                count = "SELECT count(*) FROM usage_tracking WHERE user_id = $1"
                assert await admin.fetchval(count, UUID(user)) == 0

    asyncio.run(go())


def test_what_a_user_wrote_is_stored_as_sent(app_url: str) -> None:
    """SQL in every string (quality.md §3)."""

    async def go() -> None:
        user = a_user()
        content = "'; DROP TABLE messages; -- $1 \\ \" \u2028 \U0001f9ed"
        async with opened(app_url) as store:
            accepted = await store.accept(
                a_send(user, content=content, title=content, request={"x": content})
            )
            assert accepted.message.content == content
            assert accepted.conversation.title == content
            assert accepted.generation.request == {"x": content}
            page = await store.messages(user, accepted.conversation.id, limit=1)
            assert page.messages[0].content == content

    asyncio.run(go())
