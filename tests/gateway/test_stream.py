"""What lies between a pump and a response that a client reads, or does not read."""

from __future__ import annotations

import asyncio

import pytest

from server.gateway.stream import StreamTransport
from server.session.cursors import Outgoing
from server.session.outlet import TransportClosed

ONE, TWO, THREE = (Outgoing("delta", body) for body in (b"1", b"2", b"3"))


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_client_that_does_not_read_holds_up_its_pump():
    async def scenario() -> None:
        transport = StreamTransport()
        await transport.send(ONE)
        second = asyncio.create_task(transport.send(TWO))
        await settle()
        assert not second.done()
        frames = transport.frames()
        assert await anext(frames) is ONE
        await second
        assert await anext(frames) is TWO

    asyncio.run(scenario())


def test_closing_waits_for_no_reader_and_what_was_given_is_still_read():
    async def scenario() -> None:
        transport = StreamTransport()
        await transport.send(ONE)
        late = asyncio.create_task(transport.send(TWO))
        closing = asyncio.create_task(transport.close(0))
        await settle()
        assert closing.done()
        assert [frame async for frame in transport.frames()] == [ONE]
        with pytest.raises(TransportClosed):
            await late
        with pytest.raises(TransportClosed):
            await transport.send(THREE)

    asyncio.run(scenario())


def test_whoever_waits_for_a_client_that_is_gone_is_told():
    async def scenario() -> None:
        transport = StreamTransport()
        await transport.send(ONE)
        waiting = [asyncio.create_task(transport.send(frame)) for frame in (TWO, THREE)]
        await settle()
        transport.abandon()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [TransportClosed, TransportClosed]

    asyncio.run(scenario())
