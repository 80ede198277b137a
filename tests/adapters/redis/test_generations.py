"""The verbs of a generation, guard by guard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from server.adapters.redis import keys
from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import ForeignValue
from server.generations.store import (
    Fenced,
    GenerationRecord,
    GenerationStart,
    Gone,
    Sealed,
    StopAsked,
)
from tests.adapters.redis.support import (
    Listener,
    a_client,
    a_record,
    a_start,
    an_adapter,
    begun,
    eventually,
    held_text,
    new_id,
    switch,
)

Verb = Callable[[RedisAdapter, GenerationStart], Awaitable[Any]]


def an_append(attempt: int, at: int, text: str = "x") -> Verb:
    return lambda adapter, start: adapter.generations.append(start.user, start.generation, attempt, at, text)


def a_switch(expected: int, owner: str = "somebody") -> Verb:
    return lambda adapter, start: switch(adapter, start, expected, owner=owner)


def a_seal(expected: int, record: bytes = b"end") -> Verb:
    return lambda adapter, start: adapter.generations.seal(
        start.user, start.generation, expected=expected, record=record
    )


def a_conclusion(*, persisted: bool = True) -> Verb:
    return lambda adapter, start: adapter.generations.conclude(
        start.user, start.generation, event=b'{"end":1}', persisted=persisted
    )


def a_stop() -> Verb:
    return lambda adapter, start: adapter.generations.request_stop(start.user, start.generation)


def a_loss() -> Verb:
    async def lose(adapter: RedisAdapter, start: GenerationStart) -> None:
        names = [keys.generation(start.user, start.generation), keys.text(start.user, start.generation)]
        await adapter.scripts.command("DEL", *names)

    return lose


@pytest.mark.parametrize(
    ("before", "verb", "refusal", "says"),
    [
        ([], an_append(0, 0), Fenced, {"attempt": 1}),
        ([a_switch(1, "p2")], an_append(1, 0), Fenced, {"attempt": 2, "owner": "p2"}),
        ([], an_append(2, 0), Gone, {"length": 0}),
        ([], an_append(1, 1), Gone, {"length": 0}),
        ([an_append(1, 0, "abc")], an_append(1, 4), Gone, {"length": 3}),
        ([an_append(1, 0, "abc"), a_switch(1)], an_append(2, 4), Gone, {"length": 3}),
        ([an_append(1, 0, "abc"), a_switch(1), an_append(2, 2)], an_append(2, 1), Gone, {"length": 3}),
        ([a_loss()], an_append(1, 0), Gone, {"length": -1}),
        ([a_seal(1)], an_append(1, 0), Sealed, {"record": b"end"}),
        ([a_seal(1), a_conclusion()], an_append(1, 0), Sealed, {"record": b"end"}),
        ([a_switch(1, "p2")], a_switch(1, "p3"), Fenced, {"attempt": 2, "owner": "p2"}),
        ([a_switch(1), a_switch(2, "p3")], a_switch(1), Fenced, {"attempt": 3, "owner": "p3"}),
        ([], a_switch(2), Gone, {"length": 0}),
        ([a_loss()], a_switch(1), Gone, {"length": -1}),
        ([a_stop()], a_switch(1), StopAsked, {}),
        ([a_seal(1)], a_switch(1), Sealed, {"record": b"end"}),
        ([a_seal(1), a_stop()], a_switch(1), Sealed, {"record": b"end"}),
        ([a_switch(1, "p2")], a_seal(1), Fenced, {"attempt": 2, "owner": "p2"}),
        ([], a_seal(2), Gone, {"length": 0}),
        ([a_loss()], a_seal(1), Gone, {"length": -1}),
        ([a_seal(1, b"one")], a_seal(1, b"two"), Sealed, {"record": b"one"}),
        ([a_seal(1), a_conclusion()], a_seal(1, b"two"), Sealed, {"record": b"end"}),
        ([an_append(1, 0, "ab")], a_conclusion(), Gone, {"length": 2}),
        ([a_seal(1), a_loss()], a_conclusion(persisted=False), Gone, {"length": -1}),
    ],
)
def test_a_verb_that_may_not_is_refused_with_what_the_caller_needs_to_know(
    redis_url: str, before: list[Verb], verb: Verb, refusal: type[Exception], says: dict[str, object]
) -> None:
    """The store port: the attempt is the fence, the seal is the end, what is lost is said."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            for each in before:
                await each(adapter, start)
            head = (await adapter.broker.snapshot(start.user)).head
            with pytest.raises(refusal) as raised:
                await verb(adapter, start)
            assert {name: getattr(raised.value, name) for name in says} == says
            assert (await adapter.broker.snapshot(start.user)).head == head, (
                "a refused verb publishes nothing"
            )

    asyncio.run(scenario())


