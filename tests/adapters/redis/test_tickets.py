"""Tickets: a word that stands for a payload once, on every node."""

from __future__ import annotations

import asyncio

import pytest

from tests.adapters.redis.support import a_client, an_adapter, answered


def test_of_many_that_redeem_a_ticket_on_two_nodes_one_gets_the_payload(redis_url: str) -> None:
    """REST: a ticket is good for one connection, on any node."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as one, an_adapter(redis_url) as two:
            payload = b'{"sub":"u","exp":1}\x00\xff'
            ticket = await one.tickets.issue(payload, 30)
            told = await asyncio.gather(*((one, two)[n % 2].tickets.redeem(ticket) for n in range(20)))
            assert [each for each in told if each is not None] == [payload]
            assert await one.tickets.redeem(ticket) is None

    asyncio.run(scenario())


def test_a_ticket_is_worth_nothing_when_its_time_is_over(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            ticket = await adapter.tickets.issue(b"payload", 0.03)
            lasting = await adapter.tickets.issue(b"payload", 30)

            async def gone() -> bool:
                return sum([1 async for _ in client.scan_iter(match="chat:ticket:*")]) == 1

            await answered(gone)
            assert await adapter.tickets.redeem(ticket) is None
            assert await adapter.tickets.redeem(lasting) == b"payload"

    asyncio.run(scenario())


def test_a_dump_of_the_store_holds_no_ticket(clean_redis_url: str) -> None:
    """Whoever reads the store's keys and values cannot come in with what they find."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            tickets = {await adapter.tickets.issue(b"payload", 30) for _ in range(50)}
            assert len(tickets) == 50
            names = [name.decode() async for name in client.scan_iter()]
            assert len(names) == 50
            for name in names:
                assert not any(ticket in name for ticket in tickets)
                digest = name.removeprefix("chat:ticket:")
                assert await adapter.tickets.redeem(digest) is None
                assert 0 < await client.pttl(name) <= 30_000

    asyncio.run(scenario())


@pytest.mark.parametrize("word", ["", "unknown", "\ud800", "x" * 100_000, "a b\r\nGET c", "chat:leases"])
def test_what_is_no_ticket_stands_for_nothing(redis_url: str, word: str) -> None:
    """Whatever a client sends as its ticket is looked up by digest and found missing."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            assert await adapter.tickets.redeem(word) is None

    asyncio.run(scenario())
