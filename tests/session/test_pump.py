from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from protocol.codec import encode
from protocol.frames import Delta, Interim, TextCursor
from protocol.position import Position
from server.adapters.redis import keys
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import Arrival, EventArrived
from server.channels.channel import Channel
from server.session.cursors import BATCH_BYTES, Outgoing, TurnFilter
from server.session.outlet import Outlet, TransportClosed
from server.session.pump import Pump
from tests.adapters.redis.support import a_client, new_id
from tests.channels.author import Author
from tests.channels.node import Node, a_node, reaches, shows
from tests.oracle_wire import check_ends, check_texts
from tests.scripted.memory_transport import MemoryTransport
from tests.scripted.recording import Frame, Recorded, Recording
from tests.scripted.waiting import eventually


@dataclass
class Client:
    """A pump and who reads what it writes."""

    node: Node
    pump: Pump
    transport: MemoryTransport
    channel: Channel
    revocations: list[bool]

    @property
    def frames(self) -> list[Frame]:
        return self.transport.frames

    def text(self, generation: str, since: int = 0) -> str:
        """The text it shows, by the rule of the wire; a hole is a fault."""
        text = ""
        for frame in self.frames[since:]:
            if frame["type"] == "delta" and frame["generation"] == generation and "kind" not in frame:
                assert frame["at"] <= len(text)
                text = text[: frame["at"]] + frame["text"]
        return text

    async def is_stuck(self) -> None:
        """A frame waits to be read."""
        await eventually(lambda: self.pump._outlet.stuck_since is not None)

    async def asleep(self) -> None:
        """Everything was sent, and the pump waits for more."""
        await eventually(lambda: self.pump._sleeper is not None and not self.pump._sleeper.done())

    async def shows(self, generation: str, text: str) -> None:
        await eventually(lambda: self.text(generation) == text)

    def kinds(self, since: int = 0) -> list[str]:
        """The types of the frames, deltas that follow one another as one."""
        found: list[str] = []
        for kind in self.transport.kinds(since):
            if kind != "delta" or found[-1:] != ["delta"]:
                found.append(kind)
        return found


@asynccontextmanager
async def a_pump(
    node: Node,
    user: str,
    *,
    held: Position | None = None,
    texts: dict[str, TextCursor] | None = None,
    only: TurnFilter | None = None,
    catches_up: bool = True,
    transport: MemoryTransport | None = None,
) -> AsyncIterator[Client]:
    """A pump that runs; `held` is the position it begins from, else the head."""
    transport = transport or MemoryTransport()
    revocations: list[bool] = []
    pump = Pump(
        user,
        Outlet(transport, time.monotonic),
        node.adapter.broker,
        on_revoked=lambda: revocations.append(True),
        only=only,
    )
    channel, snapshot = await node.hub.attach(user, pump)
    pump.cursors.epoch, pump.cursors.offset = held or snapshot.head
    pump.cursors.present(texts)

    async def deliver() -> None:
        with suppress(TransportClosed):
            if catches_up:
                await pump.catch_up(channel, channel.position)
            await pump.run(channel)

    task = asyncio.create_task(deliver())
    try:
        yield Client(node, pump, transport, channel, revocations)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        node.hub.detach(user, pump)


class TransportThatIsLost(MemoryTransport):
    """Is found to be closed only by writing to it."""

    def put(self, frame: Outgoing) -> None:
        raise TransportClosed


async def head_of(node: Node, user: str) -> Position:
    return (await node.adapter.broker.snapshot(user)).head


def on_a_node(redis_url: str, test: Callable[[Node, Author], Awaitable[None]], **other: Any) -> None:
    async def go() -> None:
        async with a_node(redis_url, **other) as node:
            await test(node, Author(node.adapter))

    asyncio.run(go())


def violations(client: Client, presented: dict[str, Any] | None = None) -> list[Any]:
    """What the oracle finds in what it was sent; a stream without `welcome` is taken as live."""
    recording = Recording(client.channel.user)
    if presented is not None:
        recording.presented[1] = presented
    recording.heard = [Recorded(1, frame, 0.0) for frame in client.frames]
    return [*check_texts(recording), *check_ends(recording)]