def test_a_start_begins_once_and_tells_its_events_in_order(redis_url: str) -> None:
    """The store port: only if absent; whoever comes later learns whose it is."""

    async def scenario() -> None:
        async with an_adapter(redis_url, process="p1") as one, an_adapter(redis_url, process="p2") as two:
            listener = Listener()
            listener.hear(two)
            start = a_start(owner="p1")
            await two.subscription.subscribe(start.user)
            told = await asyncio.gather(
                *(one.generations.start(start) for _ in range(5)),
                *(two.generations.start(replace(start, owner="p2")) for _ in range(5)),
            )
            fresh = [each for each in told if each.fresh]
            assert len(fresh) == 1
            assert {(each.owner, each.attempt, each.started_ms) for each in told} == {
                (fresh[0].owner, 1, fresh[0].started_ms)
            }
            snapshot = await two.broker.snapshot(start.user)
            assert snapshot.head.offset == 2
            (running,) = snapshot.running
            assert running.generation == start.generation
            assert (running.text, running.length, running.text_attempt, running.begins) == ("", 0, 0, ())
            assert running.started_ms <= snapshot.now_ms
            await eventually(lambda: len(listener.events) == 2)
            assert [(event.kind, event.body, event.generation) for event in listener.events] == [
                (kind, body, start.generation) for kind, body in start.events
            ]

    asyncio.run(scenario())


def test_everything_of_a_generation_is_read_back(redis_url: str) -> None:
    """Architecture §7.5: a successor finds its input in the state."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            store, name = adapter.generations, (start.user, start.generation)
            await store.append(*name, 1, 0, "Grüße 👋🏽")
            await store.note(*name, 1, b'{"attempt":1}')
            await switch(adapter, start, 1, owner="p2", lost_node=True)
            await store.note(*name, 2, b'{"attempt":2,"old":1}')
            await store.note(*name, 2, b'{"attempt":2}')
            first = await store.read(*name)
            assert first is not None
            assert first == a_record(
                start,
                owner="p2",
                attempt=2,
                model="model/2",
                is_free_model=False,
                notes=(b'{"attempt":1}', b'{"attempt":2}'),
                started_ms=first.started_ms,
                deadline_ms=first.started_ms + start.deadline_ms,
                text_attempt=1,
                begins=((1, 0),),
                length=8,
                text="Grüße 👋🏽",
                losses=1,
            )
            await store.append(*name, 2, 6, "!")
            await store.request_stop(*name)
            await store.seal(*name, expected=2, record=b"end")
            assert await store.read(*name) == replace(
                first,
                stop=True,
                status="sealed",
                record=b"end",
                text="Grüße !",
                length=7,
                text_attempt=2,
                begins=((1, 0), (2, 6)),
                losses=0,
            )
            assert await store.read(start.user, new_id()) is None
            assert await store.read(new_id(), start.generation) is None

    asyncio.run(scenario())


def test_new_text_makes_lost_nodes_forgotten(redis_url: str) -> None:
    """Architecture §7.5: three lost nodes in a row without new text."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            name = (start.user, start.generation)
            await adapter.generations.append(*name, 1, 0, "text")

            async def losses() -> int:
                record = await adapter.generations.read(*name)
                assert record is not None
                return record.losses

            await switch(adapter, start, 1, lost_node=True)
            await switch(adapter, start, 2, lost_node=True)
            await switch(adapter, start, 3, lost_node=False)
            assert await losses() == 2
            await adapter.generations.append(*name, 4, 4, "more")
            assert await losses() == 0

    asyncio.run(scenario())


