"""Changing and deleting conversations: what is told, what is noted, and what is there afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.adapters.postgres.audit import PostgresAuditLog
from server.adapters.postgres.pool import Database, PoolLimits
from server.conversations.audit import AuditEntry, Caller
from server.conversations.store import ConversationChange, ConversationStore, NotFound, OutboxRow
from tests.adapters.postgres.given import (
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
    opened,
)

HERE = Caller(origin="203.0.113.7")


async def a_conversation(store: ConversationStore, user: str, **changes: Any) -> str:
    asked: dict[str, Any] = {"title": "Plans", "context_type": "general", "context_data": None, **changes}
    return (await store.create(user, **asked)).id


async def told(store: ConversationStore, user: str) -> list[OutboxRow]:
    """What the channel of this user is to be told; claimed and done."""
    rows = await store.system_outbox("channel", limit=1000)
    await store.system_outbox_done([row.id for row in rows])
    return [row for row in rows if row.user_id == user]


async def audited(admin_url: str, user: str) -> list[tuple[Any, ...]]:
    async with connected(admin_url) as admin:
        return [
            tuple(row)
            for row in await admin.fetch(
                "SELECT action, actor, origin, subject_kind, subject_id FROM audit WHERE user_id = $1 ORDER BY id",
                UUID(user),
            )
        ]


def test_what_is_given_changes_and_the_rest_stays(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            before = await store.create(user, title="Plans", context_type="general", context_data={"a": 1})
            await told(store, user)
            changes: tuple[tuple[ConversationChange, dict[str, Any]], ...] = (
                (ConversationChange(title="Studies"), {"title": "Studies"}),
                (ConversationChange(status="archived"), {"status": "archived"}),
                (ConversationChange(metadata={"pinned": True}), {"metadata": {"pinned": True}}),
                (ConversationChange(metadata={}), {"metadata": {}}),
                (
                    ConversationChange(context_type="assessment", context_data={"b": 2}),
                    {"context_type": "assessment", "context_data": {"b": 2}},
                ),
                (ConversationChange(status="active"), {"status": "active"}),
            )
            for change, seen in changes:
                after = await store.update(user, before.id, change)
                assert after.updated_at > before.updated_at
                assert after == replace(before, updated_at=after.updated_at, **seen)
                assert await store.conversation(user, before.id) == after
                (event,) = await told(store, user)
                assert event.kind == "conversation.updated"
                assert event.payload["type"] == "conversation.updated"
                assert event.payload["conversation"]["title"] == after.title
                assert event.payload["conversation"]["status"] == after.status
                before = after

    asyncio.run(go())


def test_a_change_of_nothing_tells_nothing(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            before = await store.conversation(user, place)
            await told(store, user)
            assert await store.update(user, place, ConversationChange()) == before
            assert await told(store, user) == []
            assert [entry[0] for entry in await audited(admin_url, user)] == ["conversation.create"]

    asyncio.run(go())


@pytest.mark.parametrize(
    "change", [ConversationChange(status="deleted"), ConversationChange(context_type="other")]
)
def test_a_status_or_type_that_is_none_is_refused_before_anything_happens(
    app_url: str, change: ConversationChange
) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            with pytest.raises(ValueError, match="no status or context type"):
                await store.update(user, place, change)
            assert (await store.conversation(user, place)).status == "active"

    asyncio.run(go())


def test_an_archived_conversation_is_listed_apart_and_takes_messages(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            await store.update(user, place, ConversationChange(status="archived"))
            assert await store.conversations(user, status="active", limit=9, offset=0) == ((), 0)
            archived, total = await store.conversations(user, status="archived", limit=9, offset=0)
            assert ([row.id for row in archived], total) == ([place], 1)
            assert not (await store.accept(a_send(user, place))).created

    asyncio.run(go())


def test_a_deleted_conversation_is_not_found_anywhere_and_takes_nothing(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            turn = await a_turn(store, user)
            place, message = turn.conversation.id, turn.message.id
            sent = a_send(user, place)
            running = await store.accept(sent)
            assert await store.delete(user, place) == (running.generation.id,)
            for refused in (
                store.conversation(user, place),
                store.messages(user, place, limit=9),
                store.messages(user, place, limit=9, with_usage=True),
                store.history(user, message, tokens=1000),
                store.generation(user, turn.generation.id),
                store.conversation_usage(user, place),
                store.by_client_message_id(user, sent.client_message_id),
                store.accept(a_send(user, place)),
                store.accept(sent),
                store.accept_again(a_regenerate(user, turn.generation.message_id, conversation_id=place)),
                store.update(user, place, ConversationChange(title="Again")),
                store.update(user, place, ConversationChange(status="active")),
                store.update(user, place, ConversationChange()),
                store.delete(user, place),
            ):
                with pytest.raises(NotFound):
                    await refused
            for status in ("active", "archived", "deleted"):
                assert await store.conversations(user, status=status, limit=9, offset=0) == ((), 0)
            # the end of what ran is only billed
            assert await store.finish(an_end(running)) is False

    asyncio.run(go())


def test_deleting_tells_the_channel_the_id_alone(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user, title="A secret")
            await told(store, user)
            assert await store.delete(user, place) == ()
            (event,) = await told(store, user)
            assert event.kind == "conversation.deleted"
            assert event.payload == {"type": "conversation.deleted", "conversation": {"id": place}}

    asyncio.run(go())


def test_what_happens_to_a_conversation_is_told_in_order(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            await store.update(user, place, ConversationChange(title="Later"))
            await store.delete(user, place)
            assert [row.kind for row in await told(store, user)] == [
                "conversation.created",
                "conversation.updated",
                "conversation.deleted",
            ]

    asyncio.run(go())


def test_anothers_conversation_can_be_neither_changed_nor_deleted(app_url: str) -> None:
    async def go() -> None:
        user, other = a_user(), a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            before = await store.conversation(user, place)
            for missing in (place, str(uuid4()), "nonsense"):
                with pytest.raises(NotFound) as refused:
                    await store.update(other, missing, ConversationChange(title="Mine"))
                assert refused.value.what == "conversation"
                with pytest.raises(NotFound):
                    await store.delete(other, missing)
                with pytest.raises(NotFound):
                    await store.conversation_usage(other, missing)
            assert await store.conversation(user, place) == before
            assert await told(store, other) == []

    asyncio.run(go())


def test_of_deletions_at_once_one_finds_it(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = await a_conversation(store, user)
            await told(store, user)
            answers = await asyncio.gather(
                *(store.delete(user, place) for _ in range(6)), return_exceptions=True
            )
            assert sum(isinstance(answer, NotFound) for answer in answers) == 5
            assert answers.count(()) == 1
            assert [row.kind for row in await told(store, user)] == ["conversation.deleted"]

    asyncio.run(go())


def test_a_send_and_a_deletion_at_once_leave_no_message_behind(app_url: str, admin_url: str) -> None:
    """Either the message came first and its generation is named, or there was no conversation any more."""

    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            for _ in range(10):
                place = await a_conversation(store, user)
                sent, stopped = await asyncio.gather(
                    store.accept(a_send(user, place, max_generations=0)),
                    store.delete(user, place),
                    return_exceptions=True,
                )
                if isinstance(sent, NotFound):
                    assert stopped == ()
                else:
                    assert not isinstance(sent, BaseException)
                    assert stopped == (sent.generation.id,)

    asyncio.run(go())


# --- audit ------------------------------------------------------------------------------------


def test_each_operation_leaves_its_entry_with_who_what_which_and_from_where(
    app_url: str, admin_url: str
) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            place = (
                await store.create(
                    user, title="A secret", context_type="general", context_data={"s": 1}, caller=HERE
                )
            ).id
            await store.update(user, place, ConversationChange(title="A secret too"), caller=HERE)
            order = a_send(user, place, content="A secret", caller=HERE)
            sent = await store.accept(order)
            assert (await store.accept(order)).duplicate
            await store.finish(an_end(sent))
            again = await store.accept_again(
                a_regenerate(user, sent.message.id, conversation_id=place, caller=HERE)
            )
            await store.delete(user, place, caller=Caller("internal"))
            assert await audited(admin_url, user) == [
                ("conversation.create", "user", HERE.origin, "conversation", place),
                ("conversation.update", "user", HERE.origin, "conversation", place),
                ("message.send", "user", HERE.origin, "message", sent.message.id),
                ("message.regenerate", "user", HERE.origin, "generation", again.generation.id),
                ("conversation.delete", "internal", None, "conversation", place),
            ]
            assert "secret" not in str(await audited(admin_url, user))

    asyncio.run(go())


def test_what_is_refused_leaves_no_entry(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            with pytest.raises(NotFound):
                await store.delete(user, str(uuid4()), caller=HERE)
            with pytest.raises(NotFound):
                await store.accept(a_send(user, str(uuid4()), caller=HERE))
            assert await audited(admin_url, user) == []

    asyncio.run(go())


def test_an_entry_of_its_own_is_recorded(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user, generation = a_user(), str(uuid4())
        async with Database(app_url, limits=PoolLimits(min_size=0, max_size=3)) as database:
            log = PostgresAuditLog(database)
            await log.record(AuditEntry("generation.stop", "generation", generation, user, HERE))
            await log.record(AuditEntry("node.start", "node", "n1", None, Caller("house")))
        assert await audited(admin_url, user) == [
            ("generation.stop", "user", HERE.origin, "generation", generation)
        ]
        async with connected(admin_url) as admin:
            assert await admin.fetchval("SELECT count(*) FROM audit WHERE subject_id = 'n1'") == 1

    asyncio.run(go())


def test_nobody_changes_or_removes_an_entry(app_url: str, admin_url: str) -> None:
    """Not the service's roles, not the owner, not a superuser by mistake."""

    async def go() -> None:
        async with opened(app_url) as store:
            await store.create(a_user(), title="Plans", context_type="general", context_data=None)
        async with connected(admin_url) as admin:
            count = await admin.fetchval("SELECT count(*) FROM audit")
            assert count > 0
            for role in ("chat_service", "chat_system", "chat_owner", "postgres"):
                for statement in (
                    "UPDATE audit SET actor = 'nobody'",
                    "DELETE FROM audit",
                    "TRUNCATE audit",
                ):
                    await admin.execute(f"SET ROLE {role}")
                    with pytest.raises(Exception, match=r"never changed|permission denied"):
                        await admin.execute(statement)
                    await admin.execute("RESET ROLE")
            for role in ("chat_service", "chat_system"):
                for verb in ("UPDATE", "DELETE", "TRUNCATE"):
                    assert not await admin.fetchval("SELECT has_table_privilege($1, 'audit', $2)", role, verb)
            assert await admin.fetchval("SELECT count(*) FROM audit") == count

    asyncio.run(go())


# --- the broker -------------------------------------------------------------------------------


def test_the_broker_is_told_of_beginnings_answers_and_bills_and_of_nothing_said(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with opened(app_url) as store:
            turn = await a_turn(store, user, content="A secret", answer="A secret", title="A secret")
            place, answer = turn.conversation.id, turn.generation.message_id
            made = await a_conversation(store, user, title="A secret")
            await store.update(user, made, ConversationChange(title="A secret too"))
            await store.delete(user, made)
            rows = [row for row in await store.system_outbox("broker", limit=1000) if row.user_id == user]
            await store.system_outbox_done([row.id for row in rows])
            assert [(row.kind, row.conversation_id) for row in rows] == [
                ("chat.conversation.created", place),
                ("chat.message.completed", place),
                ("chat.usage.recorded", place),
                ("chat.conversation.created", made),
            ]
            for row in rows:
                assert row.payload["eventType"] == row.kind
                assert (row.payload["userId"], row.payload["conversationId"]) == (user, row.conversation_id)
                assert row.payload["timestamp"].endswith("Z")
            for row in rows[1:3]:
                assert row.payload["generationId"] == turn.generation.id
                assert row.payload["messageId"] == answer
            assert "secret" not in str([row.payload for row in rows])

    asyncio.run(go())
