"""The cable is bad exactly as it is told to be: tables over an echo on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.scripted.fault_proxy import FaultProxy
from tests.scripted.waiting import DEADLINE_SECONDS, eventually

SOON = 0.2  # a deadline that is meant to pass
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Says back what it hears, and notes how its connections ended."""

    def __init__(self) -> None:
        self.heard = b""
        self.ends: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
                await writer.drain()
            self.ends.append("end")
        except ConnectionError:
            self.ends.append("reset")
        finally:
            writer.close()


@asynccontextmanager
async def an_echo() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1], seed=1) as cable:
        try:
            yield echo, cable
        finally:
            server.close()
            for writer in echo.writers:
                writer.close()


@asynccontextmanager
async def through(cable: FaultProxy) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said_back(ends: Ends, data: bytes) -> bytes:
    ends[1].write(data)
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await ends[0].readexactly(len(data))


async def how_it_ends(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """What still comes, and whether it ends with `end` or `reset`."""
    rest = b""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while data := await reader.read(65_536):
                rest += data
    except ConnectionError:
        return rest, "reset"
    return rest, "end"


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(SOON):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


# --- nothing is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 65_536, 3_000_000])
def test_what_is_said_comes_through_whole_both_ways(size: int):
    async def go() -> None:
        data = bytes(range(256)) * (size // 256 + 1)
        async with an_echo() as (echo, cable), through(cable) as ends:
            assert await said_back(ends, data[:size]) == data[:size]
            assert echo.heard == data[:size]

    asyncio.run(go())


def test_an_end_is_handed_on_and_what_was_said_before_it_still_comes():
    async def go() -> None:
        async with an_echo() as (echo, cable), through(cable) as (reader, writer):
            writer.write(b"x" * 200_000)
            writer.write_eof()
            rest, how = await how_it_ends(reader)
            assert (len(rest), how) == (200_000, "end")
            assert await eventually(lambda: echo.ends == ["end"])
            assert await eventually(lambda: not cable.links)

    asyncio.run(go())


def test_where_nobody_listens_behind_it_connections_are_reset():
    async def go() -> None:
        async with FaultProxy("127.0.0.1", 1) as cable, through(cable) as (reader, _):
            assert await how_it_ends(reader) == (b"", "reset")

    asyncio.run(go())


# --- slower -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency", "jitter", "bandwidth", "at_least"),
    [
        pytest.param(0.05, 0.0, None, 0.1, id="latency, each way"),
        pytest.param(0.0, 0.05, None, 0.0, id="jitter"),
        pytest.param(0.02, 0.03, None, 0.04, id="both"),
        pytest.param(0.0, 0.0, 400_000.0, 0.1, id="bandwidth, each way"),
    ],
)
def test_it_takes_as_long_as_it_is_told_and_nothing_is_reordered(
    latency: float, jitter: float, bandwidth: float | None, at_least: float
):
    async def go() -> None:
        async with an_echo() as (_, cable), through(cable) as (reader, writer):
            cable.latency, cable.jitter, cable.bandwidth = latency, jitter, bandwidth
            pieces = [b"%04d" % number * 100 for number in range(100)]
            began = time.monotonic()
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert await reader.readexactly(40_000) == b"".join(pieces)
            assert time.monotonic() - began >= at_least

    asyncio.run(go())


def test_healed_it_is_as_quick_as_before():
    async def go() -> None:
        async with an_echo() as (_, cable), through(cable) as ends:
            cable.latency = 3600.0
            ends[1].write(b"late")
            assert await is_silent(ends[0])
            await cable.heal()
            async with through(cable) as others:
                assert await said_back(others, b"at once") == b"at once"

    asyncio.run(go())


# --- ended ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("byte", [0, 1, 999, 1000, 70_000])
def test_it_is_cut_exactly_at_the_byte_it_is_told_to_and_once(way: str, byte: int):
    async def go() -> None:
        async with an_echo() as (echo, cable):
            cable.cut_at(byte, "up" if way == "up" else "down")
            async with through(cable) as (reader, writer):
                writer.write(b"x" * 100_000)
                rest, _ = await how_it_ends(reader)
                assert await eventually(lambda: echo.ends)
                if way == "up":
                    assert len(echo.heard) == byte
                else:
                    assert len(rest) == byte
            async with through(cable) as ends:
                assert await said_back(ends, b"y" * 100_000) == b"y" * 100_000

    asyncio.run(go())


@pytest.mark.parametrize(
    ("strike", "how"),
    [
        pytest.param(FaultProxy.reset, "reset", id="reset"),
        pytest.param(FaultProxy.hang_up, "end", id="hung up"),
    ],
)
def test_both_ends_of_every_connection_hear_it_and_new_ones_work(
    strike: Callable[[FaultProxy], None], how: str
):
    async def go() -> None:
        async with an_echo() as (echo, cable), through(cable) as one, through(cable) as other:
            await said_back(one, b"one")
            await said_back(other, b"other")
            strike(cable)
            assert await how_it_ends(one[0]) == (b"", how)
            assert await how_it_ends(other[0]) == (b"", how)
            assert await eventually(lambda: echo.ends == [how, how])
            async with through(cable) as ends:
                assert await said_back(ends, b"again") == b"again"

    asyncio.run(go())


def test_it_ends_what_is_idle_and_keeps_what_is_not():
    async def go() -> None:
        async with an_echo() as (_, cable), through(cable) as idle, through(cable) as busy:
            await said_back(idle, b"x")
            cable.idle_seconds = 1.5
            ended = asyncio.create_task(how_it_ends(idle[0]))
            while not ended.done():
                assert await said_back(busy, b"y") == b"y"
                await asyncio.sleep(0.05)
            assert ended.result() == (b"", "end")

    asyncio.run(go())


# --- silent -----------------------------------------------------------------------------------------


async def _black_hole(cable: FaultProxy) -> None:
    cable.black_hole()


async def _pause(cable: FaultProxy) -> None:
    cable.pause()


@pytest.mark.parametrize(("strike", "comes_back"), [(_black_hole, False), (_pause, True)])
def test_nothing_gets_through_and_nobody_is_told(
    strike: Callable[[FaultProxy], Awaitable[None]], comes_back: bool
):
    """What was paused comes in the end; what fell into a black hole never does."""

    async def go() -> None:
        async with an_echo() as (echo, cable), through(cable) as (reader, writer):
            await said_back((reader, writer), b"before")
            await strike(cable)
            writer.write(b"after")
            assert await is_silent(reader)
            assert echo.heard == b"before"
            assert echo.ends == []
            cable.resume()
            if comes_back:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    assert await reader.readexactly(5) == b"after"
            else:
                assert await is_silent(reader)
                assert echo.heard == b"before"
                writer.close()
                await writer.wait_closed()
                async with through(cable) as ends:
                    assert await said_back(ends, b"new") == b"new"
                assert echo.ends == []
                await cable.heal()
                assert await eventually(lambda: echo.ends)

    asyncio.run(go())


def test_new_connections_too_can_fall_into_the_black_hole():
    async def go() -> None:
        async with an_echo() as (echo, cable):
            cable.black_hole(also_new=True)
            async with through(cable) as (reader, writer):
                writer.write(b"anybody?")
                assert await is_silent(reader)
                assert echo.writers == []
                cable.see_again()
                async with through(cable) as ends:
                    assert await said_back(ends, b"yes") == b"yes"

    asyncio.run(go())


def test_while_it_is_paused_the_one_who_sends_feels_it():
    async def go() -> None:
        async with an_echo() as (_, cable), through(cable) as (reader, writer):
            cable.pause()
            writer.write(b"x" * 20_000_000)
            # nobody takes it: far more than every buffer on the way holds
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON):
                    await writer.drain()
            assert all(side.held <= 400_000 for link in cable.links for side in (link.near, link.far))
            cable.resume()
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert len(await reader.readexactly(20_000_000)) == 20_000_000

    asyncio.run(go())