# --- catching up ------------------------------------------------------------------------------------


def test_missed_events_come_first_then_states_and_texts_then_synced(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        first, second = await author.start(), await author.start()
        await author.say(first, "Hello")
        await author.say(second, "Bye")
        async with a_pump(node, author.user, held=held, texts={first: TextCursor(attempt=1, at=3)}) as client:
            synced = await client.transport.frame("synced")

            assert client.transport.kinds() == [
                *["generation.started", "generation.started"],
                *["generation.state", "delta", "generation.state", "delta"],
                "synced",
            ]
            events = [frame["position"] for frame in client.frames[:2]]
            assert events == [str(Position(held.epoch, offset)) for offset in (1, 2)]
            assert synced["position"] == events[-1]
            deltas = {f["generation"]: (f["at"], f["text"]) for f in client.frames if f["type"] == "delta"}
            assert deltas == {first: (3, "lo"), second: (0, "Bye")}

    on_a_node(redis_url, test)


def test_only_synced_is_sent_where_nothing_was_missed_and_nothing_runs(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        position = await author.settle()
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")

            assert client.frames == [{"type": "synced", "position": str(position)}]
            assert client.transport.sent[0].position == str(position)

    on_a_node(redis_url, test)


def test_a_long_replay_is_read_page_by_page(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        for _ in range(60):
            await author.settle(size=3000)
        asked: list[int] = []
        read_log = node.adapter.broker.read_log

        async def counted(*args: Any, limit_bytes: int) -> Any:
            page = await read_log(*args, limit_bytes=limit_bytes)
            asked.append(sum(len(entry.body) for entry in page or ()))
            return page

        node.adapter.broker.read_log = counted  # type: ignore[assignment,method-assign]
        async with a_pump(node, author.user, held=held) as client:
            await client.transport.frame("synced")

            assert client.kinds() == ["usage.settled"] * 60 + ["synced"]
            assert [f["position"] for f in client.frames[:60]] == [
                str(Position(held.epoch, offset)) for offset in range(1, 61)
            ]
            assert max(asked) <= BATCH_BYTES
            assert len(asked) < 12

    on_a_node(redis_url, test)


def test_an_end_in_the_replay_may_come_without_its_text(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        generation = await author.start()
        await author.say(generation, "Hello")
        await author.finish(generation)
        async with a_pump(node, author.user, held=held) as client:
            await client.transport.frame("synced")

            assert client.kinds() == ["generation.started", "generation.finished", "synced"]
            assert client.frames[1]["message"]["content"] == "Hello"

    on_a_node(redis_url, test)


def test_what_happens_during_the_replay_follows_it(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        await author.settle()
        transport = MemoryTransport()
        transport.stop_reading()
        async with a_pump(node, author.user, held=held, transport=transport) as client:
            await client.is_stuck()
            generation = await author.start()
            await author.say(generation, "Hello")
            await shows(client.channel, generation, "Hello")
            await author.finish(generation)
            await reaches(client.channel, 3)
            await transport.read_again()
            await transport.frame("generation.finished")

            events = [f["position"] for f in client.frames if f["type"] not in {"synced", "delta"}]
            assert events == [str(Position(held.epoch, offset)) for offset in (1, 2, 3)]
            synced = client.kinds().index("synced")
            assert client.frames[synced]["position"] == events[0]
            assert client.text(generation) == "Hello"
            assert client.kinds()[-2:] == ["delta", "generation.finished"]

    on_a_node(redis_url, test)


def test_a_position_the_log_no_longer_reaches_is_reset(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        generation = await author.start()
        await author.say(generation, "Hello")
        for _ in range(5):
            await author.settle()
        async with a_pump(
            node, author.user, held=held, texts={generation: TextCursor(attempt=1, at=5)}
        ) as client:
            synced = await client.transport.frame("synced")

            assert client.kinds() == ["reset", "generation.state", "delta", "synced"]
            assert client.frames[0]["position"] == synced["position"] == str(Position(held.epoch, 6))
            assert client.text(generation) == "Hello"
            # a reset is no event: a client that comes back by itself does not present it
            assert [frame.position for frame in client.transport.sent[:2]] == [None, None]

    on_a_node(redis_url, test, window=LogWindow(events=3))


# --- live -------------------------------------------------------------------------------------------


def test_what_is_written_is_shown_as_it_comes(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")
            generation = await author.start()
            await author.say(generation, "Hel")
            await client.shows(generation, "Hel")
            await author.say(generation, "lo")
            await client.shows(generation, "Hello")
            await author.switch(generation)
            await author.say(generation, "p me", at=3)
            await client.shows(generation, "Help me")
            await author.finish(generation)
            finished = await client.transport.frame("generation.finished")

            assert finished["message"]["content"] == "Help me"
            assert client.kinds(1) == [
                *["generation.started", "delta", "generation.switched", "delta", "generation.finished"]
            ]
            assert violations(client) == []
            # what everybody has is not kept
            await eventually(lambda: not client.channel.entries and not client.channel.texts)

    on_a_node(redis_url, test)


def test_a_slow_reader_is_shown_the_same_text_in_fewer_deltas(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as slow, a_pump(node, author.user) as quick:
            for client in (slow, quick):
                await client.transport.frame("synced")
            generation = await author.start()
            slow.transport.stop_reading()
            for count in range(60):
                await author.say(generation, f"{count} ")
                await quick.shows(generation, author.told[generation].text)
            await author.switch(generation)
            await author.say(generation, "and on", at=10)
            await author.finish(generation)
            await quick.transport.frame("generation.finished")
            assert slow.transport.kinds()[-1] in {"synced", "generation.started"}

            await slow.transport.read_again()
            await slow.transport.frame("generation.finished")

            for client in (slow, quick):
                assert client.text(generation) == author.told[generation].text
                assert violations(client) == []
            assert quick.transport.kinds().count("delta") > 50
            assert slow.transport.kinds().count("delta") <= 3

    on_a_node(redis_url, test)


def test_what_is_held_for_one_who_does_not_read_is_bounded(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")
            client.transport.stop_reading()
            generation = await author.start()
            for _ in range(40):
                await author.settle(size=8000)
                await author.say(generation, "x" * 8000)
            for count in range(200):
                await author.notice(a_notice(generation, "n" * 1000, count))
            await reaches(client.channel, 41)
            await eventually(
                lambda: len(client.pump._shown) > 1 and b'"elapsed_ms":199' in client.pump._shown[-1]
            )

            entries = sum(len(entry.body) for entry in client.channel.entries)
            shown = sum(map(len, client.pump._shown))
            assert entries <= 64 * 1024 + 9000
            assert shown <= 16 * 1024

            await client.transport.read_again()
            await author.finish(generation)
            await client.transport.frame("generation.finished")
            assert client.text(generation) == "x" * 320_000
            assert violations(client) == []

    on_a_node(redis_url, test)


def test_a_reader_far_behind_reads_the_log_and_no_end_overtakes_its_text(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")
            client.transport.stop_reading()
            ended = await author.start()
            await author.say(ended, "Hello")
            await author.finish(ended)
            running = await author.start()
            for _ in range(20):
                await author.settle(size=8000)
            await author.say(running, "Bye")
            await shows(client.channel, running, "Bye")
            assert client.channel.after(1) is None

            await client.transport.read_again()
            await client.shows(running, "Bye")

            events = [f["position"] for f in client.frames[1:] if f["type"] != "delta"]
            assert events == [str(Position(client.channel.epoch, offset)) for offset in range(1, 24)]
            assert violations(client) == []

    on_a_node(redis_url, test)


def test_the_log_is_asked_again_when_the_store_was_away(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client, a_client(redis_url) as redis:
            await client.transport.frame("synced")
            client.transport.stop_reading()
            for _ in range(20):
                await author.settle(size=8000)
            await reaches(client.channel, 20)
            await redis.client_pause(800)

            await client.transport.read_again()

            await client.transport.frame(lambda f: f["position"].endswith(":20") and f["type"] != "synced")
            events = [f["position"] for f in client.frames[1:]]
            assert events == [str(Position(client.channel.epoch, offset)) for offset in range(1, 21)]

    on_a_node(redis_url, test, call_seconds=0.4)


def test_a_reader_whose_place_in_the_log_is_gone_is_reset(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")
            client.transport.stop_reading()
            generation = await author.start()
            await author.say(generation, "Hello")
            for _ in range(20):
                await author.settle(size=8000)
            await reaches(client.channel, 21)
            before = len(client.transport.sent)

            await client.transport.read_again()

            synced = await client.transport.frame("synced", since=before)
            assert client.kinds(before)[-4:] == ["reset", "generation.state", "delta", "synced"]
            assert synced["position"] == str(client.channel.position)
            position = await author.settle()
            await client.transport.frame(lambda f: f.get("position") == str(position), since=before)

    on_a_node(redis_url, test, window=LogWindow(events=5))


def test_another_epoch_is_told_from_its_first_event_then_states_texts_and_synced(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client, a_client(redis_url) as redis:
            await client.transport.frame("synced")
            ending, running = await author.start(), await author.start()
            await author.say(ending, "Bye")
            await author.say(running, "Hello")
            await client.shows(running, "Hello")
            before = len(client.transport.sent)

            await redis.hset(keys.head(author.user), "run", "another")
            await author.finish(ending)
            synced = await client.transport.frame("synced", since=before)

            assert client.kinds(before) == [
                *["reset", "generation.state", "delta", "generation.finished"],
                *["generation.state", "delta", "synced"],
            ]
            epoch = client.channel.epoch
            assert [f["position"] for f in client.frames[before:] if "position" in f] == [
                str(Position(epoch, offset)) for offset in (0, 1, 1)
            ]
            assert synced["position"] == str(client.channel.position)
            assert [client.text(each, before) for each in (ending, running)] == ["Bye", "Hello"]

            await author.say(running, " you")
            await client.shows(running, "Hello you")

    on_a_node(redis_url, test)


def test_every_reader_is_told_another_epoch_from_its_first_event(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with (
            a_pump(node, author.user) as quick,
            a_pump(node, author.user) as slow,
            a_client(redis_url) as redis,
        ):
            for client in (quick, slow):
                await client.transport.frame("synced")
            slow.transport.stop_reading()
            for _ in range(3):
                await author.settle()
            await quick.transport.frame(lambda f: f["position"].endswith(":3"))
            await redis.hset(keys.head(author.user), "run", "another")
            await author.settle()
            await quick.transport.frame("synced", since=1)
            await author.settle()
            # what the quick one has is no longer in memory
            await eventually(lambda: quick.channel.after(0) is None)

            await slow.transport.read_again()
            await slow.transport.frame("synced", since=1)

            assert quick.kinds()[-4:] == ["reset", "usage.settled", "synced", "usage.settled"]
            assert slow.kinds()[-4:] == ["reset", "usage.settled", "usage.settled", "synced"]
            for client in (quick, slow):
                assert client.frames[-4]["position"] == str(Position(client.channel.epoch, 0))

    on_a_node(redis_url, test)


def test_another_epoch_that_can_no_longer_be_told_is_begun_at_its_head(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client, a_client(redis_url) as redis:
            await client.transport.frame("synced")
            node.line.loses = lambda _: True
            await redis.hset(keys.head(author.user), "run", "another")
            for _ in range(9):
                position = await author.settle()
            await eventually(lambda: len(node.line.lost) == 9)
            node.line.loses = lambda _: False
            node.hub._gap()

            await client.transport.frame("synced", since=1)

            assert client.kinds()[1:] == ["reset", "synced"]
            assert [f["position"] for f in client.frames[1:]] == [str(position)] * 2

    on_a_node(redis_url, test, window=LogWindow(events=3))


def test_an_epoch_that_ends_during_the_replay_is_told(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        held = await head_of(node, author.user)
        for _ in range(20):
            await author.settle(size=8000)
        transport = MemoryTransport()
        transport.stop_reading()
        async with (
            a_pump(node, author.user, held=held, transport=transport) as client,
            a_client(redis_url) as redis,
        ):
            await client.is_stuck()
            old = client.channel.epoch
            await redis.hset(keys.head(author.user), "run", "another")
            position = await author.settle()
            await eventually(lambda: client.channel.position == position)

            await transport.read_again()

            synced = await transport.frame("synced")
            assert synced["position"] == str(position)
            assert client.kinds()[-3:] == ["reset", "usage.settled", "synced"]
            replayed = [f["position"] for f in client.frames[:-3]]
            assert replayed == [str(Position(old, offset + 1)) for offset in range(len(replayed))]

    on_a_node(redis_url, test)


# --- sync ---------------------------------------------------------------------------------------------


def test_sync_sends_states_and_texts_from_the_clients_cursors(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await author.say(generation, "Hello")
            await client.shows(generation, "Hello")
            before = len(client.transport.sent)

            client.pump.request_sync(
                {generation: TextCursor(attempt=1, at=3), new_id(): TextCursor(attempt=1, at=9)}
            )
            await client.transport.frame("synced", since=before)

            state, delta, synced = client.frames[before:]
            assert (state["type"], state["length"]) == ("generation.state", 5)
            assert (delta["at"], delta["text"]) == (3, "lo")
            assert synced == {"type": "synced", "position": str(client.channel.position)}
            assert list(client.pump.cursors.texts) == [generation]

            client.pump.request_sync(None)
            await client.transport.frame("synced", since=before + 3)
            assert client.frames[before + 4]["at"] == 0

    on_a_node(redis_url, test)


def test_events_that_wait_come_before_the_states_of_a_sync(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await author.say(generation, "Hello")
            await client.shows(generation, "Hello")
            client.transport.stop_reading()
            await author.settle()
            await reaches(client.channel, 2)
            await author.switch(generation)
            await author.say(generation, "p me", at=3)
            await shows(client.channel, generation, "Help me")
            before = len(client.transport.sent)

            client.pump.request_sync({generation: TextCursor(attempt=1, at=5)})
            await client.transport.read_again()
            await client.transport.frame("synced", since=before)

            assert client.kinds(before) == [
                *["usage.settled", "generation.switched", "generation.state", "delta", "synced"]
            ]
            assert client.text(generation) == "Help me"

    on_a_node(redis_url, test)


def test_a_switch_while_a_long_text_is_sent_is_told_before_the_text_of_its_attempt(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        generation = await author.start()
        await author.say(generation, "x" * 100_000)
        transport = MemoryTransport()
        transport.reads = 3
        async with a_pump(node, author.user, transport=transport) as client:
            await eventually(lambda: len(transport.sent) == 3)
            await author.switch(generation)
            await author.say(generation, "new", at=10)
            await shows(client.channel, generation, "x" * 10 + "new")

            await transport.read_again()
            await transport.frame("synced")
            await transport.frame("generation.switched")

            assert client.kinds() == [
                *["generation.state", "delta", "generation.state", "delta", "synced", "generation.switched"]
            ]
            attempts = [(f["type"], f["attempt"]) for f in client.frames if "attempt" in f]
            assert attempts[0] == ("generation.state", 1)
            assert attempts.index(("generation.state", 2)) < attempts.index(("delta", 2))
            assert client.text(generation) == "x" * 10 + "new"

    on_a_node(redis_url, test)


def test_a_sync_asked_while_the_store_is_away_is_answered_later(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client, a_client(redis_url) as redis:
            await client.transport.frame("synced")
            client.transport.stop_reading()
            for _ in range(20):
                await author.settle(size=8000)
            await reaches(client.channel, 20)
            await redis.client_pause(800)

            client.pump.request_sync(None)
            await client.transport.read_again()

            synced = await client.transport.frame("synced", since=1)
            assert synced["position"] == str(client.channel.position)
            assert client.kinds()[1:] == ["usage.settled"] * 20 + ["synced"]

    on_a_node(redis_url, test, call_seconds=0.4)


# --- text, as it arrives ------------------------------------------------------------------------------


def test_text_goes_out_with_its_arrival_while_the_client_reads_and_events_take_their_turn(
    redis_url: str,
) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await client.transport.frame("generation.started")
            await client.asleep()
            for text in ("One ", "two ", "three "):
                await author.say(generation, text)
                await client.shows(generation, author.told[generation].text)
            assert client.transport.puts == 3

            client.transport.stop_reading()
            await author.say(generation, "four ")
            await author.switch(generation)
            await author.say(generation, "five.", at=4)
            await reaches(client.channel, 2)
            await client.is_stuck()
            assert client.transport.puts == 3
            await client.transport.read_again()

            await author.finish(generation)
            await client.transport.frame("generation.finished")
            assert client.kinds() == [
                *["synced", "generation.started", "delta", "generation.switched", "delta"],
                "generation.finished",
            ]
            assert client.text(generation) == "One five."
            assert violations(client) == []

    on_a_node(redis_url, test)


def test_text_that_is_more_than_a_batch_goes_on_in_the_pumps_own_time(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await client.transport.frame("generation.started")
            await client.asleep()
            text = "".join(chr(0x4E00 + n % 5000) for n in range(3 * BATCH_BYTES))

            await author.say(generation, text)

            await client.shows(generation, text)
            at_once = sum(len(frame.body) for frame in client.transport.sent[2 : 2 + client.transport.puts])
            assert 0 < at_once < 2 * BATCH_BYTES
            assert violations(client) == []

    on_a_node(redis_url, test)


def test_a_client_that_is_lost_as_text_arrives_is_nobody_elses_trouble(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with (
            a_pump(node, author.user, transport=TransportThatIsLost()) as lost,
            a_pump(node, author.user) as other,
        ):
            generation = await author.start()
            for client in (lost, other):
                await client.transport.frame("generation.started")
                await client.asleep()

            await author.say(generation, "Hello")

            await other.shows(generation, "Hello")
            assert "delta" not in lost.kinds()
            assert node.hub.gaps == 0

    on_a_node(redis_url, test)


# --- notices ------------------------------------------------------------------------------------------


def a_notice(generation: str, text: str, elapsed_ms: int = 1) -> bytes:
    return encode(
        Interim(generation=generation, phase="waiting", elapsed_ms=elapsed_ms, text=text, model="m/1")
    )


def reasoning(generation: str, at: int, text: str) -> bytes:
    return encode(Delta(generation=generation, attempt=1, at=at, text=text, kind="reasoning"))


def test_notices_are_shown_whole_and_in_order(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await author.notice(a_notice(generation, "Soon."))
            await author.notice(reasoning(generation, 0, "Hmm"))
            shown = await client.transport.frame(lambda f: f.get("kind") == "reasoning")

            assert (shown["text"], shown["at"]) == ("Hmm", 0)
            assert client.transport.kinds()[-2:] == ["interim", "delta"]
            assert client.transport.sent[-1].body == reasoning(generation, 0, "Hmm")

    on_a_node(redis_url, test)


def test_nothing_is_shown_of_a_generation_after_its_end(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")
            generation, other = await author.start(), await author.start()
            await reaches(client.channel, 2)
            await client.transport.frame("generation.started", since=2)
            client.transport.stop_reading()
            await author.settle()
            await author.notice(reasoning(generation, 0, "Hmm"))
            await author.notice(a_notice(other, "Soon."))
            await author.finish(generation)
            await reaches(client.channel, 4)

            await client.transport.read_again()
            await client.transport.frame("interim")

            await client.transport.frame("generation.finished")

            assert client.kinds(3) == ["usage.settled", "interim", "generation.finished"]

    on_a_node(redis_url, test)


@pytest.mark.parametrize(("size", "kept"), [(1, 64), (2000, 7), (40_000, 1)])
def test_one_who_lags_loses_the_oldest_notices(redis_url: str, size: int, kept: int) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            generation = await author.start()
            await client.transport.frame("generation.started")
            client.transport.stop_reading()
            await author.settle()
            await reaches(client.channel, 2)
            for count in range(100):
                client.pump.show(a_notice(generation, "n" * size, count))
            before = len(client.transport.sent)

            await client.transport.read_again()
            await client.transport.frame(lambda f: f.get("elapsed_ms") == 99)

            shown = [f["elapsed_ms"] for f in client.frames[before:] if f["type"] == "interim"]
            assert shown == list(range(100 - kept, 100))

    on_a_node(redis_url, test)


# --- one turn only ------------------------------------------------------------------------------------


def test_a_turns_stream_holds_its_turn_and_ends_with_it(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        mine, other = await author.start(), await author.start()
        async with a_pump(node, author.user, only=TurnFilter(mine, new_id()), catches_up=False) as client:
            await author.say(other, "other")
            await author.say(mine, "mine")
            await author.notice(a_notice(other, "Soon."))
            await author.notice(a_notice(mine, "Soon."))
            await client.transport.frame("interim")
            await author.finish(other)
            await author.finish(mine)
            await client.transport.frame("generation.finished")

            # of its start nothing stands in the log behind its place
            assert client.kinds() == ["generation.state", "delta", "interim", "generation.finished"]
            assert {frame["generation"] for frame in client.frames} == {mine}

    on_a_node(redis_url, test)


def test_a_turns_stream_is_not_held_up_by_pages_of_other_things(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        mine = await author.start()
        held = await head_of(node, author.user)
        for _ in range(30):
            await author.settle(size=8000)
        await author.finish(mine)
        only = TurnFilter(mine, new_id())
        async with a_pump(node, author.user, held=held, only=only, catches_up=False) as client:
            await client.transport.frame("generation.finished")

            assert client.kinds() == ["generation.finished"]

    on_a_node(redis_url, test)


def test_a_turns_stream_is_told_nothing_of_the_log(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        mine, _ = await author.start(), await author.start()
        await author.say(mine, "Hello")
        only = TurnFilter(mine, new_id())
        async with a_pump(node, author.user, only=only) as client, a_client(redis_url) as redis:
            await client.shows(mine, "Hello")
            await redis.hset(keys.head(author.user), "run", "another")
            await author.finish(mine)
            await client.transport.frame("generation.finished")

            assert set(client.kinds()) == {"generation.state", "delta", "generation.finished"}
            assert client.text(mine) == "Hello"

    on_a_node(redis_url, test)


# --- the rest -----------------------------------------------------------------------------------------


def test_a_revocation_is_passed_on(redis_url: str) -> None:
    async def test(node: Node, author: Author) -> None:
        async with a_pump(node, author.user) as client:
            await client.transport.frame("synced")

            await node.adapter.users.revoke(author.user)

            await eventually(lambda: client.revocations == [True])

    on_a_node(redis_url, test)


def test_lost_arrivals_never_put_text_after_its_end_or_before_its_switch(redis_url: str, seed: int) -> None:
    chance = random.Random(seed)

    def loses(arrival: Arrival) -> bool:
        return chance.random() < (0.4 if isinstance(arrival, EventArrived) else 0.2)

    async def test(node: Node, author: Author) -> None:
        transport = MemoryTransport()
        async with a_pump(node, author.user, transport=transport) as client:
            await transport.frame("synced")
            node.line.loses = loses
            for _ in range(8):
                generation = await author.start()
                for count in range(10):
                    await author.say(generation, f"{count} ")
                    if chance.random() < 0.3:
                        await author.switch(generation)
                        await author.say(generation, "on ", at=chance.randrange(12))
                    if chance.random() < 0.3:
                        await transport.read_again(chance.randrange(4))
                await transport.read_again()
                await author.finish(generation)
            node.line.loses = lambda _: False
            await author.settle()
            head = await head_of(node, author.user)
            await transport.frame(lambda f: f.get("position") == str(head))

            events = [f["position"] for f in client.frames[1:] if f["type"] != "delta"]
            assert events == [str(Position(head.epoch, offset)) for offset in range(1, head.offset + 1)]
            assert violations(client) == []

    on_a_node(redis_url, test)
