"""Rate limits: sliding windows that hold over nodes, all or none of several."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from server.adapters.redis import keys
from server.adapters.redis.limits import Reservation, Window
from tests.adapters.redis.support import a_client, an_adapter, new_id

HOUR = Window("hour", 5, 3600)
MINUTE = Window("minute", 3, 60)


async def grow_older(client: Any, subject: str, window: Window, ms: int) -> None:
    """Make all uses so much older; the clock is the server's, and nobody can set that."""
    name, width = keys.limit(subject, window.name), window.seconds * 1000 // 60
    assert ms % width == 0, "whole slices only"
    held = await client.hgetall(name)
    await client.delete(name)
    for slice_, count in held.items():
        await client.hset(name, int(slice_) - ms // width, count)


def remaining(reservation: Reservation) -> list[int]:
    return [state.remaining for state in reservation.states]


def test_two_nodes_at_once_never_admit_more_than_the_limit(redis_url: str) -> None:
    """REST, Limits: over all nodes and all doors."""

    async def scenario() -> None:
        subject, window = new_id(), Window("w", 50, 3600)
        async with an_adapter(redis_url) as one, an_adapter(redis_url) as two:
            told = await asyncio.gather(
                *((one, two)[number % 2].limits.reserve(subject, [window]) for number in range(200))
            )
            admitted = [each for each in told if each.allowed]
            assert len(admitted) == 50
            assert sorted(remaining(each)[0] for each in admitted) == list(range(50))
            assert {remaining(each)[0] for each in told if not each.allowed} == {0}
            assert (await one.limits.reserve(new_id(), [window])).allowed

    asyncio.run(scenario())


def test_a_refusal_of_one_window_uses_nothing_of_the_others(redis_url: str) -> None:
    """REST, Limits: reserved in all windows at once, or in none."""

    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter:
            for left in (2, 1, 0):
                told = await adapter.limits.reserve(subject, [HOUR, MINUTE])
                assert told.allowed
                assert remaining(told) == [left + 2, left]
                assert told.retry_after_ms == 0
            for _ in range(10):
                refused = await adapter.limits.reserve(subject, [HOUR, MINUTE])
                assert not refused.allowed
                assert remaining(refused) == [2, 0]
                assert [state.window for state in refused.states] == [HOUR, MINUTE]
                assert refused.states[0].retry_after_ms == 0
                assert 59_000 < refused.states[1].retry_after_ms <= 61_000
                assert refused.retry_after_ms == refused.states[1].retry_after_ms
            assert remaining(await adapter.limits.reserve(subject, [HOUR])) == [1]

    asyncio.run(scenario())


def test_a_use_counts_for_its_window_and_at_most_a_sixtieth_longer(redis_url: str) -> None:
    """Sliding: what was used leaves the window by itself, one use after the other."""

    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            for age in (20_000, 30_000, 0):
                assert (await adapter.limits.reserve(subject, [MINUTE])).allowed
                await grow_older(client, subject, MINUTE, age)
            # used 50 s, 30 s and 0 s ago
            refused = await adapter.limits.reserve(subject, [MINUTE])
            assert not refused.allowed
            assert 9_000 <= refused.retry_after_ms <= 11_000
            assert refused.states[0].reset_ms == refused.retry_after_ms
            await grow_older(client, subject, MINUTE, 9_000)
            assert not (await adapter.limits.reserve(subject, [MINUTE])).allowed
            await grow_older(client, subject, MINUTE, 2_000)
            allowed = await adapter.limits.reserve(subject, [MINUTE])
            assert allowed.allowed
            assert remaining(allowed) == [0]
            assert 18_000 <= allowed.states[0].reset_ms <= 20_000
            await grow_older(client, subject, MINUTE, 61_000)
            fresh = await adapter.limits.reserve(subject, [MINUTE])
            assert remaining(fresh) == [2]
            assert await client.hlen(keys.limit(subject, "minute")) == 1, "what has left is not kept"

    asyncio.run(scenario())


def test_no_use_leaves_before_its_whole_window_is_over(redis_url: str) -> None:
    """Within any span as long as a window never more than its limit: a slice stands for its last use."""

    async def scenario() -> None:
        subject, window = new_id(), Window("w", 2, 3600)
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            await adapter.limits.reserve(subject, [window])
            await adapter.limits.reserve(subject, [window])
            await grow_older(client, subject, window, 3_540_000)
            refused = await adapter.limits.reserve(subject, [window])
            assert not refused.allowed
            assert 50_000 < refused.retry_after_ms <= 60_000
            await grow_older(client, subject, window, 60_000)
            assert (await adapter.limits.reserve(subject, [window])).allowed

    asyncio.run(scenario())


def test_nobody_is_told_to_wait_longer_than_the_window(redis_url: str) -> None:
    """What was used this moment leaves a window later, wherever in its slice it falls."""

    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter:
            for _ in range(MINUTE.limit):
                told = await adapter.limits.reserve(subject, [HOUR, MINUTE])
                for state in told.states:
                    assert 0 < state.reset_ms <= state.window.seconds * 1000
            refused = await adapter.limits.reserve(subject, [HOUR, MINUTE])
            assert 0 < refused.retry_after_ms <= 60_000

    asyncio.run(scenario())


def test_a_cost_waits_until_so_much_is_free(redis_url: str) -> None:
    async def scenario() -> None:
        subject, window = new_id(), Window("w", 10, 60)
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            for cost, age in ((4, 20_000), (3, 20_000), (2, 0)):
                assert (await adapter.limits.reserve(subject, [window], cost=cost)).allowed
                await grow_older(client, subject, window, age)
            # 4 used 40 s ago, 3 used 20 s ago, 2 now; 1 is free
            for cost, least in (
                (2, 19_000),
                (5, 19_000),
                (6, 39_000),
                (8, 39_000),
                (9, 59_000),
                (10, 59_000),
            ):
                refused = await adapter.limits.reserve(subject, [window], cost=cost)
                assert not refused.allowed
                assert least <= refused.retry_after_ms <= least + 2_000, cost
            assert not (await adapter.limits.reserve(subject, [window], cost=11)).allowed
            assert (await adapter.limits.reserve(subject, [window], cost=1)).allowed

    asyncio.run(scenario())


def test_a_refund_gives_back_what_was_reserved_and_a_refused_one_nothing(redis_url: str) -> None:
    """REST, Limits: what came to nothing is not counted."""

    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            first = await adapter.limits.reserve(subject, [HOUR, MINUTE], cost=2)
            second = await adapter.limits.reserve(subject, [HOUR, MINUTE])
            refused = await adapter.limits.reserve(subject, [HOUR, MINUTE])
            assert (second.allowed, refused.allowed) == (True, False)
            await adapter.limits.refund(refused)
            assert not (await adapter.limits.reserve(subject, [MINUTE])).allowed
            await adapter.limits.refund(first)
            third = await adapter.limits.reserve(subject, [HOUR, MINUTE])
            assert remaining(third) == [3, 1]
            for each in (second, third):
                await adapter.limits.refund(each)
            assert await client.exists(keys.limit(subject, "hour"), keys.limit(subject, "minute")) == 0

    asyncio.run(scenario())


def test_a_refund_after_the_use_has_left_its_window_takes_nothing_from_others(redis_url: str) -> None:
    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter:
            told = await adapter.limits.reserve(subject, [MINUTE], cost=2)
            (slice_,) = told.slices
            await adapter.limits.refund(replace(told, slices=(slice_ - 62,)))
            assert remaining(await adapter.limits.reserve(subject, [MINUTE])) == [0]

    asyncio.run(scenario())


def test_a_limit_of_nothing_is_off_and_shown_as_nothing(redis_url: str) -> None:
    """Settings: 0 is off; no key is written for it, and other windows limit all the same."""

    async def scenario() -> None:
        subject, off = new_id(), Window("off", 0, 60)
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            for _ in range(5):
                told = await adapter.limits.reserve(subject, [off], cost=100)
                assert told.allowed
                assert remaining(told) == [0]
                await adapter.limits.refund(told)
            both = [await adapter.limits.reserve(subject, [off, MINUTE]) for _ in range(4)]
            assert [each.allowed for each in both] == [True, True, True, False]
            assert [state.window for state in both[0].states] == [off, MINUTE]
            assert remaining(both[0]) == [0, 2]
            await adapter.limits.refund(both[0])
            assert (await adapter.limits.reserve(subject, [off, MINUTE])).allowed
            assert await client.exists(keys.limit(subject, "off")) == 0
            assert (await adapter.limits.reserve(subject, [])).allowed

    asyncio.run(scenario())


def test_a_limit_that_was_lowered_holds_at_once_and_one_that_was_raised_too(redis_url: str) -> None:
    """Nodes with another configuration share the counts, not the limits."""

    async def scenario() -> None:
        subject = new_id()
        async with an_adapter(redis_url) as adapter:
            for _ in range(3):
                assert (await adapter.limits.reserve(subject, [MINUTE])).allowed
            lowered = await adapter.limits.reserve(subject, [Window("minute", 2, 60)])
            assert not lowered.allowed
            assert remaining(lowered) == [0]
            assert remaining(await adapter.limits.reserve(subject, [Window("minute", 9, 60)])) == [5]

    asyncio.run(scenario())


@pytest.mark.parametrize("subject", ["203.0.113.7", "2001:db8::1", "a user:with colons"])
def test_counts_of_a_subject_are_gone_soon_after_its_window(redis_url: str, subject: str) -> None:
    """Invariant I8: keys return to the baseline."""

    async def scenario() -> None:
        name = f"{subject} {new_id()}"
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            await adapter.limits.reserve(name, [MINUTE])
            assert 60_000 < await client.pttl(keys.limit(name, "minute")) <= 62_000

    asyncio.run(scenario())
