"""Key rotation: everything ends under the newest key, whoever works beside it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database
from server.adapters.postgres.rotation import PostgresKeyRotation
from server.adapters.postgres.sealing import ContentCipher
from server.conversations.store import ConversationChange, ConversationStore
from tests.adapters.postgres.given import DEFAULT_TITLE, a_send, a_turn, a_user, an_end, connected
from tests.adapters.postgres.sealed import NEW, OLD, SMALL, everything, key_id, sealing
from tests.services import Database as Addresses

NEWEST = bytes([9] * 32)


@pytest.fixture
def urls(database: Addresses) -> Addresses:
    """A database of the test's own: a rotation walks through all of it."""
    from server.adapters.postgres.roles import grant_login

    asyncio.run(grant_login(database.admin_url, "chat_app"))
    return database


async def rotate(app_url: str, keys: list[bytes], batch: int = 200) -> int:
    """A rotation to its end; how much it did."""
    async with Database(app_url, limits=SMALL) as database:
        rotation = PostgresKeyRotation(database, ContentCipher(keys))
        total = 0
        while done := await rotation.rotate(batch):
            assert 0 < done <= batch
            total += done
        return total


async def keys_in_use(admin_url: str) -> set[str | None]:
    async with connected(admin_url) as admin:
        return {
            row[0]
            for row in await admin.fetch(
                "SELECT content_key FROM messages "
                "UNION SELECT title_key FROM conversations WHERE title <> 'New Conversation' "
                "UNION SELECT context_key FROM conversations WHERE context_data IS NOT NULL"
            )
        }


async def texts(store: ConversationStore, user: str) -> list[object]:
    """Everything of a user, as the store reads it, but for the times of activity."""
    rows, _ = await store.conversations(user, status="active", limit=99, offset=0)
    held: list[object] = []
    for row in sorted(rows, key=lambda row: row.id):
        page = await store.messages(user, row.id, limit=99)
        held.append((row, page.messages))
    return held


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_everything_comes_under_the_newest_key_and_reads_as_before(urls: Addresses, batch: int) -> None:
    async def go() -> None:
        user = a_user()
        before = []
        for keys in ([], [OLD], [NEW, OLD]):
            async with sealing(urls.app_url, keys) as store:
                place = await store.create(
                    user, title=f"T{len(keys)}", context_type="general", context_data={"k": len(keys)}
                )
                await a_turn(store, user, place.id, content="q", answer="a")
                await store.create(user, title=DEFAULT_TITLE, context_type="general", context_data=None)
        keys = [NEWEST, NEW, OLD]
        async with sealing(urls.app_url, keys) as store:
            before = await texts(store, user)
            assert await rotate(urls.app_url, keys, batch) == 3 + 6  # conversations and messages
            assert await keys_in_use(urls.admin_url) == {key_id(NEWEST)}
            assert await texts(store, user) == before
            assert await rotate(urls.app_url, keys, batch) == 0
        # the old keys can go
        async with sealing(urls.app_url, [NEWEST]) as store:
            assert await texts(store, user) == before

    asyncio.run(go())


def test_a_default_title_stays_plain_also_beside_sealed_context(urls: Addresses) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(urls.app_url, []) as store:
            place = await store.create(
                user, title=DEFAULT_TITLE, context_type="general", context_data={"a": 1}
            )
        assert await rotate(urls.app_url, [NEW]) == 1
        async with connected(urls.admin_url) as admin:
            row = await admin.fetchrow("SELECT title, title_key, context_key FROM conversations")
            assert row is not None
            assert tuple(row) == (DEFAULT_TITLE, None, key_id(NEW))
        async with sealing(urls.app_url) as store:
            assert (await store.conversation(user, place.id)).context_data == {"a": 1}
            assert (await store.accept(a_send(user, place.id, title="Named"))).retitled

    asyncio.run(go())


def test_without_keys_there_is_nothing_to_do(urls: Addresses) -> None:
    async def go() -> None:
        async with sealing(urls.app_url) as store:
            await a_turn(store, a_user())
        assert await rotate(urls.app_url, []) == 0

    asyncio.run(go())


