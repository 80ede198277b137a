from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.adapters.redis import keys
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import Arrival, BrokerUnavailable, EventArrived, ForeignValue, TextArrived
from tests.adapters.redis.support import a_client, an_adapter, answered, kill, new_id
from tests.channels.author import Author
from tests.channels.node import Node, a_node, kinds, reaches, seldom, shows, text_of
from tests.scripted.clock import ManualClock
from tests.scripted.waiting import eventually


async def subscribers(client: Any, user: str) -> int:
    ((_, count),) = await client.pubsub_numsub(keys.channel(user))
    return int(count)


# --- attaching ------------------------------------------------------------------------------------


def test_a_reader_is_given_the_channel_as_it_is_and_hears_what_comes(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as here, an_adapter(redis_url) as there:
            author = Author(there)
            generation = await author.start()
            await author.say(generation, "Hel")

            channel, reader = await here.read(author.user)
            assert reader.offset == 1
            assert (channel.position.offset, text_of(channel, generation)) == (1, "Hel")
            (live,) = channel.running()
            assert abs(live.started_ms - time.time() * 1000) < 60_000

            await author.say(generation, "lo")
            await author.finish(generation)
            await eventually(lambda: kinds(channel) == ["generation.finished"])
            assert text_of(channel, generation) == "Hello"
            assert reader.woken
            assert not channel.stale

    asyncio.run(go())


def test_nothing_falls_into_the_gap_between_subscribing_and_reading(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as here, an_adapter(redis_url) as there:
            author = Author(there)
            generation = await author.start()

            async def write() -> None:
                for count in range(100):
                    await author.say(generation, f"{count} ")
                    await author.settle(generation)

            writing = asyncio.create_task(write())
            channels = []
            for _ in range(10):
                channels.append(await here.read(author.user))
                await asyncio.sleep(0)
            await writing
            channel = channels[0][0]
            await eventually(lambda: channel.offset == 101)
            await eventually(lambda: text_of(channel, generation) == author.told[generation].text)

            offsets = [entry.offset for entry in channel.entries]
            assert offsets == list(range(offsets[0], 102))
            assert {id(each) for each, _ in channels} == {id(channel)}

    asyncio.run(go())


def test_two_users_do_not_hear_each_other(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as here:
            authors = [Author(here.adapter), Author(here.adapter)]
            channels = [(await here.read(author.user))[0] for author in authors]
            generations = [await author.start() for author in authors]
            for author, generation in zip(authors, generations, strict=True):
                await author.say(generation, author.user)

            for author, generation, channel in zip(authors, generations, channels, strict=True):
                await shows(channel, generation, author.user)
                assert list(channel.texts) == [generation]

    asyncio.run(go())


def test_where_the_store_is_away_nobody_is_attached() -> None:
    async def go() -> None:
        limits = seldom(linger_seconds=0.0)
        async with a_node("redis://127.0.0.1:1", limits, call_seconds=0.2) as node:
            with pytest.raises(BrokerUnavailable):
                await node.read(new_id())
            assert node.hub.readers == 0
            await eventually(lambda: len(node.hub) == 0)

    asyncio.run(go())


def test_an_attach_that_is_cancelled_leaves_nobody_attached(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node, a_client(redis_url) as client:
            user = new_id()
            _, reader = await node.read(user)
            await client.client_pause(5000, all=False)

            attaching = asyncio.create_task(node.read(user))
            await asyncio.sleep(0)
            assert node.hub.readers == 2
            attaching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attaching

            assert node.hub.readers == 1
            await client.client_unpause()
            channel, _ = await node.read(user)
            assert reader in channel.readers

    asyncio.run(go())


def test_a_failed_attach_does_not_leave_others_with_a_stale_channel(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node, a_client(redis_url) as client:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            await client.hset(keys.head(author.user), "user", new_id())
            channel.stale = True

            with pytest.raises(ForeignValue):
                await node.read(author.user)

            await client.hset(keys.head(author.user), "user", author.user)
            await eventually(lambda: not channel.stale)

    asyncio.run(go())


# --- leaving --------------------------------------------------------------------------------------


def test_the_last_readers_channel_is_let_go(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url, seldom(linger_seconds=0.05)) as node, a_client(redis_url) as client:
            user = new_id()
            _, first = await node.read(user)
            _, second = await node.read(user)
            assert (len(node.hub), node.hub.readers) == (1, 2)

            node.hub.detach(user, first)
            assert await subscribers(client, user) == 1
            node.hub.detach(user, second)
            node.hub.detach(user, second)
            node.hub.detach(new_id(), second)

            await eventually(lambda: len(node.hub) == 0)
            await answered(lambda: _nobody(client, user), "nobody subscribes")
            assert node.hub._locks == {}

            channel, _ = await node.read(user)
            await Author(node.adapter, user).settle()
            await eventually(lambda: channel.offset == 1)

    asyncio.run(go())


async def _nobody(client: Any, user: str) -> bool:
    return await subscribers(client, user) == 0


def test_one_who_comes_back_soon_finds_the_same_channel(redis_url: str) -> None:
    async def go() -> None:
        clock = ManualClock()
        async with a_node(redis_url, seldom(linger_seconds=2.0), runs=False, now=clock) as node:
            user = new_id()
            channel, reader = await node.read(user)
            node.hub.detach(user, reader)
            clock.advance(1.9)
            await node.hub._let_go()
            assert len(node.hub) == 1

            again, _ = await node.read(user)
            clock.advance(10.0)
            await node.hub._let_go()

            assert again is channel
            assert len(node.hub) == 1

    asyncio.run(go())


def test_one_who_comes_back_while_the_channel_is_let_go_reads_a_new_one(redis_url: str) -> None:
    async def go() -> None:
        clock = ManualClock()
        async with a_node(redis_url, seldom(linger_seconds=2.0), runs=False, now=clock) as node:
            author = Author(node.adapter)
            channel, reader = await node.read(author.user)
            node.hub.detach(author.user, reader)
            clock.advance(2.0)

            (again, _), _ = await asyncio.gather(node.read(author.user), node.hub._let_go())

            assert again is channel
            node.hub.detach(author.user, next(iter(again.readers)))
            clock.advance(2.0)
            _, (anew, _) = await asyncio.gather(node.hub._let_go(), node.read(author.user))

            assert anew is not channel
            await author.settle()
            await eventually(lambda: anew.offset == 1)

    asyncio.run(go())


def test_what_only_the_one_who_left_had_not_read_is_forgotten(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node:
            author = Author(node.adapter)
            channel, slow = await node.read(author.user)
            _, quick = await node.read(author.user)
            await author.settle()
            await eventually(lambda: channel.offset == 1)
            quick.offset = 1

            node.hub.detach(author.user, slow)

            assert list(channel.entries) == []

    asyncio.run(go())


def test_reading_and_leaving_at_random_never_loses_a_channel_that_is_read(redis_url: str, seed: int) -> None:
    async def go() -> None:
        chance = random.Random(seed)
        async with a_node(redis_url, seldom(linger_seconds=0.0, retry_seconds=0.001)) as node:
            users = [new_id() for _ in range(3)]
            authors = {user: Author(node.adapter, user) for user in users}

            async def come_and_go(user: str) -> None:
                for _ in range(25):
                    channel, reader = await node.read(user)
                    position = await authors[user].settle()
                    await reaches(channel, position.offset)
                    node.hub.detach(user, reader)
                    await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003]))

            await asyncio.gather(*(come_and_go(user) for user in users for _ in range(2)))
            assert node.hub.readers == 0
            await eventually(lambda: len(node.hub) == 0)

    asyncio.run(go())


# --- what pub/sub lost ------------------------------------------------------------------------------


def _events(arrival: Arrival) -> bool:
    return isinstance(arrival, EventArrived)


def _texts(arrival: Arrival) -> bool:
    return isinstance(arrival, TextArrived)


async def _lose(node: Node, what: Callable[[Arrival], bool], happens: Awaitable[Any]) -> None:
    """It happens, and its arrival is lost."""
    node.line.loses = what
    before = len(node.line.lost)
    await happens
    await eventually(lambda: len(node.line.lost) > before)
    node.line.loses = lambda _: False


def test_a_lost_event_is_seen_by_the_next_one(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node:
            author = Author(node.adapter)
            channel, reader = await node.read(author.user)
            await _lose(node, _events, author.settle())

            generation = await author.start()

            await eventually(lambda: kinds(channel) == ["usage.settled", "generation.started"])
            await eventually(lambda: list(channel.texts) == [generation])
            assert reader.woken

    asyncio.run(go())


def test_a_lost_append_is_seen_by_the_next_one(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            generation = await author.start()
            await _lose(node, _texts, author.say(generation, "Hel"))

            await author.say(generation, "lo")

            await eventually(lambda: text_of(channel, generation) == "Hello")

    asyncio.run(go())


def test_a_lost_switch_is_seen_by_its_first_text(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            generation = await author.start()
            await author.say(generation, "Hello")
            await _lose(node, _events, author.switch(generation))

            await author.say(generation, "p me", at=3)

            await eventually(lambda: text_of(channel, generation) == "Help me")
            assert kinds(channel) == ["generation.started", "generation.switched"]

    asyncio.run(go())


def test_a_lost_last_event_is_found_by_looking(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url, seldom(idle_check_seconds=0.05)) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)

            await _lose(node, _events, author.settle())

            await eventually(lambda: kinds(channel) == ["usage.settled"])

    asyncio.run(go())


def test_a_lost_last_append_of_what_runs_is_found_by_looking(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url, seldom(running_check_seconds=0.05)) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            generation = await author.start()

            await _lose(node, _texts, author.say(generation, "Hello"))

            await eventually(lambda: text_of(channel, generation) == "Hello")

    asyncio.run(go())


def test_everything_may_be_lost_and_is_mended_in_the_end(redis_url: str, seed: int) -> None:
    async def go() -> None:
        chance = random.Random(seed)
        limits = seldom(running_check_seconds=0.05, idle_check_seconds=0.05)
        async with a_node(redis_url, limits) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            node.line.loses = lambda _: chance.random() < 0.3
            for _ in range(5):
                generation = await author.start()
                for count in range(20):
                    await author.say(generation, f"{count} ")
                await author.switch(generation)
                await author.say(generation, "and on", at=10)
                await author.finish(generation)
            running = await author.start()
            await author.say(running, "Hello")
            node.line.loses = lambda _: False

            await eventually(lambda: channel.offset == 16 and text_of(channel, running) == "Hello")

            assert [entry.offset for entry in channel.entries] == list(range(1, 17))
            assert node.line.lost
            for generation, told in author.told.items():
                assert text_of(channel, generation) == told.text

    asyncio.run(go())


def test_after_the_connection_was_away_every_channel_is_read(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as here, an_adapter(redis_url) as there, a_client(redis_url) as client:
            authors = [Author(there) for _ in range(40)]
            channels = [(await here.read(author.user))[0] for author in authors]
            here.line.loses = lambda _: True
            for author in authors:
                await author.settle()
            await eventually(lambda: len(here.line.lost) == 40)
            assert here.hub.gaps == 0
            here.line.loses = lambda _: False

            assert await kill(client, "listen", here.adapter)

            await eventually(lambda: all(kinds(channel) == ["usage.settled"] for channel in channels))
            assert here.hub.gaps == 1

    asyncio.run(go())


def test_a_store_that_is_away_is_asked_again(redis_url: str) -> None:
    async def go() -> None:
        async with (
            a_node(redis_url, call_seconds=0.4) as here,
            an_adapter(redis_url) as there,
            a_client(redis_url) as client,
        ):
            author = Author(there)
            channel, _ = await here.read(author.user)
            await _lose(here, _events, author.settle())

            await client.client_pause(800)
            here.hub._gap()

            await eventually(lambda: kinds(channel) == ["usage.settled"])

    asyncio.run(go())


def test_heads_that_cannot_be_asked_are_asked_at_the_next_time(redis_url: str) -> None:
    async def go() -> None:
        limits = seldom(idle_check_seconds=0.05)
        async with (
            a_node(redis_url, limits, call_seconds=0.4) as here,
            an_adapter(redis_url) as there,
            a_client(redis_url) as client,
        ):
            author = Author(there)
            channel, _ = await here.read(author.user)
            await client.client_pause(800)

            await _lose(here, _events, author.settle())

            await eventually(lambda: kinds(channel) == ["usage.settled"])

    asyncio.run(go())


# --- what the store has lost, or never should have had ------------------------------------------------


async def _new_epoch(client: Any, user: str) -> None:
    """The head was written by another process of the server."""
    await client.hset(keys.head(user), "run", "another")


def test_another_epoch_is_noticed_by_its_first_event(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url) as node, a_client(redis_url) as client:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            generation = await author.start()
            await author.say(generation, "Hello")
            await author.settle()
            await eventually(lambda: channel.offset == 2)
            before = channel.epoch

            await _new_epoch(client, author.user)
            position = await author.settle()

            await eventually(lambda: channel.position == position)
            assert channel.epoch != before
            assert channel.offset == 1
            assert text_of(channel, generation) == "Hello"

    asyncio.run(go())


def test_another_epoch_is_found_by_looking(redis_url: str) -> None:
    async def go() -> None:
        limits = seldom(idle_check_seconds=0.05)
        async with a_node(redis_url, limits) as node, a_client(redis_url) as client:
            channel, reader = await node.read(new_id())
            before = channel.epoch

            await _new_epoch(client, channel.user)

            await eventually(lambda: channel.epoch != before)
            assert reader.woken

    asyncio.run(go())


def test_events_the_log_no_longer_has_are_given_up(redis_url: str) -> None:
    async def go() -> None:
        async with a_node(redis_url, window=LogWindow(events=3)) as node:
            author = Author(node.adapter)
            channel, _ = await node.read(author.user)
            node.line.loses = _events
            generation = await author.start()
            for _ in range(9):
                await author.settle()
            await eventually(lambda: len(node.line.lost) == 10)
            node.line.loses = lambda _: False

            await author.say(generation, "Hello")

            await eventually(lambda: text_of(channel, generation) == "Hello")
            assert channel.offset == 10
            assert channel.after(0) is None

    asyncio.run(go())


def test_a_channel_that_cannot_be_read_holds_nobody_up(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        limits = seldom(idle_check_seconds=0.05)
        async with a_node(redis_url, limits) as node, a_client(redis_url) as client:
            broken, sound = Author(node.adapter), Author(node.adapter)
            broken_channel, _ = await node.read(broken.user)
            channel, _ = await node.read(sound.user)
            await client.hset(keys.head(broken.user), "user", sound.user)
            node.hub._gap()
            await _lose(node, _events, sound.settle())
            await sound.settle()

            await eventually(lambda: channel.offset == 2)
            await eventually(lambda: "the heads of some channels cannot be read" in caplog.text)
            assert broken_channel.stale
            assert "a channel cannot be read" in caplog.text

            await client.hset(keys.head(broken.user), "user", broken.user)
            await eventually(lambda: not broken_channel.stale)

    asyncio.run(go())
