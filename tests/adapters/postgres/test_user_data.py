"""All of a user's data: erased for good, however late a writer comes, and handed out whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database
from server.adapters.postgres.sealing import ContentCipher
from server.adapters.postgres.user_data import PostgresUserData
from server.conversations.audit import Caller
from server.conversations.cipher import Cipher
from server.conversations.store import ConversationChange, ConversationStore, NotFound
from server.conversations.user_data import Erased
from tests.adapters.postgres.given import (
    a_bill,
    a_regenerate,
    a_send,
    a_turn,
    a_user,
    an_end,
    connected,
)
from tests.adapters.postgres.sealed import NEW, OLD, SMALL, everything
from tests.scripted.waiting import eventually

INTERNAL = Caller("internal", "198.51.100.4")


@asynccontextmanager
async def a_house(
    url: str, cipher: Cipher | None = None, **sizes: int
) -> AsyncIterator[tuple[PostgresConversationStore, PostgresUserData]]:
    cipher = cipher or ContentCipher()
    async with Database(url, limits=SMALL) as database:
        yield (
            PostgresConversationStore(database, cipher),
            PostgresUserData(database, cipher, **sizes),
        )


async def exported(data: PostgresUserData, user: str) -> list[dict[str, Any]]:
    lines = [line async for line in data.export(user, caller=INTERNAL)]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


async def left(admin_url: str, user: str) -> set[str]:
    """The tables that still name a user."""
    return {table for table, rows in (await everything(admin_url)).items() if user in rows}


async def a_life(store: ConversationStore, user: str) -> str:
    """Conversations of every kind, and an answer that is being written; its generation."""
    first = await a_turn(store, user, title="Plans")
    again = await store.accept_again(
        a_regenerate(user, first.message.id, conversation_id=first.conversation.id)
    )
    await store.finish(an_end(again))
    gone = await a_turn(store, user)
    await store.delete(user, gone.conversation.id)
    await store.create(user, title="Empty", context_type="assessment", context_data={"a": 1})
    running = await store.accept(a_send(user, first.conversation.id))
    return running.generation.id


@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_nothing_of_a_user_is_left_but_the_tombstone_and_the_audit(
    app_url: str, admin_url: str, batch_rows: int
) -> None:
    async def go() -> None:
        user, other = a_user(), a_user()
        async with a_house(app_url, batch_rows=batch_rows) as (store, data):
            running = await a_life(store, user)
            await a_life(store, other)
            kept = await left(admin_url, other)
            assert {"conversations", "messages", "usage_tracking", "generations", "outbox"} <= kept
            erased = await data.erase(user, caller=INTERNAL)
            assert erased.running == (running,)
            assert (erased.conversations, erased.messages, erased.generations) == (3, 6, 4)
            assert erased.usage == 3
            assert erased.outbox > 0
            assert await left(admin_url, user) == {"erased_users", "audit"}
            assert await left(admin_url, other) == kept

    asyncio.run(go())


def test_a_second_erasure_finds_nothing_and_says_so(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with a_house(app_url) as (store, data):
            await a_life(store, user)
            await data.erase(user, caller=INTERNAL)
            assert await data.erase(user, caller=INTERNAL) == Erased(0, 0, 0, 0, 0)
            assert await data.erase(a_user(), caller=INTERNAL) == Erased(0, 0, 0, 0, 0)

    asyncio.run(go())


def test_erasing_and_exporting_are_audited_and_the_entries_stay(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with a_house(app_url) as (_, data), connected(admin_url) as admin:
            await exported(data, user)
            await data.erase(user, caller=INTERNAL)
            await data.erase(user, caller=INTERNAL)
            entries = await admin.fetch(
                "SELECT action, actor, origin, subject_kind, subject_id FROM audit WHERE user_id = $1 ORDER BY id",
                UUID(user),
            )
            assert [tuple(entry) for entry in entries] == [
                (action, "internal", INTERNAL.origin, "user", user)
                for action in ("user.export", "user.erase", "user.erase")
            ]

    asyncio.run(go())


def test_who_was_erased_is_nobody_to_every_writer(app_url: str, admin_url: str) -> None:
    """Late ends, settlements and redelivered events bring nothing back."""

    async def go() -> None:
        user = a_user()
        async with a_house(app_url) as (store, data):
            turn = await a_turn(store, user)
            place = turn.conversation.id
            running = await store.accept(a_send(user, place))
            sent = a_send(user, place)
            await store.finish(an_end(running, usage=(a_bill(due=True),)))
            due = [row for row in await store.system_due_usage(limit=1000) if row.user_id == user]
            late = await store.accept(sent)
            await data.erase(user, caller=INTERNAL)
            for refused in (
                store.accept(a_send(user)),
                store.accept(sent),
                store.accept_again(a_regenerate(user, turn.message.id, conversation_id=place)),
                store.create(user, title="Back", context_type="general", context_data=None),
                store.update(user, place, ConversationChange(title="Back")),
                store.delete(user, place),
            ):
                with pytest.raises(NotFound):
                    await refused
            assert await store.finish(an_end(late)) is False
            assert await store.by_client_message_id(user, sent.client_message_id) is None
            settled = await store.system_settle(
                due[0], prompt_tokens=1, completion_tokens=1, cost=a_bill().cost, served_model=None
            )
            assert settled is None
            assert await left(admin_url, user) == {"erased_users", "audit"}

    asyncio.run(go())


@pytest.mark.parametrize("role", ["chat_service", "chat_system", "postgres"])
def test_a_writer_that_knows_no_tombstones_is_kept_out_too(app_url: str, admin_url: str, role: str) -> None:
    async def go() -> None:
        user = UUID(a_user())
        async with a_house(app_url) as (_, data), connected(admin_url) as admin:
            await data.erase(str(user), caller=INTERNAL)
            await admin.execute(f"SET ROLE {role}")
            await admin.execute("SELECT set_config('app.current_user_id', $1, false)", str(user))
            await admin.execute(
                "INSERT INTO outbox (id, destination, user_id, kind, payload, once_key)"
                " VALUES ($1, 'channel', $2, 'notification', '{}', $3) ON CONFLICT DO NOTHING",
                uuid4(),
                user,
                str(user),
            )
            if role != "chat_system":
                with pytest.raises(asyncpg.ForeignKeyViolationError, match="no such user"):
                    await admin.execute(
                        "INSERT INTO conversations (id, user_id, title) VALUES ($1, $2, 'Back')",
                        uuid4(),
                        user,
                    )
            await admin.execute("RESET ROLE")
            assert await left(admin_url, str(user)) == {"erased_users", "audit"}

    asyncio.run(go())


def test_a_writer_that_began_before_is_waited_for_and_erased(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with a_house(app_url) as (_, data), connected(admin_url) as admin:
            async with admin.transaction():
                made = await admin.fetchval(
                    "SELECT create_conversation($1, 'Late', NULL, 'general', NULL, NULL, 'user', NULL, NULL)",
                    UUID(user),
                )
                assert json.loads(made)["outcome"] == "created"
                erasing = asyncio.create_task(data.erase(user, caller=INTERNAL))
                async with connected(admin_url) as watcher:

                    def waiting() -> bool | Awaitable[bool]:
                        return watcher.fetchval(
                            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                        )

                    await eventually(waiting, what="the erasure waits for the writer")
                assert not erasing.done()
            assert (await erasing).conversations == 1
            assert await left(admin_url, user) == {"erased_users", "audit"}

    asyncio.run(go())


def test_writers_and_an_erasure_at_once_leave_nothing(app_url: str, admin_url: str) -> None:
    async def go() -> None:
        async with a_house(app_url, batch_rows=2) as (store, data):
            for _ in range(3):
                user = a_user()
                turns = [await store.accept(a_send(user, max_generations=0)) for _ in range(4)]
                answers = await asyncio.gather(
                    *(store.finish(an_end(turn)) for turn in turns[:2]),
                    *(store.accept(a_send(user, max_generations=0)) for _ in range(3)),
                    data.erase(user, caller=INTERNAL),
                    *(
                        store.create(user, title="T", context_type="general", context_data=None)
                        for _ in range(3)
                    ),
                    *(store.finish(an_end(turn)) for turn in turns[2:]),
                    return_exceptions=True,
                )
                unexpected = [
                    a for a in answers if isinstance(a, BaseException) and not isinstance(a, NotFound)
                ]
                assert unexpected == []
                assert await left(admin_url, user) == {"erased_users", "audit"}

    asyncio.run(go())


# --- export -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [1, 200])
def test_an_export_holds_everything_of_the_user_and_of_nobody_else(app_url: str, page_rows: int) -> None:
    async def go() -> None:
        user, other = a_user(), a_user()
        async with a_house(app_url, ContentCipher([NEW]), page_rows=page_rows) as (store, data):
            running = await a_life(store, user)
            await a_life(store, other)
            lines = await exported(data, user)
            assert lines[0] == {"kind": "user", "id": user}
            by_kind: dict[str, list[dict[str, Any]]] = {}
            for line in lines:
                by_kind.setdefault(line["kind"], []).append(line)
            assert {kind: len(rows) for kind, rows in by_kind.items()} == {
                "user": 1,
                "conversation": 3,
                "message": 6,
                "generation": 4,
                "usage": 3,
                "audit": 7,  # four orders, one made, one deleted, and this
            }
            titles = {line["title"] for line in by_kind["conversation"]}
            assert titles == {"Plans", "What suits me?", "Empty"}
            assert [line["status"] for line in by_kind["conversation"]].count("deleted") == 1
            assert {line["content"] for line in by_kind["message"]} == {"What suits me?", "An answer."}
            assert running in {line["id"] for line in by_kind["generation"]}
            assert {line["cost"] for line in by_kind["usage"]} == {"0.000123456789"}
            assert by_kind["audit"][-1]["action"] == "user.export"
            assert other not in json.dumps(lines)

    asyncio.run(go())


def test_an_export_says_what_cannot_be_opened(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with a_house(app_url, ContentCipher([OLD])) as (store, _):
            place = await store.create(user, title="Lost", context_type="general", context_data={"lost": 1})
            await a_turn(store, user, place.id)
        async with a_house(app_url, ContentCipher([NEW])) as (store, data):
            kept = await a_turn(store, user, content="[unavailable]", title="[unavailable]")
            lines = await exported(data, user)
            lost, found = [line for line in lines if line["kind"] == "conversation"]
            assert (lost["title"], lost["context_data"], lost["unavailable"]) == (None, None, True)
            assert lost["id"] == place.id
            assert (found["title"], "unavailable" in found) == ("[unavailable]", False)
            messages = [line for line in lines if line["kind"] == "message"]
            assert [line["content"] for line in messages[:2]] == [None, None]
            assert all(line["unavailable"] for line in messages[:2])
            assert [line["content"] for line in messages[2:]] == ["[unavailable]", "An answer."]
            assert messages[2]["conversation_id"] == kept.conversation.id

    asyncio.run(go())


def test_an_export_that_nobody_reads_to_its_end_holds_no_connection(app_url: str) -> None:
    async def go() -> None:
        user = a_user()
        async with a_house(app_url, page_rows=1) as (store, data):
            await a_life(store, user)
            for _ in range(12):
                lines = data.export(user, caller=INTERNAL)
                assert json.loads(await anext(lines))["kind"] == "user"
                assert json.loads(await anext(lines))["kind"] == "conversation"
            assert (await store.conversations(user, status="active", limit=9, offset=0))[1] == 2

    asyncio.run(go())
