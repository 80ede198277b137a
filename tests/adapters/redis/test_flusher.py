"""The flusher: group commit, and every append answered whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import random

import pytest

from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import BrokerUnavailable
from server.generations.store import Appended, GenerationStart, Gone
from tests.adapters.redis.support import (
    Listener,
    a_client,
    an_adapter,
    at_last,
    begun,
    eventually,
    held_text,
    kill,
    new_id,
)
from tests.adapters.redis.test_append import heard_by
from tests.services import own_services

WORDS = ["a", "né", "漢字 ", "👋🏽", "\n", "e\u0301x", " word"]


async def many_begun(adapter: RedisAdapter, count: int) -> list[GenerationStart]:
    return list(await asyncio.gather(*(begun(adapter) for _ in range(count))))


async def appended(adapter: RedisAdapter, start: GenerationStart, at: int, text: str) -> Appended:
    return await adapter.generations.append(start.user, start.generation, 1, at, text)


async def appended_at_last(adapter: RedisAdapter, start: GenerationStart, at: int, text: str) -> int:
    """Say it again until it is answered; how often it had to be said."""
    times = 0

    async def once() -> Appended:
        nonlocal times
        times += 1
        return await appended(adapter, start, at, text)

    told = await at_last(once)
    assert told.length == at + len(text)
    return times


def test_many_generations_at_once_share_round_trips_and_mix_nothing_up(redis_url: str, seed: int) -> None:
    """Architecture §1: what arrives meanwhile is the next batch."""

    async def scenario() -> None:
        draw = random.Random(seed)
        async with an_adapter(redis_url) as adapter:
            starts = await many_begun(adapter, 150)
            texts = [[draw.choice(WORDS) for _ in range(20)] for _ in starts]

            async def write(start: GenerationStart, pieces: list[str]) -> None:
                at = 0
                for piece in pieces:
                    told = await appended(adapter, start, at, piece)
                    at += len(piece)
                    assert told.length == at

            await asyncio.gather(*map(write, starts, texts))
            assert adapter.flusher.calls == 150 * 20
            assert adapter.flusher.batches < adapter.flusher.calls / 10
            for start, pieces in zip(starts, texts, strict=True):
                assert await held_text(adapter, start) == "".join(pieces)

    asyncio.run(scenario())


def test_an_append_alone_leaves_at_once(redis_url: str) -> None:
    """No timer: alone a token is a batch of its own."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            for at in range(20):
                await appended(adapter, start, at, "x")
            assert (adapter.flusher.batches, adapter.flusher.calls) == (20, 20)

    asyncio.run(scenario())


def test_more_than_a_batch_goes_out_in_several_and_each_piece_in_its_order(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            starts = await many_begun(adapter, 1100)
            told = await asyncio.gather(
                *(
                    appended(adapter, start, at, text)
                    for at, text in ((0, "one "), (4, "two "), (8, "three"))
                    for start in starts
                )
            )
            assert {each.length for each in told} == {13}, "pieces that touch went together"
            assert (adapter.flusher.calls, adapter.flusher.batches) == (1100, 3)
            for start in (starts[0], starts[511], starts[512], starts[1099]):
                assert await held_text(adapter, start) == "one two three"

    asyncio.run(scenario())


def test_whatever_becomes_of_the_connection_every_append_is_answered_and_may_be_repeated(
    redis_url: str, seed: int
) -> None:
    """Architecture §7.3, with the connection killed again and again: nothing lost, nothing twice."""

    async def scenario() -> None:
        draw = random.Random(seed)
        async with (
            an_adapter(redis_url) as adapter,
            an_adapter(redis_url) as reader,
            a_client(redis_url) as client,
        ):
            listener = Listener()
            listener.hear(reader)
            starts = await many_begun(adapter, 40)
            for start in starts:
                await reader.subscription.subscribe(start.user)
            texts = [[draw.choice(WORDS) for _ in range(40)] for _ in starts]
            repeated = 0

            async def write(start: GenerationStart, pieces: list[str]) -> None:
                nonlocal repeated
                at = 0
                for piece in pieces:
                    repeated += await appended_at_last(adapter, start, at, piece) - 1
                    at += len(piece)

            writing = asyncio.gather(*map(write, starts, texts))
            kills = 0
            while not writing.done():
                kills += await kill(client, "append", adapter)
                await asyncio.sleep(0.01)
            await writing
            assert kills > 1
            assert repeated > 0
            for start, pieces in zip(starts, texts, strict=True):
                whole = "".join(pieces)
                assert await held_text(adapter, start) == whole
                await eventually(
                    lambda user=start.user, text=whole: (  # type: ignore[misc]
                        heard_by([each for each in listener.texts if each.user == user]) == text
                    )
                )

    asyncio.run(scenario())


def test_a_server_that_does_not_answer_is_not_waited_for_any_longer_than_said() -> None:
    """Everybody who waits is told that nothing is known; later the same appends count once."""

    async def scenario() -> None:
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url), call_seconds=1.0) as adapter,
        ):
            starts = await many_begun(adapter, 10)
            await asyncio.gather(*(appended(adapter, start, 0, "before ") for start in starts))
            await services.valkey.pause()
            first = [asyncio.ensure_future(appended(adapter, start, 7, "during ")) for start in starts]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second = [asyncio.ensure_future(appended(adapter, start, 14, "behind ")) for start in starts]
            told = await asyncio.gather(*first, *second, return_exceptions=True)
            assert {type(each) for each in told} == {BrokerUnavailable}
            await services.valkey.resume()
            for start in starts:
                await appended_at_last(adapter, start, 7, "during ")
                await appended_at_last(adapter, start, 14, "behind ")
                assert await held_text(adapter, start) == "before during behind "

    asyncio.run(scenario())


