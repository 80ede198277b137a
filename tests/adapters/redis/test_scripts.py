"""The verbs as a whole: said twice they are as said once, and any sequence does what a plain model does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import server.adapters.redis.scripts as adapter_scripts
from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.scripts import LogWindow, load
from server.generations.store import Fenced, GenerationStart, Gone, Sealed, StopAsked
from tests.adapters.redis.support import (
    Listener,
    a_client,
    a_record,
    a_start,
    an_adapter,
    eventually,
    switch,
)

FOLDER = Path(adapter_scripts.__file__).parent

Verb = Callable[[RedisAdapter, GenerationStart], Awaitable[Any]]

# Every verb of a generation, in an order in which all of them are allowed.
VERBS: list[tuple[str, Verb]] = [
    ("start", lambda adapter, start: adapter.generations.start(start)),
    ("append", lambda adapter, start: adapter.generations.append(start.user, start.generation, 1, 0, "né")),
    ("more", lambda adapter, start: adapter.generations.append(start.user, start.generation, 1, 2, "w")),
    ("note", lambda adapter, start: adapter.generations.note(start.user, start.generation, 1, b"{}")),
    ("switch", lambda adapter, start: switch(adapter, start, 1)),
    ("cut", lambda adapter, start: adapter.generations.append(start.user, start.generation, 2, 1, "👋")),
    ("stop", lambda adapter, start: adapter.generations.request_stop(start.user, start.generation)),
    (
        "seal",
        lambda adapter, start: adapter.generations.seal(
            start.user, start.generation, expected=2, record=b"end"
        ),
    ),
    (
        "conclude",
        lambda adapter, start: adapter.generations.conclude(
            start.user, start.generation, event=b"{}", persisted=False
        ),
    ),
    ("persist", lambda adapter, start: adapter.generations.mark_persisted(start.user, start.generation)),
    (
        "publish",
        lambda adapter, start: adapter.broker.publish_event(start.user, b"{}", kind="notification", key="k"),
    ),
]


async def everything(client: Any, user: str) -> dict[bytes, object]:
    """All that is stored of a user, so that two moments can be compared."""
    held: dict[bytes, object] = {}
    async for name in client.scan_iter(match=f"chat:{{{user}}}:*", count=1000):
        kind = (await client.type(name)).decode()
        read = {"hash": client.hgetall, "string": client.get, "set": client.smembers}.get(kind)
        held[name] = await (client.xrange(name) if read is None else read(name))
    return held


def test_a_verb_said_again_changes_nothing_and_tells_nobody(clean_redis_url: str) -> None:
    """Architecture §7.3: a lost reply is answered by asking again, whatever was asked."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            listener = Listener()
            listener.hear(adapter)
            start = a_start(owner=adapter.process)
            await adapter.subscription.subscribe(start.user)
            for name, verb in VERBS:
                before = await everything(client, start.user)
                first = await verb(adapter, start)
                after = await everything(client, start.user)
                assert after != before, name
                await adapter.broker.publish_frame(start.user, b"first")
                again = [await verb(adapter, start) for _ in range(2)]
                if name == "start":
                    assert all(not each.fresh for each in again)
                elif name == "conclude":
                    assert again == [None, None]
                else:
                    assert again == [first, first], name
                assert await everything(client, start.user) == after, name
                await adapter.broker.publish_frame(start.user, b"again")
                await eventually(lambda: bool(listener.arrivals) and listener.arrivals[-1].body == b"again")  # type: ignore[union-attr]
                bodies = [getattr(each, "body", b"text") for each in listener.arrivals]
                assert bodies[bodies.index(b"first") :] == [b"first", b"again"], name
                listener.arrivals.clear()

    asyncio.run(scenario())


def test_many_who_say_the_same_at_once_do_it_once(clean_redis_url: str) -> None:
    async def scenario() -> None:
        async with (
            an_adapter(clean_redis_url) as one,
            an_adapter(clean_redis_url) as two,
            a_client(clean_redis_url) as client,
        ):
            start = a_start(owner="p")
            alone = a_start(owner="p")
            for _, verb in VERBS:
                await verb(one, alone)
            for name, verb in VERBS:
                same = (
                    verb if name != "switch" else lambda adapter, start: switch(adapter, start, 1, owner="p")
                )
                await asyncio.gather(*(same(adapter, start) for adapter in (one, two) * 10))
            offsets = [(await one.broker.snapshot(each.user)).head.offset for each in (start, alone)]
            assert offsets[0] == offsets[1]
            assert len(await everything(client, start.user)) == len(await everything(client, alone.user))
            records = [await one.generations.read(each.user, each.generation) for each in (start, alone)]
            assert records[0] is not None
            assert records[1] is not None
            assert (records[0].text, records[0].status) == (records[1].text, "concluded")

    asyncio.run(scenario())


