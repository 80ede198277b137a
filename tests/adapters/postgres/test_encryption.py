"""Content at rest: nothing of it is readable in the database, and everything is through the store."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from uuid import UUID

import pytest

from server.adapters.postgres.proposed_ids import ProposedIds
from server.conversations.cipher import UNAVAILABLE
from server.conversations.context import build_prompt
from server.conversations.store import ConversationChange, GenerationInProgress, NotFound
from tests.adapters.postgres.given import (
    DEFAULT_TITLE,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)
from tests.adapters.postgres.sealed import NEW, OLD, everything, key_id, sealing

CANARY = "canary-7f3a"


def test_no_table_holds_anything_a_user_or_a_model_wrote(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            place = await store.create(
                user, title=f"title {CANARY}", context_type="general", context_data={CANARY: [CANARY]}
            )
            await store.update(user, place.id, ConversationChange(title=f"again {CANARY}"))
            await store.update(user, place.id, ConversationChange(context_data={"b": CANARY}))
            turn = await a_turn(store, user, content=f"q {CANARY}", answer=f"a {CANARY}", title=CANARY)
            await a_turn(store, user, turn.conversation.id, content=CANARY, answer=CANARY)
            await store.accept(a_send(user, place.id, content=CANARY, title=CANARY))
        held = await everything(admin_url)
        assert {"conversations", "messages", "generations", "outbox", "audit"} <= set(held)
        assert [table for table, rows in held.items() if CANARY in rows] == []
        assert user in held["messages"]

    asyncio.run(go())


def test_everything_reads_as_it_was_written(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            first = await a_turn(store, user, content="q1 é😀", answer="a1", title="A title of theirs")
            place = first.conversation.id
            assert first.message.content == "q1 é😀"
            assert first.conversation.title == "A title of theirs"
            second = await store.accept(a_send(user, place, content="q2"))
            assert [row.content for row in second.history] == ["q1 é😀", "a1", "q2"]
            assert second.conversation.title == "A title of theirs"
            await store.finish(an_end(second, "a2"))
            told = await store.history(user, second.message.id, tokens=1000)
            assert [row.content for row in told] == ["q1 é😀", "a1", "q2"]
            page = await store.messages(user, place, limit=9)
            assert [row.content for row in page.messages] == ["q1 é😀", "a1", "q2", "a2"]
            ended = (await store.generation(user, second.generation.id)).finished
            assert ended is not None
            assert ended["message"]["content"] == "a2"
            made = await store.create(
                user, title="Made", context_type="assessment", context_data={"a": [1, "é", None]}
            )
            assert (made.title, made.context_data) == ("Made", {"a": [1, "é", None]})
            assert await store.conversation(user, made.id) == made
            changed = await store.update(
                user, made.id, ConversationChange(title="New", context_data={"b": 2})
            )
            assert (changed.title, changed.context_data) == ("New", {"b": 2})
            listed, _ = await store.conversations(user, status="active", limit=9, offset=0)
            assert [row.title for row in listed] == ["New", "A title of theirs"]

    asyncio.run(go())


def test_the_channel_is_told_a_title_in_the_clear(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            place = await store.create(user, title="Plans", context_type="general", context_data=None)
            await store.update(user, place.id, ConversationChange(title="Studies"))
            rows = [row for row in await store.system_outbox("channel", limit=1000) if row.user_id == user]
            assert [row.payload["conversation"]["title"] for row in rows] == ["Plans", "Studies"]
            assert all("title_key" not in row.payload["conversation"] for row in rows)

    asyncio.run(go())


def test_a_default_title_stays_plain_until_the_first_message_names_it(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            place = await store.create(user, title=DEFAULT_TITLE, context_type="general", context_data=None)
            async with connected(admin_url) as admin:

                async def stored() -> tuple[str, str | None]:
                    row = await admin.fetchrow(
                        "SELECT title, title_key FROM conversations WHERE id = $1", UUID(place.id)
                    )
                    assert row is not None
                    return row["title"], row["title_key"]

                assert await stored() == (DEFAULT_TITLE, None)
                # an image names nothing
                sent = await store.accept(
                    a_send(
                        user, place.id, title=DEFAULT_TITLE, content_type="image", content="https://x/y.png"
                    )
                )
                assert not sent.retitled
                assert await stored() == (DEFAULT_TITLE, None)
                await store.finish(an_end(sent))
                sent = await store.accept(a_send(user, place.id, title="Named"))
                assert (sent.retitled, sent.conversation.title) == (True, "Named")
                assert (await stored())[1] == key_id(NEW)
                await store.finish(an_end(sent))
                again = await store.accept(a_send(user, place.id, title="Other"))
                assert (again.retitled, again.conversation.title) == (False, "Named")

    asyncio.run(go())


def test_a_repeated_message_is_known_by_what_it_says(app_url: str) -> None:
    """Ciphertexts differ each time; what they hold does not."""

    async def go() -> None:
        user = a_user()
        async with sealing(app_url, [NEW, OLD]) as store:
            order = a_send(user, content="The same")
            first = await store.accept(order)
            again = await store.accept(order)
            assert (again.duplicate, again.message) == (True, first.message)
            assert again.message.content == order.content
            known = await store.by_client_message_id(user, order.client_message_id)
            assert known is not None
            assert known.message.content == order.content
        # under another newest key too
        async with sealing(app_url, [bytes([3] * 32), NEW]) as store:
            assert (await store.accept(order)).message == first.message

    asyncio.run(go())


def test_plain_rows_of_before_are_read_beside_sealed_ones(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            plain = await a_turn(store, user, content="q1", answer="a1", title="Plain")
        async with sealing(app_url) as store:
            await a_turn(store, user, plain.conversation.id, content="q2", answer="a2")
            page = await store.messages(user, plain.conversation.id, limit=9)
            assert [row.content for row in page.messages] == ["q1", "a1", "q2", "a2"]
            assert (await store.conversation(user, plain.conversation.id)).title == "Plain"

    asyncio.run(go())


def test_a_row_whose_key_is_gone_is_unavailable_and_the_rest_goes_on(
    app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url, [OLD]) as store:
            made = await store.create(
                user, title="Lost", context_type="assessment", context_data={"a": "lost"}
            )
            lost = await a_turn(
                store,
                user,
                made.id,
                content="data:image/png;base64,AA==",
                content_type="image",
                answer="lost",
            )
            await store.update(user, made.id, ConversationChange(title="Lost again"))
        async with sealing(app_url, [NEW]) as store:
            place = await store.conversation(user, made.id)
            assert (place.title, place.context_data) == (UNAVAILABLE, None)
            listed, _ = await store.conversations(user, status="active", limit=9, offset=0)
            assert [row.title for row in listed] == [UNAVAILABLE]
            with caplog.at_level(logging.ERROR):
                question, answer = (await store.messages(user, made.id, limit=9)).messages
            told = [(record.__dict__["column"], record.__dict__["row"]) for record in caplog.records]
            assert sorted(told) == sorted(
                [
                    ("title", made.id),
                    ("context_data", made.id),
                    ("content", question.id),
                    ("content", answer.id),
                ]
            )
            # as text: what stands for an image is none, and nobody may be asked to look at it
            assert (question.content, question.content_type) == (UNAVAILABLE, "text")
            assert question.metadata == {"unavailable": True}
            assert answer.content == UNAVAILABLE
            ended = (await store.generation(user, lost.generation.id)).finished
            assert ended is not None
            assert ended["message"]["content"] == UNAVAILABLE
            events = [
                row.payload["conversation"]["title"]
                for row in await store.system_outbox("channel", limit=1000)
                if row.user_id == user
            ]
            assert set(events) == {UNAVAILABLE}
            # and the conversation goes on
            sent = await store.accept(a_send(user, made.id, content="And now?"))
            assert [row.content for row in sent.history] == [UNAVAILABLE, UNAVAILABLE, "And now?"]
            prompt = build_prompt(
                context_type=place.context_type,
                context_data=place.context_data,
                history=sent.history,
                history_tokens=1000,
                takes_images=True,
            )
            assert prompt.messages[-1]["content"] == "And now?"
            await store.update(user, made.id, ConversationChange(title="Found"))
            assert (await store.conversation(user, made.id)).title == "Found"

    asyncio.run(go())


def test_a_value_moved_to_another_row_does_not_open(app_url: str, admin_url: str) -> None:
    """Who can write the database cannot put one user's words into another's mouth."""

    async def go() -> None:
        user, other = a_user(), a_user()
        async with sealing(app_url) as store:
            victim = await store.accept(a_send(user, content="I never said that"))
            theirs = await store.accept(a_send(other, content="I say this"))
            async with connected(admin_url) as admin:
                await admin.execute(
                    "UPDATE messages SET content = (SELECT content FROM messages WHERE id = $2) WHERE id = $1",
                    UUID(victim.message.id),
                    UUID(theirs.message.id),
                )
            (shown,) = (await store.messages(user, victim.conversation.id, limit=9)).messages
            assert shown.content == UNAVAILABLE

    asyncio.run(go())


@pytest.mark.parametrize("off_seconds", [-3600, 3600])
def test_a_node_whose_clock_is_off_still_seals_and_then_needs_one_call(
    app_url: str, off_seconds: int
) -> None:
    async def go() -> None:
        user = a_user()
        ids = ProposedIds(lambda: time.time_ns() + off_seconds * 10**9)
        async with sealing(app_url, ids=ids) as store:
            sent = []
            async with store._service.connection() as connection:
                connection.add_query_logger(lambda query: sent.append(query.query))
            first = await a_turn(store, user, content="q1", answer="a1")
            made = await store.create(user, title="Made", context_type="general", context_data=None)
            assert sum("accept_message(" in query for query in sent) == 2
            await a_turn(store, user, first.conversation.id, content="q2", answer="a2")
            assert sum("accept_message(" in query for query in sent) == 3
            page = await store.messages(user, first.conversation.id, limit=9)
            assert [row.content for row in page.messages] == ["q1", "a1", "q2", "a2"]
            assert (await store.conversation(user, made.id)).title == "Made"

    asyncio.run(go())


def test_a_conversation_ahead_of_the_nodes_clock_takes_messages_in_order(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            first = await a_turn(store, user, content="q1", answer="a1")
            place = UUID(first.conversation.id)
            async with connected(admin_url) as admin:
                await admin.execute(
                    "UPDATE conversations SET last_message_id = uuid_floor(now() + interval '1 hour') WHERE id = $1",
                    place,
                )
            second = await a_turn(store, user, str(place), content="q2", answer="a2")
            assert second.message.id > first.message.id
            third = await store.accept(a_send(user, str(place), content="q3"))
            assert [row.content for row in third.history] == ["q1", "a1", "q2", "a2", "q3"]
            assert third.message.id > second.generation.message_id

    asyncio.run(go())


def test_a_refused_order_is_refused_alike_whatever_its_ids(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            first = await store.accept(a_send(user))
            with pytest.raises(GenerationInProgress):
                await store.accept(a_send(user, first.conversation.id))
            with pytest.raises(NotFound):
                await store.accept(a_send(user, a_user()))

    asyncio.run(go())


def test_writing_again_under_the_newest_key_keeps_what_else_a_row_says(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(app_url) as store:
            made = await store.create(
                user, title="Plans", context_type="general", context_data={"keep": "this"}
            )
            after = await store.update(user, made.id, ConversationChange(status="archived"))
            assert after == replace(made, status="archived", updated_at=after.updated_at)

    asyncio.run(go())
