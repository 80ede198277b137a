"""The one conversation of a result, its stages, what the archive is to be told: against PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from protocol.frames import Stage
from server.adapters.postgres.assessments import PostgresAssessments
from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database
from server.adapters.postgres.proposed_ids import ProposedIds
from server.adapters.postgres.retention import PostgresRetention
from server.adapters.postgres.rotation import PostgresKeyRotation
from server.adapters.postgres.sealing import ContentCipher
from server.adapters.postgres.user_data import PostgresUserData
from server.assessments.store import AssessmentConversation, AssessmentOrder
from server.conversations.audit import BY_HOUSE, Caller
from server.conversations.store import EndRecord, GenerationInProgress, MessageRow, NotFound
from server.notifications.stages import notice
from tests.adapters.postgres.given import a_regenerate, a_send, a_user, connected
from tests.adapters.postgres.sealed import NEW, OLD, SMALL, everything

AT = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
PLAN = {"chain": ["a"], "free": [], "fallback": "continue", "max_tokens": 9, "temperature": 0, "tier": "free"}


@dataclass(frozen=True)
class Stores:
    """What shares a database."""

    assessments: PostgresAssessments
    conversations: PostgresConversationStore
    user_data: PostgresUserData


@asynccontextmanager
async def opened(
    url: str, keys: Sequence[bytes] = (), *, ids: ProposedIds | None = None
) -> AsyncIterator[Stores]:
    cipher = ContentCipher(keys)
    async with Database(url, limits=SMALL) as database:
        yield Stores(
            PostgresAssessments(database, cipher, ids=ids),
            PostgresConversationStore(database, cipher, ids=ids),
            PostgresUserData(database, cipher),
        )


def an_order(user: str, result: str, **changes: Any) -> AssessmentOrder:
    fields: dict[str, Any] = {
        "user_id": user,
        "result_id": result,
        "title": "My results",
        "context_data": {"assessment_id": result, "test_data": {"riasec": {"artistic": 77}}},
        "metadata": {"source": "test"},
        "ready": notice("chatbot_ready", user=user, assessment=result, at=AT),
        "plan": PLAN,
        "request": {"command": "welcome"},
        "again": False,
        "caller": BY_HOUSE,
    }
    return AssessmentOrder(**fields | changes)


def its_end(begun: AssessmentConversation, text: str | None = "Welcome!") -> EndRecord:
    welcome = begun.welcome
    assert welcome is not None
    message = None
    if text is not None:
        message = MessageRow(
            id=welcome.message_id,
            conversation_id=begun.conversation.id,
            sender_type="assistant",
            content=text,
            content_type="text",
            parent_message_id=None,
            created_at=datetime.now(UTC),
            metadata={"type": "assessment_welcome"},
            token_count=2,
        )
    return EndRecord(
        user_id=welcome.user_id,
        generation_id=welcome.id,
        conversation_id=begun.conversation.id,
        status="completed" if text else "cancelled",
        message=message,
        usage=(),
        finished={"message": None},
        finished_at=datetime.now(UTC),
        free_model=True,
    )


async def told(admin_url: str, user: str) -> list[tuple[str, str]]:
    """What of the user waits to be told, as (destination, stage or kind), in order."""
    async with connected(admin_url) as admin:
        rows = await admin.fetch("SELECT * FROM outbox WHERE user_id = $1 ORDER BY id", UUID(user))
    return [
        (row["destination"], json.loads(row["payload"]).get("notification", {}).get("stage", row["kind"]))
        for row in rows
    ]


def test_however_many_ask_at_once_there_is_one_conversation_with_one_welcome(app_url: str, admin_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as one, opened(app_url) as other:
            begun = await asyncio.gather(
                *(each.assessments.begin(an_order(user, result)) for each in (one, other) for _ in range(4))
            )
            assert len({each.conversation.id for each in begun}) == 1
            assert len({each.welcome.id for each in begun if each.welcome}) == 1
            assert [each.created for each in begun].count(True) == 1
            assert [each.begun for each in begun].count(True) == 1
            conversation = begun[0].conversation
            assert (conversation.context_type, conversation.title) == ("assessment", "My results")
            assert conversation.context_data is not None
            assert conversation.metadata == {"source": "test"}
            found = await other.assessments.find(user, result)
            assert found is not None
            assert found.conversation == conversation
            assert found.welcome is not None
            assert (found.welcome.reply_to, found.welcome.request["created"]) == (None, True)

    asyncio.run(go())
    assert asyncio.run(told(admin_url, user)) == [("broker", "chat.conversation.created")]


def test_ready_is_told_once_in_the_transaction_that_keeps_the_welcome(app_url: str, admin_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result))
            for _ in range(3):
                assert await stores.conversations.finish(its_end(begun))
            page = await stores.conversations.messages(user, begun.conversation.id, limit=9)
            assert [(each.content, each.parent_message_id) for each in page.messages] == [("Welcome!", None)]
            async with connected(admin_url) as admin:
                ready = json.loads(
                    await admin.fetchval(
                        "SELECT payload FROM outbox WHERE user_id = $1 AND kind = 'chatbot.ready'", UUID(user)
                    )
                )
            assert (ready["conversationId"], ready["assessmentId"]) == (begun.conversation.id, result)
            assert ready["messageId"] == page.messages[0].id

    asyncio.run(go())
    assert asyncio.run(told(admin_url, user)) == [
        ("broker", "chat.conversation.created"),
        ("channel", "chatbot_ready"),
        ("webhook", "chatbot_ready"),
        ("broker", "chatbot.ready"),
        ("broker", "chat.message.completed"),
    ]


def test_without_a_welcome_it_waits_at_once_and_a_later_one_tells_nothing_twice(app_url: str, admin_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result, plan=None))
            assert (begun.created, begun.begun, begun.welcome) == (True, False, None)
            later = await stores.assessments.begin(an_order(user, result))
            assert (later.created, later.begun) == (False, True)
            assert await stores.conversations.finish(its_end(later))

    asyncio.run(go())
    stages = asyncio.run(told(admin_url, user))
    assert ("channel", "conversation.created") in stages
    assert stages.count(("channel", "chatbot_ready")) == 1
    assert stages.count(("broker", "chatbot.ready")) == 1


def test_where_something_was_said_already_there_is_no_welcome_any_more(app_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result, plan=None))
            await stores.conversations.accept(a_send(user, begun.conversation.id))
            later = await stores.assessments.begin(an_order(user, result))
            assert (later.created, later.begun, later.welcome) == (False, False, None)

    asyncio.run(go())


def test_a_deleted_one_comes_back_only_where_its_user_asks(app_url: str, admin_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result))
            await stores.conversations.delete(user, begun.conversation.id)
            assert not await stores.conversations.finish(its_end(begun))
            with pytest.raises(NotFound) as refused:
                await stores.assessments.begin(an_order(user, result))
            assert refused.value.what == "conversation"
            assert await stores.assessments.find(user, result) is None

            anew = await stores.assessments.begin(an_order(user, result, again=True))
            assert (anew.created, anew.begun) == (True, True)
            assert anew.conversation.id != begun.conversation.id
            found = await stores.assessments.find(user, result)
            assert found is not None
            assert found.conversation.id == anew.conversation.id

    asyncio.run(go())
    assert ("channel", "chatbot_ready") not in asyncio.run(told(admin_url, user))


def test_an_erased_user_stays_erased(app_url: str, admin_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result))
            await stores.user_data.erase(user, caller=Caller("internal"))
            assert not await stores.conversations.finish(its_end(begun))
            for again in (False, True):
                with pytest.raises(NotFound) as refused:
                    await stores.assessments.begin(an_order(user, result, again=again))
                assert refused.value.what == "user"
            with pytest.raises(NotFound) as refused:
                await stores.assessments.tell(
                    user, result, notice("analysis_started", user=user, assessment=result, at=AT)
                )
            assert refused.value.what == "user"
        async with connected(admin_url) as admin:
            for table in ("conversations", "generations", "outbox", "assessment_conversations"):
                count = await admin.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", UUID(user))
                assert count == 0, table

    asyncio.run(go())


def test_a_stage_is_told_once_per_user_and_assessment_in_order(app_url: str, admin_url: str):
    user, other, result = a_user(), a_user(), a_user()
    stages: tuple[Stage, ...] = ("analysis_started", "analysis_complete", "analysis_started")

    async def go() -> None:
        async with opened(app_url) as stores:
            outcomes = [
                await stores.assessments.tell(
                    user, result, notice(stage, user=user, assessment=result, at=AT)
                )
                for stage in stages
            ]
            assert outcomes == [True, True, False]
            at_once = await asyncio.gather(
                *(
                    stores.assessments.tell(
                        other, result, notice("analysis_failed", user=other, assessment=result, at=AT)
                    )
                    for _ in range(6)
                )
            )
            assert at_once.count(True) == 1
            claimed = [
                row
                for row in await stores.conversations.system_outbox("channel", limit=99)
                if row.user_id == user
            ]
            assert [row.payload["notification"]["stage"] for row in claimed] == list(stages[:2])
            await stores.conversations.system_outbox_done([row.id for row in claimed])
            assert not await stores.assessments.tell(
                user, result, notice("analysis_started", user=user, assessment=result, at=AT)
            )
            webhook = await stores.conversations.system_outbox("webhook", limit=99)
            keys = {row.payload["key"] for row in webhook if row.user_id == other}
            assert keys == {notice("analysis_failed", user=other, assessment=result, at=AT).once_key}

    asyncio.run(go())
    assert ("channel", "analysis_failed") in asyncio.run(told(admin_url, other))


def test_what_was_told_once_is_remembered_as_long_as_everything_else(app_url: str, admin_url: str):
    user = a_user()

    async def go() -> None:
        old, recent = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC)
        async with connected(admin_url) as admin:
            for number, at in enumerate((old, recent)):
                floor = await admin.fetchval("SELECT uuid_floor($1)", at)
                await admin.execute(
                    "INSERT INTO outbox (id, destination, user_id, kind, payload, once_key, delivered_at)"
                    " VALUES ($1, 'channel', $2, 'notification', '{}', $3, $4)",
                    floor,
                    UUID(user),
                    f"{user}:{number}",
                    at,
                )
        async with Database(app_url, limits=SMALL) as database:
            assert await PostgresRetention(database).retain(before=datetime(2021, 1, 1, tzinfo=UTC))
        async with connected(admin_url) as admin:
            left = await admin.fetch("SELECT once_key FROM outbox WHERE user_id = $1", UUID(user))
        assert [row["once_key"] for row in left] == [f"{user}:1"]

    asyncio.run(go())


def test_nobody_finds_or_changes_the_conversation_of_somebody_elses_result(app_url: str):
    user, stranger, result = a_user(), a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result))
            assert await stores.assessments.find(stranger, result) is None
            theirs = await stores.assessments.begin(an_order(stranger, result))
            assert theirs.created
            assert theirs.conversation.id != begun.conversation.id

    asyncio.run(go())


def test_a_welcome_counts_in_no_limit_and_its_conversation_takes_one_answer_at_a_time(app_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            await stores.conversations.accept(a_send(user, max_generations=1))
            begun = await stores.assessments.begin(an_order(user, result))
            assert begun.begun
            with pytest.raises(GenerationInProgress):
                await stores.conversations.accept(a_send(user, begun.conversation.id))
            assert await stores.conversations.finish(its_end(begun))
            accepted = await stores.conversations.accept(a_send(user, begun.conversation.id))
            assert [row.content for row in accepted.history] == ["Welcome!", "What suits me?"]
            with pytest.raises(NotFound) as refused:
                await stores.conversations.accept_again(a_regenerate(user, accepted.history[0].id))
            assert refused.value.what == "parent"

    asyncio.run(go())


def test_a_welcome_that_never_began_is_due_work(app_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:
            begun = await stores.assessments.begin(an_order(user, result))
            rows = await stores.conversations.system_unstarted(older_than_seconds=0.0, limit=99)
            mine = [row for row in rows if row.user_id == user]
            assert [(row.id, row.reply_to) for row in mine] == [
                (begun.welcome.id if begun.welcome else "", None)
            ]

    asyncio.run(go())


def test_the_archive_is_told_of_a_conversation_and_of_its_end(app_url: str):
    user, result = a_user(), a_user()

    async def go() -> None:
        async with opened(app_url) as stores:

            async def due() -> list[Any]:
                links = await stores.assessments.system_due_links(limit=99)
                return [link for link in links if link.user_id == user]

            begun = await stores.assessments.begin(an_order(user, result))
            (link,) = await due()
            assert (link.result_id, link.conversation, link.tries) == (result, begun.conversation.id, 1)
            assert await due() == []
            await stores.conversations.delete(user, begun.conversation.id)
            # what was claimed before says nothing of what has changed since
            await stores.assessments.system_linked(link)
            (unlink,) = await due()
            assert unlink.conversation is None
            await stores.assessments.system_linked(unlink)
            assert await due() == []

    asyncio.run(go())


def test_what_speaks_of_a_person_is_sealed_and_the_database_may_name_the_id(app_url: str, admin_url: str):
    user, result = a_user(), a_user()
    slow = ProposedIds(clock=lambda: 1_000_000_000)

    async def go() -> None:
        async with opened(app_url, [NEW], ids=slow) as stores:
            canary = {"assessment_id": result, "canary": "a context canary"}
            begun = await stores.assessments.begin(
                an_order(user, result, title="A title canary", context_data=canary)
            )
            assert (begun.conversation.title, begun.conversation.context_data) == ("A title canary", canary)
            found = await stores.assessments.find(user, result)
            assert found is not None
            assert found.conversation.context_data == canary
            end = its_end(begun, "A content canary")
            assert end.message is not None
            metadata = {"type": "assessment_welcome", "insights": ["A first canary", "A second canary"]}
            message = replace(end.message, metadata=metadata)
            finished = {"message": {"id": message.id, "content": message.content, "metadata": metadata}}
            assert await stores.conversations.finish(replace(end, message=message, finished=finished))
            page = await stores.conversations.messages(user, begun.conversation.id, limit=9)
            assert [each.metadata for each in page.messages] == [metadata]
            assert begun.welcome is not None
            row = await stores.conversations.generation(user, begun.welcome.id)
            assert row.finished is not None
            assert row.finished["message"] == finished["message"]
        held = await everything(admin_url)
        assert not any("canary" in rows for rows in held.values())

    asyncio.run(go())


def test_insights_open_under_whichever_key_they_were_sealed_again(app_url: str, admin_url: str):
    user, result = a_user(), a_user()
    metadata = {"type": "assessment_welcome", "insights": ["A rotated canary"]}

    async def go() -> None:
        async with opened(app_url) as plain:
            begun = await plain.assessments.begin(an_order(user, result))
            end = its_end(begun)
            assert end.message is not None
            assert await plain.conversations.finish(
                replace(end, message=replace(end.message, metadata=metadata))
            )
        for keys in ([OLD], [NEW, OLD]):
            async with Database(app_url, limits=SMALL) as database:
                rotation = PostgresKeyRotation(database, ContentCipher(keys))
                while await rotation.rotate():
                    pass
            assert "A rotated canary" not in (await everything(admin_url))["messages"]
        async with opened(app_url, [NEW]) as stores:
            page = await stores.conversations.messages(user, begun.conversation.id, limit=9)
            assert [each.metadata for each in page.messages] == [metadata]
        async with opened(app_url, [OLD]) as stores:
            page = await stores.conversations.messages(user, begun.conversation.id, limit=9)
            assert [each.metadata for each in page.messages] == [
                {"type": "assessment_welcome", "unavailable": True}
            ]

    asyncio.run(go())