@pytest.mark.parametrize("sealed", ["sealed", "concluded"])
def test_after_the_seal_nothing_moves_any_more(clean_redis_url: str, sealed: str) -> None:
    """Architecture §2, `seal`: from here on append, switch and stop are refused; the end is decided once."""

    async def scenario() -> None:
        async with an_adapter(clean_redis_url) as adapter, a_client(clean_redis_url) as client:
            start = a_start(owner=adapter.process)
            for name, verb in VERBS:
                await verb(adapter, start)
                if name == {"sealed": "seal", "concluded": "conclude"}[sealed]:
                    break
            before = await everything(client, start.user)
            name_ = (start.user, start.generation)
            for refused in (
                adapter.generations.append(*name_, 2, 2, "late"),
                adapter.generations.append(*name_, 3, 0, "later"),
                switch(adapter, start, 2),
                switch(adapter, start, 1),
                adapter.generations.seal(*name_, expected=2, record=b"another end"),
            ):
                with pytest.raises(Sealed) as raised:
                    await refused
                assert raised.value.record == b"end"
            assert await adapter.generations.request_stop(*name_) == sealed
            assert not (await adapter.generations.start(start)).fresh
            running = a_record(start, owner=start.owner, attempt=2, text="x" * 99, length=99, text_attempt=2)
            assert await adapter.generations.restore(running)
            assert await everything(client, start.user) == before

    asyncio.run(scenario())


# --- any sequence, against a plain model ------------------------------------------------------------


@dataclass
class Model:
    """What a generation is, in the simplest words."""

    status: str = ""
    attempt: int = 0
    owner: str = ""
    text: str = ""
    text_attempt: int = 0
    begin: int = 0
    stop: bool = False
    record: bytes = b""
    events: int = 0
    told: bool = False
    losses: int = 0

    def start(self, owner: str) -> object:
        if self.status:
            return (False, self.owner, self.attempt)
        self.status, self.attempt, self.owner = "running", 1, owner
        self.events += 2
        return (True, owner, 1)

    def append(self, attempt: int, at: int, text: str) -> object:
        if refusal := self._refusal(attempt):
            return refusal
        if at > len(self.text):
            return ("gone", len(self.text))
        if self.text_attempt != attempt:
            self.text, self.text_attempt, self.begin = self.text[:at] + text, attempt, at
        elif at < self.begin:
            return ("gone", len(self.text))
        elif at + len(text) <= len(self.text) and at < len(self.text):
            return ("length", len(self.text), self.stop)
        else:
            self.text += text[len(self.text) - at :]
        self.losses = 0
        return ("length", len(self.text), self.stop)

    def switch(self, expected: int, owner: str, *, lost: bool) -> object:
        if self.status == "running" and self.attempt == expected + 1 and self.owner == owner and expected > 0:
            return "switched"
        if refusal := self._refusal(expected):
            return refusal
        if self.stop:
            return "stop asked"
        self.attempt, self.owner = expected + 1, owner
        self.events += 1
        self.losses += lost
        return "switched"

    def request_stop(self) -> object:
        self.stop = self.stop or self.status == "running"
        return self.status or None

    def seal(self, expected: int, record: bytes) -> object:
        if self.record == record:
            return "sealed"
        if refusal := self._refusal(expected):
            return refusal
        self.status, self.record = "sealed", record
        return "sealed"

    def conclude(self, *, persisted: bool) -> object:
        if self.told:
            self.status = self.status and "concluded"
            return None
        if self.status == "running":
            return ("gone", len(self.text))
        if not self.status and not persisted:
            return ("gone", -1)
        self.events += 1
        self.told = True
        self.status = self.status and "concluded"
        return "told"

    def _refusal(self, attempt: int) -> object:
        if not self.status:
            return ("gone", -1)
        if self.status != "running":
            return ("sealed", self.record)
        if self.attempt > attempt:
            return ("fenced", self.owner, self.attempt)
        if self.attempt < attempt:
            return ("gone", len(self.text))
        return None


OWNERS = st.sampled_from(["p1", "p2"])
# Attempts and places are said relative to the present ones.
STEPS = st.one_of(
    st.tuples(st.just("start"), OWNERS),
    st.tuples(
        st.just("append"), st.integers(-1, 1), st.integers(-4, 1), st.sampled_from(["", "é", "漢字", "ab"])
    ),
    st.tuples(st.just("append"), st.just(0), st.integers(-2, 1), st.sampled_from(["👋🏽", "abc"])),
    st.tuples(st.just("switch"), st.integers(-1, 1), OWNERS, st.booleans()),
    st.tuples(st.just("stop")),
    st.tuples(st.just("seal"), st.integers(-1, 1), st.sampled_from([b"one", b"two"])),
    st.tuples(st.just("conclude"), st.booleans()),
)