# --- refused, sifted ----------------------------------------------------------------------------------


def test_it_refuses_whoever_comes_and_keeps_those_who_are_there():
    async def go() -> None:
        async with an_echo() as (_, cable), through(cable) as ends:
            await said_back(ends, b"x")
            cable.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", cable.port)
            assert await said_back(ends, b"still") == b"still"
            await cable.allow()
            async with through(cable) as others:
                assert await said_back(others, b"again") == b"again"

    asyncio.run(go())


def test_what_comes_down_goes_through_the_sieve():
    async def go() -> None:
        async with an_echo() as (echo, cable):
            cable.sieve = lambda: lambda data: data.replace(b"-", b"")
            async with through(cable) as (reader, writer):
                writer.write(b"a-b-c")
                async with asyncio.timeout(DEADLINE_SECONDS):
                    assert await reader.readexactly(3) == b"abc"
                assert echo.heard == b"a-b-c"

    asyncio.run(go())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("redis://:secret@example.org:1234/0", "redis://:secret@127.0.0.1:{}/0"),
        ("postgresql://me:it@example.org/chat?x=1", "postgresql://me:it@127.0.0.1:{}/chat?x=1"),
        ("http://example.org:80", "http://127.0.0.1:{}"),
    ],
)
def test_an_address_leads_through_it_and_is_otherwise_the_same(url: str, path: str):
    async def go() -> None:
        async with FaultProxy("127.0.0.1", 1) as cable:
            assert cable.url(url) == path.format(cable.port)

    asyncio.run(go())