def test_a_switch_asked_again_by_its_owner_gives_the_first_position(redis_url: str) -> None:
    """Architecture §7.3: one's own lost success is recognised; a stop that came later changes nothing."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            position = await switch(adapter, start, 1, owner="p2")
            await adapter.generations.request_stop(start.user, start.generation)
            assert await switch(adapter, start, 1, owner="p2") == position
            assert (await adapter.broker.snapshot(start.user)).head == position

    asyncio.run(scenario())


def test_of_many_that_would_switch_one_does(redis_url: str) -> None:
    """Takeover: the expected attempt decides between sweepers."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as one, an_adapter(redis_url) as two:
            start = await begun(one)

            async def attempt(number: int) -> bool:
                try:
                    await switch((one, two)[number % 2], start, 1, owner=f"sweeper-{number}")
                except Fenced:
                    return False
                return True

            assert sum(await asyncio.gather(*map(attempt, range(20)))) == 1

    asyncio.run(scenario())


def test_a_stop_reaches_the_owner_and_every_later_append_says_so(redis_url: str) -> None:
    """Protocol §3: stop works from any node and is idempotent; a successor honours it."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as owner, an_adapter(redis_url) as other:
            asked: list[tuple[str, str]] = []
            owner.subscription.on_stop(lambda user, generation: asked.append((user, generation)))
            await eventually(lambda: owner.subscription.connected)
            start = await begun(owner)
            name = (start.user, start.generation)
            assert (await owner.generations.append(*name, 1, 0, "a")).stop is False
            assert await other.generations.request_stop(*name) == "running"
            await eventually(lambda: asked == [name])
            assert (await owner.generations.append(*name, 1, 1, "b")).stop is True
            assert (await owner.generations.append(*name, 1, 1, "b")).stop is True
            assert await other.generations.request_stop(*name) == "running"
            await owner.generations.seal(*name, expected=1, record=b"end")
            assert await other.generations.request_stop(*name) == "sealed"
            await owner.generations.conclude(*name, event=b"{}", persisted=True)
            assert await other.generations.request_stop(*name) == "concluded"
            assert await other.generations.request_stop(start.user, new_id()) is None

    asyncio.run(scenario())


def test_an_end_is_told_once_whoever_tells_it(redis_url: str) -> None:
    """Invariant I3: exactly one `generation.finished`; the same seal again is fine."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as one, an_adapter(redis_url) as two:
            listener = Listener()
            listener.hear(one)
            start = await begun(one)
            name = (start.user, start.generation)
            await one.subscription.subscribe(start.user)
            await asyncio.gather(
                *(adapter.generations.seal(*name, expected=1, record=b"end") for adapter in (one, two))
            )
            told = await asyncio.gather(
                *(
                    adapter.generations.conclude(*name, event=b'{"end":1}', persisted=True)
                    for adapter in (one, two) * 5
                )
            )
            (position,) = [each for each in told if each is not None]
            snapshot = await two.broker.snapshot(start.user)
            assert (snapshot.head, snapshot.running) == (position, ())
            await eventually(lambda: bool(listener.events))
            assert [(event.kind, event.generation, event.offset) for event in listener.events] == [
                ("generation.finished", start.generation, position.offset)
            ]

    asyncio.run(scenario())


