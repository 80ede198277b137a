"""The subscription: order, gaps that are told, subscriptions that come back, orders to one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from protocol.position import Position
from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import Arrival, BrokerUnavailable, EventArrived, FrameArrived, TextArrived
from tests.adapters.redis.support import (
    Listener,
    a_client,
    an_adapter,
    answered,
    begun,
    eventually,
    kill,
    new_id,
    switch,
)
from tests.services import own_services


def test_arrivals_come_in_the_order_of_publishing_whatever_they_are(redis_url: str) -> None:
    """The subscription port: events, texts and frames of a user share one order."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as publisher, an_adapter(redis_url) as reader:
            listener = Listener()
            listener.hear(reader)
            start = await begun(publisher)
            user, generation = start.user, start.generation
            await reader.subscription.subscribe(user)
            for number in range(40):
                await publisher.generations.append(user, generation, 1, number, "x")
                await publisher.broker.publish_event(user, b"%d" % number, kind="notification")
                await publisher.broker.publish_frame(user, b"%d" % number)
            await switch(publisher, start, 1)
            await publisher.generations.append(user, generation, 2, 40, "y")
            await eventually(lambda: len(listener.arrivals) == 122)
            expected: list[object] = []
            for number in range(40):
                expected += (("text", number), ("event", number + 3), ("frame", b"%d" % number))
            assert [place(each) for each in listener.arrivals] == [*expected, ("event", 43), ("text", 40)]

    asyncio.run(scenario())


def place(arrival: Arrival) -> object:
    match arrival:
        case TextArrived():
            return ("text", arrival.at)
        case EventArrived():
            return ("event", arrival.offset)
        case FrameArrived():
            return ("frame", arrival.body)
        case _:
            return arrival


