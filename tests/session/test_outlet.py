from __future__ import annotations

import asyncio

import pytest

from protocol.frames import Heartbeat, Synced
from server.session.cursors import Outgoing
from server.session.outlet import Outlet, TransportClosed
from tests.scripted.clock import ManualClock
from tests.scripted.memory_transport import MemoryTransport
from tests.scripted.waiting import eventually

FRAME = Outgoing("delta", b'{"type":"delta"}')


def test_what_is_sent_is_written_as_it_is_and_the_time_noted() -> None:
    async def go() -> None:
        clock, transport = ManualClock(5.0), MemoryTransport()
        outlet = Outlet(transport, clock)
        assert (outlet.last_sent, outlet.stuck_since) == (5.0, None)
        clock.advance(2.0)

        await outlet.send(FRAME)
        await outlet.tell(Heartbeat())
        await outlet.tell(Synced(position="e:1"), "e:1")

        assert transport.sent == [
            FRAME,
            Outgoing("heartbeat", b'{"type":"heartbeat"}'),
            Outgoing("synced", b'{"type":"synced","position":"e:1"}', "e:1"),
        ]
        assert (outlet.last_sent, outlet.stuck_since) == (7.0, None)

    asyncio.run(go())


def test_one_is_stuck_since_the_last_frame_that_was_taken() -> None:
    async def go() -> None:
        clock, transport = ManualClock(5.0), MemoryTransport()
        outlet = Outlet(transport, clock)
        transport.stop_reading()
        first = asyncio.create_task(outlet.send(FRAME))
        await eventually(lambda: outlet.stuck_since == 5.0)
        clock.advance(3.0)
        second = asyncio.create_task(outlet.tell(Heartbeat()))
        await eventually(lambda: outlet._waiting == 2)
        assert outlet.stuck_since == 5.0

        await transport.read_again(1)
        await first
        assert outlet.stuck_since == 8.0
        await transport.read_again()
        await second
        assert outlet.stuck_since is None

    asyncio.run(go())


def test_a_transport_that_is_closed_holds_nobody_up() -> None:
    async def go() -> None:
        transport = MemoryTransport()
        outlet = Outlet(transport, ManualClock())
        transport.stop_reading()
        waiting = asyncio.create_task(outlet.send(FRAME))
        await eventually(lambda: outlet.stuck_since is not None)

        await transport.close(1000)

        with pytest.raises(TransportClosed):
            await waiting
        assert outlet.stuck_since is None

    asyncio.run(go())