def test_a_record_says_where_the_log_has_its_end_once_that_is_told(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            await a_seal(1)(adapter, start)
            sealed = await adapter.generations.read(start.user, start.generation)
            assert sealed is not None
            assert sealed.ended is None

            position = await a_conclusion()(adapter, start)

            record = await adapter.generations.read(start.user, start.generation)
            assert record is not None
            assert record.ended == position

    asyncio.run(scenario())


def test_an_end_is_told_once_also_after_its_state_is_gone(redis_url: str) -> None:
    """A committed end whose state was lost is still told, and not again when the state's window is over."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            conclude = a_conclusion()
            told = await begun(adapter)
            await a_seal(1)(adapter, told)
            assert await conclude(adapter, told) is not None
            lost = await begun(adapter)
            await a_seal(1)(adapter, lost)
            for start in (told, lost):
                await a_loss()(adapter, start)
            assert await conclude(adapter, told) is None
            assert await conclude(adapter, lost) is not None
            assert await conclude(adapter, lost) is None
            assert (await adapter.broker.snapshot(lost.user)).running == ()

    asyncio.run(scenario())


def test_a_finished_text_lives_for_its_window_and_an_unpersisted_record_longer(redis_url: str) -> None:
    """Protocol §8: a finished text for 10 minutes; architecture §3: the record until it is committed."""

    async def scenario() -> None:
        window = LogWindow(text_seconds=100, record_seconds=1000)
        async with an_adapter(redis_url, window=window) as adapter, a_client(redis_url) as client:

            async def lives(start: GenerationStart) -> list[int]:
                names = (
                    keys.generation(start.user, start.generation),
                    keys.text(start.user, start.generation),
                )
                return [round(await client.pttl(name) / 10_000) * 10 for name in names]

            done = await begun(adapter)
            assert await lives(done) == [1060, 1060]
            await a_seal(1)(adapter, done)
            assert await adapter.generations.unpersisted(done.user) == [done.generation]
            await a_conclusion()(adapter, done)
            assert await lives(done) == [100, 100]
            assert await adapter.generations.unpersisted(done.user) == []

            late = await begun(adapter, user=done.user)
            await a_seal(1)(adapter, late)
            await a_conclusion(persisted=False)(adapter, late)
            assert await lives(late) == [1000, 100]
            assert await adapter.generations.unpersisted(late.user) == [late.generation]
            await adapter.generations.mark_persisted(late.user, late.generation)
            assert await lives(late) == [100, 100]
            assert await adapter.generations.unpersisted(late.user) == []
            record = await adapter.generations.read(late.user, late.generation)
            assert record is not None
            assert (record.status, record.persisted) == ("concluded", True)

    asyncio.run(scenario())


def test_a_record_committed_before_its_end_is_told_goes_with_the_text(redis_url: str) -> None:
    """`mark_persisted` and `conclude` may come in either order, and each twice."""

    async def scenario() -> None:
        window = LogWindow(text_seconds=100)
        async with an_adapter(redis_url, window=window) as adapter, a_client(redis_url) as client:
            start = await begun(adapter)
            name = (start.user, start.generation)
            await a_seal(1)(adapter, start)
            await adapter.generations.mark_persisted(*name)
            await a_conclusion(persisted=False)(adapter, start)
            await a_conclusion(persisted=True)(adapter, start)
            assert await client.pttl(keys.generation(*name)) <= 100_000
            assert await adapter.generations.unpersisted(start.user) == []
            await adapter.generations.mark_persisted(start.user, new_id())

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("before", "memory", "restored", "held"),
    [
        ([a_loss()], {}, True, {"attempt": 1, "text": "abc", "status": "running"}),
        ([], {}, True, {"text": "abc"}),
        ([an_append(1, 0, "abcdef")], {}, True, {"text": "abcdef"}),
        ([an_append(1, 0, "ab")], {}, True, {"text": "abc"}),
        ([a_switch(1, "p2")], {}, False, {"attempt": 2, "owner": "p2", "text": ""}),
        (
            [],
            {"attempt": 2, "text_attempt": 2, "begins": ((1, 0), (2, 1))},
            True,
            {"attempt": 2, "text": "abc"},
        ),
        ([a_seal(1)], {}, True, {"status": "sealed", "record": b"end"}),
        ([a_loss()], {"status": "sealed", "record": b"mine"}, True, {"status": "sealed", "record": b"mine"}),
        ([], {"status": "sealed", "record": b"mine"}, True, {"status": "sealed", "record": b"mine"}),
        ([a_stop()], {}, True, {"stop": True, "text": "abc"}),
        ([a_loss()], {"stop": True, "losses": 2}, True, {"stop": True, "losses": 2}),
        ([a_loss()], {"notes": (b"1", b"2")}, True, {"notes": (b"1", b"2")}),
    ],
)
def test_restore_writes_what_the_store_lost_and_never_takes_more_away(
    redis_url: str, before: list[Verb], memory: dict[str, Any], restored: bool, held: dict[str, object]
) -> None:
    """Architecture §7.4: the owner's memory, unless another attempt has taken over; nothing is published."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            for each in before:
                await each(adapter, start)
            head = (await adapter.broker.snapshot(start.user)).head
            mine: dict[str, Any] = {"text_attempt": 1, "begins": ((1, 0),), "text": "abc", "length": 3}
            record = a_record(start, **{**mine, **memory})
            for _ in range(2):
                assert await adapter.generations.restore(record) is restored
                found = await adapter.generations.read(start.user, start.generation)
                assert found is not None
                assert {name: getattr(found, name) for name in held} == held
            snapshot = await adapter.broker.snapshot(start.user)
            assert snapshot.head == head
            assert [each.generation for each in snapshot.running] == [start.generation]

    asyncio.run(scenario())


def test_another_process_with_the_same_attempt_is_not_restored_over(redis_url: str) -> None:
    """After a loss a sweeper may have begun the generation anew: the old owner yields."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            assert (
                await adapter.generations.restore(a_record(replace(start, owner="old"), length=3, text="abc"))
                is False
            )
            assert await held_text(adapter, start) == ""

    asyncio.run(scenario())


def test_what_was_told_to_have_ended_is_not_restored(redis_url: str) -> None:
    """Its state's time is over; an owner who was away does not know that another one ended it."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            memory = await adapter.generations.read(start.user, start.generation)
            assert isinstance(memory, GenerationRecord)
            await a_seal(1)(adapter, start)
            assert await a_conclusion()(adapter, start) is not None
            await a_loss()(adapter, start)
            assert await adapter.generations.restore(memory) is False
            assert await adapter.generations.read(start.user, start.generation) is None

    asyncio.run(scenario())


def test_a_restored_generation_goes_on_as_if_nothing_had_been(redis_url: str) -> None:
    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            start = await begun(adapter)
            name = (start.user, start.generation)
            await adapter.generations.append(*name, 1, 0, "one 😀 ")
            memory = await adapter.generations.read(*name)
            assert isinstance(memory, GenerationRecord)
            await a_loss()(adapter, start)
            assert await adapter.generations.restore(memory)
            assert await adapter.generations.read(*name) == memory
            await adapter.generations.append(*name, 1, 6, "two")
            await switch(adapter, start, 1)
            await adapter.generations.append(*name, 2, 5, "!")
            assert await held_text(adapter, start) == "one 😀!"
            await a_seal(2)(adapter, start)
            assert await a_conclusion()(adapter, start) is not None

    asyncio.run(scenario())


def test_a_sealed_record_restored_is_among_the_unpersisted_again(redis_url: str) -> None:
    """Architecture §3: the record stays until it is committed, by whichever node is alive."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            start = a_start(owner=adapter.process)
            await adapter.generations.restore(a_record(start, status="sealed", record=b"end"))
            assert await adapter.generations.unpersisted(start.user) == [start.generation]
            await client.delete(keys.generation(start.user, start.generation))
            assert await adapter.generations.unpersisted(start.user) == []

    asyncio.run(scenario())


def test_a_generation_of_another_user_is_never_used(redis_url: str) -> None:
    """Invariant I6."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            start = await begun(adapter)
            await client.hset(keys.generation(start.user, start.generation), "user", new_id())
            with pytest.raises(ForeignValue):
                await adapter.generations.read(start.user, start.generation)
            with pytest.raises(ForeignValue):
                await adapter.broker.snapshot(start.user)

    asyncio.run(scenario())


def test_what_ran_out_while_nobody_swept_is_not_running(redis_url: str) -> None:
    """Keys return to the baseline (I8): a name without a state leaves the set of running ones."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter, a_client(redis_url) as client:
            start, other = a_start(), a_start()
            other = replace(other, user=start.user)
            for each in (start, other):
                await adapter.generations.start(each)
            await a_loss()(adapter, start)
            running = (await adapter.broker.snapshot(start.user)).running
            assert [each.generation for each in running] == [other.generation]
            assert await client.smembers(keys.active(start.user)) == {other.generation.encode()}

    asyncio.run(scenario())