async def outcome(call: Awaitable[Any]) -> object:
    try:
        return await call
    except Fenced as refused:
        return ("fenced", refused.owner, refused.attempt)
    except Sealed as refused:
        return ("sealed", refused.record)
    except Gone as refused:
        return ("gone", refused.length)
    except StopAsked:
        return "stop asked"


async def step(adapter: RedisAdapter, start: GenerationStart, model: Model, move: tuple[Any, ...]) -> None:
    name = (start.user, start.generation)
    match move:
        case ("start", owner):
            begun = await adapter.generations.start(a_start(start.user, generation=name[1], owner=owner))
            assert (begun.fresh, begun.owner, begun.attempt) == model.start(owner)
        case ("append", nth, back, text):
            attempt, at = model.attempt + nth, max(0, len(model.text) + back)
            got = await outcome(adapter.generations.append(*name, attempt, at, text))
            expected = model.append(attempt, at, text)
            assert (
                got if isinstance(got, tuple) else ("length", got.length, got.stop)  # type: ignore[attr-defined]
            ) == expected
        case ("switch", nth, owner, lost):
            attempt = model.attempt + nth
            got = await outcome(switch(adapter, start, attempt, owner=owner, lost_node=lost))
            expected = model.switch(attempt, owner, lost=lost)
            assert ("switched" if getattr(got, "epoch", None) else got) == expected
        case ("stop",):
            assert await adapter.generations.request_stop(*name) == model.request_stop()
        case ("seal", nth, record):
            attempt = model.attempt + nth
            got = await outcome(adapter.generations.seal(*name, expected=attempt, record=record))
            assert (got or "sealed") == model.seal(attempt, record)
        case ("conclude", persisted):
            got = await outcome(adapter.generations.conclude(*name, event=b"{}", persisted=persisted))
            assert ("told" if getattr(got, "epoch", None) else got) == model.conclude(persisted=persisted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=25), st.booleans())
def test_any_sequence_of_verbs_does_what_the_model_does(
    redis_url: str, moves: list[tuple[Any, ...]], begins: bool
) -> None:
    """Architecture §2: the guards of every verb, in every order."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start, model = a_start(), Model()
            for move in [*([("start", "p1")] if begins else []), *moves]:
                await step(adapter, start, model, move)
                record = await adapter.generations.read(start.user, start.generation)
                assert ("" if record is None else record.status) == model.status
                if record is not None:
                    held = Model(
                        status=record.status,
                        attempt=record.attempt,
                        owner=record.owner,
                        text=record.text,
                        text_attempt=record.text_attempt,
                        begin=record.begins[-1][1] if record.begins else 0,
                        stop=record.stop,
                        record=record.record,
                        events=model.events,
                        told=model.told,
                        losses=record.losses,
                    )
                    assert held == model
                    assert record.length == len(record.text)
                snapshot = await adapter.broker.snapshot(start.user)
                assert snapshot.head.offset == model.events
                assert len(snapshot.running) == (model.status in {"running", "sealed"})

    asyncio.run(scenario())


# --- the files --------------------------------------------------------------------------------------


def test_every_script_is_called_by_somebody_and_every_call_has_its_script() -> None:
    calls = {
        name
        for path in FOLDER.glob("*.py")
        for name in re.findall(
            r"(?:call|call_many|named)\(\s*\"([a-z_]+)\"", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert calls == set(load(LogWindow(), sharded=False))


def test_every_script_says_what_it_takes() -> None:
    """House rule: KEYS and ARGV stand in the first lines, for whoever calls it."""
    for path in sorted((FOLDER / "scripts").glob("*.lua")):
        head = [line for line in path.read_text(encoding="utf-8").splitlines()[:8] if line.startswith("--")]
        assert any("KEYS" in line for line in head), path.name


@pytest.mark.parametrize("sharded", [False, True])
def test_every_script_compiles_and_is_known_by_its_digest(redis_url: str, sharded: bool) -> None:
    async def scenario() -> None:
        async with a_client(redis_url) as client:
            for name, script in load(LogWindow(), sharded=sharded).items():
                assert (await client.script_load(script.source)) in {script.sha, script.sha.encode()}, name

    asyncio.run(scenario())


def test_another_window_is_another_script() -> None:
    """Nodes with different settings never run each other's."""
    one, two = load(LogWindow(), sharded=False), load(LogWindow(events=5), sharded=False)
    assert all(one[name].sha != two[name].sha for name in one)
    assert one == load(LogWindow(), sharded=False)