def test_appends_before_the_store_is_there_are_refused_and_work_when_it_appears() -> None:
    """A node comes up while Redis is away."""

    async def scenario() -> None:
        async with own_services(postgres=False) as services:
            await services.valkey.stop()
            async with an_adapter(str(services.urls.redis_url)) as adapter:
                with pytest.raises(BrokerUnavailable):
                    await adapter.generations.append(new_id(), new_id(), 1, 0, "x")
                assert not await adapter.reachable()
                await services.valkey.start()
                await eventually(lambda: adapter.subscription.connected)
                assert await adapter.reachable()
                start = await begun(adapter)
                assert await appended_at_last(adapter, start, 0, "x") < 100

    asyncio.run(scenario())


def test_callers_that_go_away_leave_everybody_elses_answers_in_place(redis_url: str, seed: int) -> None:
    """Invariant I6: answers stay with their questions, whoever is still there to hear them."""

    async def scenario() -> None:
        draw = random.Random(seed)
        async with an_adapter(redis_url) as adapter:
            starts = await many_begun(adapter, 60)
            lengths = [0] * len(starts)
            gone = 0
            for _ in range(30):
                order = draw.sample(range(len(starts)), len(starts))
                calls = {}
                for index in order:
                    text = "x" * draw.randint(1, 9)
                    calls[index] = asyncio.ensure_future(
                        appended(adapter, starts[index], lengths[index], text)
                    )
                    lengths[index] += len(text)
                for _ in range(draw.randint(0, 3)):
                    await asyncio.sleep(0)
                for index in draw.sample(order, 20):
                    gone += calls.pop(index).cancel()
                for index, call in calls.items():
                    assert (await call).length == lengths[index]
                # Those that were cancelled before they were queued never happened; these are said again.
                for index in order:
                    if index not in calls:
                        record = await adapter.generations.read(starts[index].user, starts[index].generation)
                        assert record is not None
                        lengths[index] = record.length
            assert gone > 100

    asyncio.run(scenario())


def test_what_waits_is_bounded_and_all_is_well_afterwards() -> None:
    """Invariant I8: a store that is away does not fill the node's memory."""

    async def scenario() -> None:
        megabyte = "x" * (1024 * 1024)
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url), call_seconds=15.0) as adapter,
        ):
            start, other = await begun(adapter), await begun(adapter)
            await services.valkey.pause()
            calls = []
            for number in range(40):
                calls.append(
                    asyncio.ensure_future(appended(adapter, start, number * len(megabyte), megabyte))
                )
                await asyncio.sleep(0)
            refused = sum(call.done() and isinstance(call.exception(), BrokerUnavailable) for call in calls)
            assert 0 < refused < 10
            await services.valkey.resume()
            told = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(each, Appended) for each in told) == 40 - refused
            assert (await appended(adapter, other, 0, megabyte)).length == len(megabyte)

    asyncio.run(scenario())


def test_a_failure_of_one_append_is_its_own(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            starts = await many_begun(adapter, 3)
            spoilt = keys.text(starts[1].user, starts[1].generation)
            await client.delete(spoilt)
            await client.rpush(spoilt, "not a text")
            told = await asyncio.gather(
                *(appended(adapter, start, 0, "x") for start in starts), return_exceptions=True
            )
            assert [type(each) for each in told] == [Appended, BrokerUnavailable, Appended]
            assert await appended_at_last(adapter, starts[2], 1, "y") == 1, "the connection is kept"

    asyncio.run(scenario())


def test_a_server_that_has_forgotten_the_script_is_told_it_again(redis_url: str) -> None:
    """SCRIPT FLUSH, or another server behind the same address."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            start = await begun(adapter)
            await appended(adapter, start, 0, "a")
            await client.script_flush()
            assert await appended_at_last(adapter, start, 1, "b") > 1
            assert await held_text(adapter, start) == "ab"
            await client.script_flush()
            assert (await adapter.broker.snapshot(start.user)).head.offset == 2
            await client.script_flush()
            assert len(await adapter.broker.heads([start.user, new_id()])) == 2

    asyncio.run(scenario())


def test_closing_answers_everybody_who_waits() -> None:
    async def scenario() -> None:
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url)) as adapter,
        ):
            start = await begun(adapter)
            await appended(adapter, start, 0, "a")
            await services.valkey.pause()
            waiting = [asyncio.ensure_future(appended(adapter, start, 1, "b"))]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.append(asyncio.ensure_future(appended(adapter, start, 2, "c")))
            await asyncio.sleep(0)
            await adapter.aclose()
            told = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(each) for each in told] == [BrokerUnavailable, BrokerUnavailable]
            with pytest.raises(BrokerUnavailable):
                await appended(adapter, start, 1, "b")
            await services.valkey.resume()

    asyncio.run(scenario())


def test_a_lost_state_is_told_in_the_middle_of_a_batch(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            starts = await many_begun(adapter, 3)
            await client.delete(keys.generation(starts[1].user, starts[1].generation))
            told = await asyncio.gather(
                *(appended(adapter, start, 0, "x") for start in starts), return_exceptions=True
            )
            assert [type(each) for each in told] == [Appended, Gone, Appended]

    asyncio.run(scenario())