def test_what_cannot_be_opened_stays_and_does_not_hold_up_the_rest(urls: Addresses) -> None:
    async def go() -> None:
        user = a_user()
        async with sealing(urls.app_url, [OLD]) as store:
            gone = await store.create(user, title="Gone", context_type="general", context_data={"gone": 1})
            await a_turn(store, user, gone.id)
        async with sealing(urls.app_url, [NEW]) as store:
            broken = await a_turn(store, user, content="broken", title="Broken")
            kept = await a_turn(store, user, content="kept", answer="kept", title="Kept")
        async with connected(urls.admin_url) as admin:
            await admin.execute(
                "UPDATE messages SET content = 'AAAA' || content WHERE conversation_id = $1",
                UUID(broken.conversation.id),
            )
            await admin.execute(
                "UPDATE conversations SET title = 'AAAA' || title WHERE id = $1", UUID(broken.conversation.id)
            )
        held = await everything(urls.admin_url)
        assert await rotate(urls.app_url, [NEWEST, NEW], 1) == 3
        assert await keys_in_use(urls.admin_url) == {key_id(NEWEST), key_id(NEW), key_id(OLD)}
        async with sealing(urls.app_url, [NEWEST]) as store:
            page = await store.messages(user, kept.conversation.id, limit=9)
            assert [row.content for row in page.messages] == ["kept", "kept"]
            assert (await store.conversation(user, kept.conversation.id)).title == "Kept"
        # with its key back, what was gone is there
        async with sealing(urls.app_url, [NEWEST, OLD]) as store:
            assert (await store.conversation(user, gone.id)).title == "Gone"
        assert held["generations"] == (await everything(urls.admin_url))["generations"]

    asyncio.run(go())


def test_several_nodes_may_rotate_at_once_under_load(urls: Addresses) -> None:
    """No lost update: neither a title changed meanwhile nor a message written meanwhile."""

    async def go() -> None:
        user = a_user()
        async with sealing(urls.app_url, [OLD]) as store:
            turns = [await a_turn(store, user, content=f"q{n}", answer=f"a{n}") for n in range(12)]
        places = [turn.conversation.id for turn in turns]
        stop = asyncio.Event()

        async def writing(store: ConversationStore) -> int:
            """As a node does that has not been given the new key as its newest."""
            rounds = 0
            while not stop.is_set():
                for place in places:
                    await store.update(user, place, ConversationChange(title=f"round {rounds}"))
                sent = await store.accept(a_send(user, places[0], content=f"more {rounds}"))
                await store.finish(an_end(sent, f"answer {rounds}"))
                rounds += 1
            return rounds

        async def rotating() -> None:
            async with Database(urls.app_url, limits=SMALL) as database:
                rotation = PostgresKeyRotation(database, ContentCipher([NEW, OLD]))
                for _ in range(12):
                    await rotation.rotate(5)

        async with Database(urls.app_url, limits=SMALL) as database:
            store = PostgresConversationStore(database, ContentCipher([OLD, NEW]))
            writer = asyncio.create_task(writing(store))
            try:
                await asyncio.gather(rotating(), rotating())
            finally:
                stop.set()
                rounds = await writer
        assert rounds > 0
        await asyncio.gather(rotate(urls.app_url, [NEW, OLD], 7), rotate(urls.app_url, [NEW, OLD], 7))
        assert await keys_in_use(urls.admin_url) == {key_id(NEW)}
        async with sealing(urls.app_url, [NEW]) as reader:
            listed, _ = await reader.conversations(user, status="active", limit=99, offset=0)
            assert {row.title for row in listed} == {f"round {rounds - 1}"}
            page = await reader.messages(user, places[0], limit=200)
            assert [row.content for row in page.messages] == ["q0", "a0"] + [
                text for n in range(rounds) for text in (f"more {n}", f"answer {n}")
            ]
            for number, place in enumerate(places[1:], 1):
                page = await reader.messages(user, place, limit=9)
                assert [row.content for row in page.messages] == [f"q{number}", f"a{number}"]

    asyncio.run(go())
