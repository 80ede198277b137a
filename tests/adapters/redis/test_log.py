"""The log: offsets without holes, windows, idempotency keys, and honest refusals."""

from __future__ import annotations

import asyncio

import pytest

from protocol.position import Position
from server.adapters.redis import keys
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import ForeignValue, FrameArrived, Revoked
from tests.adapters.redis.support import Listener, a_client, an_adapter, eventually, new_id


def test_fifty_concurrent_publishers_leave_no_hole_and_everybody_hears_the_same_order(redis_url: str) -> None:
    """Invariant I1: offsets of an epoch are 1…n, in the log and on pub/sub."""

    async def scenario() -> None:
        user, count = new_id(), 500
        async with an_adapter(redis_url) as one, an_adapter(redis_url) as two:
            listener = Listener()
            listener.hear(two)
            await two.subscription.subscribe(user)

            async def publish(number: int) -> list[Position]:
                adapter = (one, two)[number % 2]
                bodies = [b'{"n":%d}' % (number * 10 + each) for each in range(count // 50)]
                return [
                    await adapter.broker.publish_event(user, body, kind="notification") for body in bodies
                ]

            told = [each for some in await asyncio.gather(*map(publish, range(50))) for each in some]
            assert sorted(position.offset for position in told) == list(range(1, count + 1))
            assert len({position.epoch for position in told}) == 1
            await eventually(lambda: len(listener.events) == count)
            assert [event.offset for event in listener.events] == list(range(1, count + 1))
            entries = await one.broker.read_log(user, told[0]._replace(offset=0), limit_bytes=1 << 20)
            assert entries is not None
            assert [(entry.offset, entry.body) for entry in entries] == [
                (event.offset, event.body) for event in listener.events
            ]

    asyncio.run(scenario())


def test_an_idempotency_key_publishes_once_and_gives_the_first_position_again(redis_url: str) -> None:
    """Broker port: a repeated key changes nothing and returns the first position."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            publish = adapter.broker.publish_event
            told = await asyncio.gather(
                *(publish(user, b"{}", kind="notification", key="k") for _ in range(20))
            )
            assert {position.offset for position in told} == {1}
            other = await publish(user, b"{}", kind="notification", key="another")
            assert other.offset == 2
            assert (await publish(new_id(), b"{}", kind="notification", key="k")).offset == 1
            assert (await adapter.broker.snapshot(user)).head == other

    asyncio.run(scenario())


def test_an_event_arrives_as_it_was_published(redis_url: str) -> None:
    """Kind, generation and offset stand outside the JSON; the JSON may hold anything."""

    async def scenario() -> None:
        user, body = new_id(), b'{"text":"a b  c\\r\\n","emoji":"\xf0\x9f\x98\x80"}'
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            await adapter.broker.publish_event(user, body, kind="usage.settled", generation="g1")
            await adapter.broker.publish_event(user, body, kind="conversation.updated")
            await eventually(lambda: len(listener.events) == 2)
            first, second = listener.events
            assert (first.user, first.kind, first.generation, first.body) == (
                user,
                "usage.settled",
                "g1",
                body,
            )
            assert (second.kind, second.generation, second.body) == ("conversation.updated", "", body)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("window", "sizes", "kept"),
    [
        (LogWindow(events=3), [10] * 5, [3, 4, 5]),
        (LogWindow(size_bytes=100), [40] * 5, [4, 5]),
        (LogWindow(size_bytes=100), [40, 40, 300], [3]),
        (LogWindow(size_bytes=100), [300, 40, 40], [2, 3]),
        (LogWindow(events=4, size_bytes=100), [10, 90, 20, 20], [3, 4]),
    ],
)
def test_the_log_is_trimmed_by_count_and_bytes_whichever_ends_first(
    redis_url: str, window: LogWindow, sizes: list[int], kept: list[int]
) -> None:
    """Protocol §8: 1,000 events or 4 MiB; the newest always stays."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url, window=window) as adapter:
            for size in sizes:
                head = await adapter.broker.publish_event(user, b"x" * size, kind="notification")
            snapshot = await adapter.broker.snapshot(user)
            assert (snapshot.oldest, snapshot.head.offset) == (kept[0], len(sizes))
            entries = await adapter.broker.read_log(user, head._replace(offset=kept[0] - 1))
            assert entries is not None
            assert [entry.offset for entry in entries] == kept
            if kept[0] > 1:
                assert await adapter.broker.read_log(user, head._replace(offset=kept[0] - 2)) is None
            async with a_client(redis_url) as client:
                held = int(await client.hget(keys.head(user), "bytes"))
            assert held == sum(sizes[offset - 1] for offset in kept)

    asyncio.run(scenario())


def test_the_log_is_trimmed_by_age(redis_url: str) -> None:
    """Protocol §8: events are resumable for so long; an old one goes with the next event."""

    async def scenario() -> None:
        user = new_id()
        async with (
            an_adapter(redis_url, window=LogWindow(seconds=0.2)) as adapter,
            a_client(redis_url) as client,
        ):
            head = await adapter.broker.publish_event(user, b"old", kind="notification")
            # The log as a whole would go by itself by now; keep it, so that only its entry is old.
            await client.persist(keys.log(user))
            await adapter.broker.publish_event(user, b"a", kind="notification")
            await client.persist(keys.log(user))
            started = (await adapter.broker.snapshot(user)).now_ms
            async with asyncio.timeout(20):
                while (await adapter.broker.snapshot(user)).now_ms < started + 400:  # noqa: ASYNC110 - the server's clock
                    await asyncio.sleep(0.02)
            await client.persist(keys.log(user))
            await adapter.broker.publish_event(user, b"b", kind="notification")
            assert (await adapter.broker.snapshot(user)).oldest == 3
            assert await adapter.broker.read_log(user, head) is None

    asyncio.run(scenario())


def test_an_expired_log_under_a_live_head_is_no_loss_for_a_client_at_the_head(redis_url: str) -> None:
    """Architecture §7.10."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            await adapter.broker.publish_event(user, b"1", kind="notification")
            head = await adapter.broker.publish_event(user, b"2", kind="notification")
            await client.delete(keys.log(user))
            assert await adapter.broker.read_log(user, head) == []
            assert await adapter.broker.read_log(user, head._replace(offset=1)) is None
            snapshot = await adapter.broker.snapshot(user)
            assert (snapshot.head, snapshot.oldest) == (head, None)
            assert await adapter.broker.publish_event(user, b"3", kind="notification") == head._replace(
                offset=3
            )
            entries = await adapter.broker.read_log(user, head)
            assert entries is not None
            assert [entry.body for entry in entries] == [b"3"]

    asyncio.run(scenario())


def test_the_head_outlives_the_log_and_is_renewed_by_whoever_looks(redis_url: str) -> None:
    """Architecture §7.10: the head's life is the window plus an hour, renewed while a session is there."""

    async def scenario() -> None:
        user = new_id()
        async with (
            an_adapter(redis_url, window=LogWindow(seconds=100)) as adapter,
            a_client(redis_url) as client,
        ):
            life = 100_000 + 3_600_000
            for look in (
                lambda: adapter.broker.snapshot(user),
                lambda: adapter.broker.heads([user]),
                lambda: adapter.broker.publish_event(user, b"{}", kind="notification"),
            ):
                await client.pexpire(keys.head(user), 5000)
                await look()
                assert life - 5000 < await client.pttl(keys.head(user)) <= life
            assert 95_000 < await client.pttl(keys.log(user)) <= 100_000

    asyncio.run(scenario())


def test_what_cannot_be_given_without_a_hole_is_refused(redis_url: str) -> None:
    """Invariant I5: another epoch, the future, and nothing at all are told apart from 'nothing new'."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            head = await adapter.broker.publish_event(user, b"1", kind="notification")
            read = adapter.broker.read_log
            assert await read(user, head) == []
            assert await read(user, head._replace(offset=2)) is None
            assert await read(user, head._replace(epoch="other")) is None
            assert await read(user, head._replace(offset=9_999_999_999_999_999)) is None
            assert await read(new_id(), head) is None

    asyncio.run(scenario())


def test_the_log_is_read_in_pages_of_about_so_many_bytes_at_least_one_entry(redis_url: str) -> None:
    """Architecture §7.14: replay is read in pages."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            for number in range(100):
                head = await adapter.broker.publish_event(user, b"%05d" % number * 20, kind="notification")
            after, seen, pages = head._replace(offset=0), [], 0
            while page := await adapter.broker.read_log(user, after, limit_bytes=1000):
                assert sum(len(entry.body) for entry in page) <= 1000
                seen += [entry.offset for entry in page]
                after = after._replace(offset=seen[-1])
                pages += 1
            assert (seen, pages) == (list(range(1, 101)), 10)
            one = await adapter.broker.read_log(user, head._replace(offset=0), limit_bytes=1)
            assert one is not None
            assert [entry.offset for entry in one] == [1]

    asyncio.run(scenario())


def test_heads_come_in_the_order_asked_and_are_made_where_there_are_none(redis_url: str) -> None:
    async def scenario() -> None:
        users = [new_id() for _ in range(1203)]
        async with an_adapter(redis_url) as adapter:
            known = await adapter.broker.publish_event(users[700], b"{}", kind="notification")
            heads = await adapter.broker.heads(users)
            assert heads[700] == known
            assert {head.offset for index, head in enumerate(heads) if index != 700} == {0}
            assert await adapter.broker.heads(users) == heads
            assert await adapter.broker.heads([]) == []

    asyncio.run(scenario())


def test_a_value_of_another_user_is_never_used(redis_url: str) -> None:
    """Invariant I6: every value carries its user and is checked on reading."""

    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            head = await adapter.broker.publish_event(user, b"{}", kind="notification")
            await client.hset(keys.head(user), "user", other)
            for read in (
                adapter.broker.snapshot(user),
                adapter.broker.heads([user]),
                adapter.broker.read_log(user, head._replace(offset=0)),
            ):
                with pytest.raises(ForeignValue):
                    await read

    asyncio.run(scenario())


def test_frames_and_revocations_reach_who_listens_and_nobody_else(redis_url: str) -> None:
    """Ephemeral frames are kept nowhere; the log does not know them."""

    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            await adapter.broker.publish_frame(other, b'{"not":"mine"}')
            await adapter.broker.publish_frame(user, b'{"type":"interim"}')
            at = await adapter.users.revoke(user)
            await eventually(lambda: len(listener.arrivals) == 2)
            assert listener.arrivals == [FrameArrived(user, b'{"type":"interim"}'), Revoked(user)]
            assert await adapter.users.revoked_at_ms(user) == at
            assert await adapter.users.revoked_at_ms(other) is None
            assert (await adapter.broker.snapshot(user)).head.offset == 0

    asyncio.run(scenario())


def test_erasing_leaves_nothing_of_a_user_but_what_keeps_them_out(redis_url: str) -> None:
    """REST: erasure takes logs and texts; it can be repeated; neighbours keep theirs."""

    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            for each in (user, other):
                await adapter.broker.publish_event(each, b"{}", kind="notification", key="k")
            await adapter.users.revoke(user)
            assert await adapter.users.erase(user) == 3
            assert await adapter.users.erase(user) == 0
            assert [name async for name in client.scan_iter(match=f"*{user}*")] == [
                keys.revoked(user).encode()
            ]
            assert (await adapter.broker.snapshot(other)).head.offset == 1

    asyncio.run(scenario())
