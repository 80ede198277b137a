"""One at a time for each key (lanes.py)."""

import asyncio

import pytest

from server.adapters.rabbitmq.lanes import Lanes
from tests.scripted.waiting import eventually


def test_the_same_key_waits_its_turn_and_another_does_not():
    async def scenario() -> list[str]:
        lanes, go, order = Lanes(), asyncio.Event(), list[str]()

        async def work(key: str, name: str) -> None:
            async with lanes.turn(key):
                order.append(f"{name} begins")
                if key == "slow":
                    await go.wait()
                order.append(f"{name} ends")

        async with asyncio.TaskGroup() as group:
            for key, name in (("slow", "a"), ("slow", "b"), ("other", "c"), ("slow", "d")):
                group.create_task(work(key, name))
            await eventually(lambda: "c ends" in order)
            go.set()
        assert len(lanes) == 0
        return order

    assert asyncio.run(scenario()) == [
        "a begins", "c begins", "c ends", "a ends", "b begins", "b ends", "d begins", "d ends",
    ]  # fmt: skip


def test_one_that_fails_or_is_cancelled_lets_the_next_go():
    async def scenario() -> None:
        lanes = Lanes()

        async def fail() -> None:
            async with lanes.turn("key"):
                raise ValueError

        async def hold() -> None:
            async with lanes.turn("key"):
                await asyncio.Event().wait()

        with pytest.raises(ValueError):
            await fail()
        holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
        waiter.cancel()
        holder.cancel()
        await asyncio.gather(holder, waiter, return_exceptions=True)
        async with asyncio.timeout(5), lanes.turn("key"):
            pass
        assert len(lanes) == 0

    asyncio.run(scenario())