def test_what_is_published_after_subscribing_arrives(redis_url: str) -> None:
    """Arrivals flow from the moment `subscribe` returns, for as many as ask at once."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as publisher, an_adapter(redis_url) as reader:
            listener = Listener()
            listener.hear(reader)

            async def follow(user: str) -> None:
                await asyncio.gather(*(reader.subscription.subscribe(user) for _ in range(3)))
                await publisher.broker.publish_event(user, user.encode(), kind="notification")

            users = [new_id() for _ in range(200)]
            await asyncio.gather(*map(follow, users))
            await eventually(lambda: len(listener.events) == 200)
            assert {(event.user, event.body) for event in listener.events} == {
                (user, user.encode()) for user in users
            }

    asyncio.run(scenario())


def test_nothing_arrives_of_a_user_nobody_reads_any_more(redis_url: str) -> None:
    async def scenario() -> None:
        user, other = new_id(), new_id()
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            for each in (user, other, user):
                await adapter.subscription.subscribe(each)
            for _ in range(2):
                await adapter.subscription.unsubscribe(user)
            await adapter.broker.publish_frame(user, b"1")
            await adapter.broker.publish_frame(other, b"2")
            await eventually(lambda: bool(listener.arrivals))
            assert listener.arrivals == [FrameArrived(other, b"2")]
            await adapter.subscription.subscribe(user)
            await adapter.subscription.unsubscribe(other)
            await adapter.subscription.subscribe(other)
            await adapter.broker.publish_frame(user, b"3")
            await adapter.broker.publish_frame(other, b"4")
            await eventually(lambda: len(listener.arrivals) == 3)
            assert listener.arrivals[1:] == [FrameArrived(user, b"3"), FrameArrived(other, b"4")]

    asyncio.run(scenario())


def test_a_killed_connection_is_told_once_everything_is_subscribed_again(redis_url: str) -> None:
    """More channels than are asked for in one go; the first connection of all tells no gap."""

    async def scenario() -> None:
        users = [new_id() for _ in range(700)]
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            listener = Listener()
            listener.hear(adapter)
            told = asyncio.Event()
            adapter.subscription.on_gap(told.set)
            await asyncio.gather(*map(adapter.subscription.subscribe, users))
            await adapter.subscription.unsubscribe(users.pop())
            await eventually(lambda: adapter.subscription.reconnects == 0)
            assert listener.gaps == 0
            assert await kill(client, "listen", adapter)
            async with asyncio.timeout(20):
                await told.wait()
            counts = await client.pubsub_numsub(*(keys.channel(user) for user in users))
            assert {readers for _, readers in counts} == {1}, "all of them, before the gap is told"
            assert (listener.gaps, adapter.subscription.reconnects) == (1, 1)
            assert adapter.subscription.connected
            await adapter.broker.publish_frame(users[-1], b"here")
            await eventually(lambda: listener.arrivals == [FrameArrived(users[-1], b"here")])

    asyncio.run(scenario())


def test_no_event_is_missed_without_a_gap_that_is_told(redis_url: str) -> None:
    """Invariant I5, with the connection killed again and again: whoever reads the log on that word has all."""

    async def scenario() -> None:
        user = new_id()
        async with (
            an_adapter(redis_url) as publisher,
            an_adapter(redis_url) as reader,
            a_client(redis_url) as client,
        ):
            heard: list[int | str] = []

            def hear(arrival: Arrival) -> None:
                assert isinstance(arrival, EventArrived)
                heard.append(arrival.offset)

            reader.subscription.on_arrival(hear)
            reader.subscription.on_gap(lambda: heard.append("gap"))
            await reader.subscription.subscribe(user)
            done = asyncio.Event()

            async def killing() -> None:
                while not done.is_set():
                    await kill(client, "listen", reader)
                    await asyncio.sleep(0.02)

            killer = asyncio.ensure_future(killing())
            while len(heard) < 50 or heard.count("gap") < 3:
                await publisher.broker.publish_event(user, b"{}", kind="notification")
            done.set()
            await killer
            head = (await publisher.broker.snapshot(user)).head.offset
            assert head > 10
            await eventually(lambda: reader.subscription.connected)
            last = await publisher.broker.publish_event(user, b"{}", kind="notification")
            await eventually(lambda: bool(heard) and heard[-1] == last.offset)
            known, gap_told, holes = 0, False, 0
            for each in heard:
                if isinstance(each, str):
                    gap_told, holes = True, 0
                    continue
                assert each > known, "nothing twice, nothing out of order"
                # What comes right after the subscription may be heard before the word that there was a gap.
                holes += each != known + 1 and not gap_told
                known, gap_told = each, False
            assert holes == 0, "holes that nobody told"

    asyncio.run(scenario())


def test_a_reader_told_of_a_gap_finds_in_the_log_what_it_missed(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            first = await adapter.broker.publish_event(user, b"1", kind="notification")
            await eventually(lambda: len(listener.events) == 1)
            await kill(client, "listen", adapter)
            await adapter.broker.publish_event(user, b"2", kind="notification")
            await eventually(lambda: listener.gaps == 1)
            entries = await adapter.broker.read_log(user, Position(first.epoch, 1))
            assert entries is not None
            assert [entry.body for entry in entries] == [b"2"]

    asyncio.run(scenario())


def test_a_subscription_asked_for_while_the_store_is_away_flows_when_it_is_back() -> None:
    """The wish stays until it is taken back; who waits is told in time."""

    async def scenario() -> None:
        user, other, given_up = new_id(), new_id(), new_id()
        async with own_services(postgres=False) as services:
            url = str(services.urls.redis_url)
            async with an_adapter(url, call_seconds=0.6) as adapter:
                listener = Listener()
                listener.hear(adapter)
                await adapter.subscription.subscribe(other)
                await services.valkey.stop()
                await eventually(lambda: not adapter.subscription.connected)
                for each in (user, given_up):
                    with pytest.raises(BrokerUnavailable):
                        await adapter.subscription.subscribe(each)
                await adapter.subscription.unsubscribe(given_up)
                waiting = asyncio.ensure_future(adapter.subscription.subscribe(given_up))
                await asyncio.sleep(0)
                await adapter.subscription.unsubscribe(given_up)
                with pytest.raises(BrokerUnavailable):
                    await waiting
                assert listener.gaps == 0
                await services.valkey.start()
                await eventually(lambda: listener.gaps == 1)
                for each in (given_up, user, other):
                    await adapter.broker.publish_frame(each, b"{}")
                await eventually(lambda: len(listener.arrivals) == 2)
                assert listener.arrivals == [FrameArrived(user, b"{}"), FrameArrived(other, b"{}")]

    asyncio.run(scenario())


def test_a_connection_that_fell_silent_is_given_up() -> None:
    """What a general client does not notice: the connection stands, and nothing comes."""

    async def scenario() -> None:
        user = new_id()
        async with (
            own_services(postgres=False) as services,
            an_adapter(str(services.urls.redis_url), ping_seconds=0.3) as adapter,
        ):
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            await eventually(lambda: adapter.subscription.reconnects == 0)
            await services.valkey.pause()
            await eventually(lambda: not adapter.subscription.connected)
            await services.valkey.resume()
            await eventually(lambda: listener.gaps > 0)

            async def heard() -> bool:
                await adapter.broker.publish_frame(user, b"{}")
                return FrameArrived(user, b"{}") in listener.arrivals

            await answered(heard)

    asyncio.run(scenario())


def test_a_connection_cut_before_all_of_it_was_confirmed_is_a_gap_too(redis_url: str) -> None:
    """Who was confirmed on it has read on since, and may have missed something."""

    async def scenario() -> None:
        user = new_id()
        confirmation = f"chat:{{{user}}}\r\n:1\r\n".encode()
        async with cut_after(redis_url, confirmation) as url, an_adapter(url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            # The first one never was connected, so this one is the first that counts.
            await eventually(lambda: adapter.subscription.reconnects == 0)
            assert listener.gaps == 1

    asyncio.run(scenario())


@asynccontextmanager
async def cut_after(url: str, last: bytes) -> AsyncIterator[str]:
    """An address from which the server of `url` is reached; the first to be sent `last` hears no more."""
    target = urlsplit(url)
    copying: set[asyncio.Task[None]] = set()
    cut: list[bytes] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if last in data and not cut:
                    cut.append(data)
                    writer.write(data[: data.index(last) + len(last)])
                    break
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(target.hostname, target.port)
        for one, other in ((reader, inner_writer), (inner_reader, writer)):
            copying.add(asyncio.ensure_future(copy(one, other)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://:{target.password}@127.0.0.1:{port}/0"
    finally:
        server.close()
        for each in copying:
            each.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        assert cut


def test_a_quiet_connection_that_answers_is_kept(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url, ping_seconds=0.4) as adapter, a_client(redis_url) as client:
            await adapter.subscription.subscribe(new_id())

            async def pings() -> int:
                return int((await client.info("commandstats")).get("cmdstat_ping", {}).get("calls", 0))

            before = await pings()

            async def pinged() -> bool:
                return await pings() > before + 1

            await answered(pinged)
            assert (adapter.subscription.reconnects, adapter.subscription.connected) == (0, True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"x", b"t only four fields", b"e a b c d {}", b"t g 1 1 x 2 text", b"t g 1 0 0 1 \xff", b"r more"],
)
def test_a_message_that_cannot_be_used_is_a_gap_and_disturbs_nothing_else(
    redis_url: str, rubbish: bytes
) -> None:
    """What cannot be read was missed, and is mended as everything missed is."""

    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            listener = Listener()
            listener.hear(adapter)
            await adapter.subscription.subscribe(user)
            await client.publish(keys.channel(user), rubbish)
            await client.publish(keys.node(adapter.process), rubbish)
            await adapter.broker.publish_frame(user, b"{}")
            await eventually(lambda: len(listener.arrivals) == 1)
            assert listener.arrivals == [FrameArrived(user, b"{}")]
            assert (listener.gaps, adapter.subscription.reconnects) == (2, 0)

    asyncio.run(scenario())


def test_a_receiver_that_fails_is_told_of_a_gap_and_still_hears_the_next(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            heard: list[Arrival] = []
            gaps: list[int] = []

            def hear(arrival: Arrival) -> None:
                heard.append(arrival)
                if len(heard) == 1:
                    raise RuntimeError("the receiver's own mistake")

            def fails() -> None:
                raise RuntimeError("another one")

            adapter.subscription.on_arrival(hear)
            adapter.subscription.on_gap(fails)
            adapter.subscription.on_gap(lambda: gaps.append(1))
            await adapter.subscription.subscribe(user)
            for body in (b"1", b"2"):
                await adapter.broker.publish_frame(user, body)
            await eventually(lambda: len(heard) == 2)
            assert gaps == [1]

    asyncio.run(scenario())


def test_an_order_to_stop_reaches_the_process_it_is_for_and_no_other(redis_url: str) -> None:
    """The control channel comes back with the rest after a loss."""

    async def scenario() -> None:
        async with (
            an_adapter(redis_url) as owner,
            an_adapter(redis_url) as other,
            a_client(redis_url) as client,
        ):
            orders: list[tuple[str, str, str]] = []
            for adapter in (owner, other):
                listen_to_stops(adapter, orders)
                await eventually(lambda each=adapter: each.subscription.connected)  # type: ignore[misc]
            one, two = await begun(owner), await begun(other)
            await other.generations.request_stop(one.user, one.generation)
            await eventually(lambda: orders == [(owner.process, one.user, one.generation)])
            await kill(client, "listen", other)
            await eventually(lambda: other.subscription.reconnects == 1)
            await owner.generations.request_stop(two.user, two.generation)
            await eventually(lambda: len(orders) == 2)
            assert orders[1] == (other.process, two.user, two.generation)

    asyncio.run(scenario())


def listen_to_stops(adapter: RedisAdapter, orders: list[tuple[str, str, str]]) -> None:
    adapter.subscription.on_stop(lambda user, generation: orders.append((adapter.process, user, generation)))


def test_one_who_is_cancelled_while_subscribing_takes_nothing_from_others(redis_url: str) -> None:
    async def scenario() -> None:
        user = new_id()
        async with an_adapter(redis_url) as adapter:
            listener = Listener()
            listener.hear(adapter)
            cancelled = asyncio.ensure_future(adapter.subscription.subscribe(user))
            staying = asyncio.ensure_future(adapter.subscription.subscribe(user))
            await asyncio.sleep(0)
            cancelled.cancel()
            await staying
            assert cancelled.cancelled()
            await adapter.broker.publish_frame(user, b"{}")
            await eventually(lambda: listener.arrivals == [FrameArrived(user, b"{}")])

    asyncio.run(scenario())


def test_closing_tells_who_waits_and_can_be_repeated() -> None:
    async def scenario() -> None:
        async with own_services(postgres=False) as services:
            url = str(services.urls.redis_url)
            await services.valkey.stop()
            async with an_adapter(url) as adapter:
                waiting = asyncio.ensure_future(adapter.subscription.subscribe(new_id()))
                await asyncio.sleep(0)
                for _ in range(2):
                    await adapter.aclose()
                with pytest.raises(BrokerUnavailable):
                    await waiting
                assert not adapter.subscription.connected

    asyncio.run(scenario())
