"""A user as a whole: their tokens revoked, everything of theirs erased."""

from __future__ import annotations

import asyncio

import pytest

from server.adapters.redis import keys
from server.adapters.redis.limits import Window
from server.adapters.redis.users import RedisUsers
from server.channels.broker import Revoked
from server.generations.store import Gone
from tests.adapters.redis.support import Listener, a_client, an_adapter, begun, eventually, new_id


def test_a_revocation_is_dated_by_the_store_and_heard_on_every_node(redis_url: str) -> None:
    """REST: tokens issued until then are refused; open sessions end at once, wherever they are."""

    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with (
            an_adapter(redis_url) as one,
            an_adapter(redis_url) as two,
            a_client(redis_url) as client,
        ):
            listeners = [Listener(), Listener()]
            for adapter, listener in zip((one, two), listeners, strict=True):
                listener.hear(adapter)
                await adapter.subscription.subscribe(user)
                await adapter.subscription.subscribe(other)
            assert await one.users.revoked_at_ms(user) is None
            seconds, microseconds = await client.time()
            at = await one.users.revoke(user)
            assert seconds * 1000 + microseconds // 1000 <= at
            for adapter, listener in zip((one, two), listeners, strict=True):
                await eventually(lambda heard=listener: heard.arrivals == [Revoked(user)])  # type: ignore[misc]
                assert await adapter.users.revoked_at_ms(user) == at
                assert await adapter.users.revoked_at_ms(other) is None

    asyncio.run(scenario())


def test_a_later_revocation_takes_the_place_of_an_earlier_one(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            await adapter.users.revoke(user)
            await client.set(keys.revoked(user), 1000)
            at = await adapter.users.revoke(user)
            assert at > 1000
            assert await adapter.users.revoked_at_ms(user) == at

    asyncio.run(scenario())


def test_a_mark_lives_as_long_as_the_longest_token(redis_url: str) -> None:
    """After that no token it would refuse can be valid any more."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            await RedisUsers(adapter.scripts, token_seconds=100).revoke(user)
            assert 90_000 < await client.pttl(keys.revoked(user)) <= 100_000

    asyncio.run(scenario())


def test_erasing_takes_every_kind_of_key_a_user_has(clean_redis_url: str) -> None:
    """REST: logs, texts, records and counts go; the mark that keeps them out and open places stay."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            sealed = await begun(adapter, user=user)
            await adapter.generations.append(user, sealed.generation, 1, 0, "text")
            await adapter.generations.seal(user, sealed.generation, expected=1, record=b"end")
            await adapter.generations.conclude(user, sealed.generation, event=b"{}", persisted=False)
            running = await begun(adapter, user=user)
            await adapter.broker.publish_event(user, b"{}", kind="notification", key="k")
            await adapter.limits.reserve(user, [Window("messages", 10, 60)])
            await adapter.presence.take(user, "session", limit=5, replaces=None)
            await adapter.users.revoke(user)
            kinds = {name.decode().split(":")[2] async for name in client.scan_iter(match="chat:{*")}
            assert kinds == {
                *("head", "log", "active", "sealed", "gen", "text"),
                *("key", "end", "places", "revoked", "limit"),
            }, "a kind of key that this test does not know"
            assert await adapter.users.erase(user) > 8
            left = {name async for name in client.scan_iter(match="chat:{*")}
            assert left == {keys.places(user).encode(), keys.revoked(user).encode()}
            with pytest.raises(Gone):
                await adapter.generations.append(user, running.generation, 1, 0, "late")
            assert (await adapter.broker.snapshot(user)).running == ()

    asyncio.run(scenario())


def test_erasing_more_keys_than_one_scan_brings_misses_none(clean_redis_url: str) -> None:
    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(3000):
                pipeline.set(keys.idempotency(user, str(number)), "e 1")
                pipeline.set(keys.idempotency(other, str(number)), "e 1")
            await pipeline.execute()
            assert await adapter.users.erase(user) == 3000
            assert await client.dbsize() == 3000

    asyncio.run(scenario())


@pytest.mark.parametrize("user", ["a*", "a?", "[ab]", "a\\", "a\\*", "ab"])
def test_erasing_one_user_touches_no_other_whatever_their_names_are(clean_redis_url: str, user: str) -> None:
    """A name is a name, not a pattern (invariant I6)."""

    async def scenario() -> None:
        others = [name for name in ("a", "ab", "aa", "b", "a*", "a*b", "a\\", "a\\*", "[ab]") if name != user]
        async with an_adapter(clean_redis_url) as adapter:
            for each in (user, *others):
                await adapter.broker.publish_event(each, b"{}", kind="notification")
            assert await adapter.users.erase(user) == 2
            heads = await adapter.broker.heads([*others, user])
            assert [head.offset for head in heads] == [1] * len(others) + [0]

    asyncio.run(scenario())
