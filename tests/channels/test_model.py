"""Any order of the real Redis scripts by two nodes, replies lost and asked again: the log has no hole and nothing
twice, a text is what its last owner wrote, and both nodes' hubs come to know it (I1, I2, I3, I5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from protocol.codec import encode
from protocol.frames import UsageSettled
from protocol.position import Position
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import Arrival
from server.channels.channel import kind_of
from server.generations.store import Appended, Fenced, Sealed
from tests.adapters.redis.support import a_client, a_start, new_id
from tests.channels.node import Node, a_node, kinds, seldom, text_of
from tests.channels.story import NO_USAGE, Told
from tests.scripted.waiting import eventually

WINDOW = 12
NODES = st.integers(0, 1)
TEXTS = st.text(alphabet="abé😀", min_size=1, max_size=4)


class LineThatLoses:
    """Loses what it is told to, in order; what it is not told about comes through."""

    def __init__(self) -> None:
        self.verdicts: deque[bool] = deque()

    def __call__(self, _: Arrival) -> bool:
        return self.verdicts.popleft() if self.verdicts else False


class Owned(Told):
    """A generation, and the node that owns it."""

    owner = 0
    sealed = False


class ScriptsOfTwoNodes(RuleBasedStateMachine):
    """`events` are the kinds in the log of the present epoch, in order."""

    generations = Bundle("generations")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.user = new_id()
        self.told: dict[str, Owned] = {}
        self.concluded: set[str] = set()
        self.events: list[str] = []
        self.lines = [LineThatLoses(), LineThatLoses()]
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.nodes: list[Node] = []
        self.runner.run(self.begin(url))

    async def begin(self, url: str) -> None:
        limits = seldom(running_check_seconds=0.05, idle_check_seconds=0.05)
        self.client = await self.stack.enter_async_context(a_client(url))
        for line in self.lines:
            window = LogWindow(events=WINDOW)
            node = await self.stack.enter_async_context(a_node(url, limits, window=window))
            node.line.loses = line
            self.nodes.append(node)
        self.channels = [(await node.read(self.user))[0] for node in self.nodes]

    # --- a generation's life ----------------------------------------------------------------------

    @rule(target=generations, node=NODES)
    def start(self, node: int) -> str:
        """Asked again, by anybody, it changes nothing."""
        told = Owned(new_id())
        told.owner = node
        self.told[told.generation] = told
        start = a_start(
            user=self.user,
            generation=told.generation,
            owner=self.nodes[node].adapter.process,
            model="m/1",
            events=(("generation.started", encode(told.started())),),
        )
        assert self.runner.run(self.nodes[node].adapter.generations.start(start)).fresh
        assert not self.runner.run(self.nodes[1 - node].adapter.generations.start(start)).fresh
        self.events.append("generation.started")
        return told.generation

    @rule(generation=generations, text=TEXTS, back=st.integers(0, 3), twice=st.booleans())
    def say(self, generation: str, text: str, back: int, *, twice: bool) -> None:
        """An attempt's first text may begin below the end; whose confirmation was lost is said again."""
        told = self.told[generation]
        if told.sealed:
            with pytest.raises(Sealed):
                self.runner.run(self.append(told.owner, generation, told.attempt, len(told.text), text))
            return
        _, place = told.append(text, at=max(0, len(told.text) - back))
        for _ in range(1 + twice):
            said = self.runner.run(self.append(told.owner, generation, told.attempt, place, text))
            assert said.length == len(told.text)

    @rule(generation=generations, text=TEXTS)
    def say_as_one_that_was_replaced(self, generation: str, text: str) -> None:
        told = self.told[generation]
        if told.attempt > 1 and not told.sealed:
            with pytest.raises(Fenced):
                self.runner.run(
                    self.append(1 - told.owner, generation, told.attempt - 1, len(told.text), text)
                )

    async def append(self, node: int, generation: str, attempt: int, at: int, text: str) -> Appended:
        return await self.nodes[node].adapter.generations.append(self.user, generation, attempt, at, text)

    @rule(generation=generations, node=NODES)
    def switch(self, generation: str, node: int) -> None:
        """To another attempt, of this node or of one that takes over; asked again it has the same place."""
        told = self.told[generation]
        if told.sealed:
            return
        told.attempt, told.owner = told.attempt + 1, node
        places = [self.runner.run(self.switched(told, told.attempt - 1, node)) for _ in range(2)]
        assert places[0] == places[1]
        self.events.append("generation.switched")
        with pytest.raises(Fenced):
            self.runner.run(self.switched(told, told.attempt - 1, 1 - node))

    @rule(generation=generations)
    def seal(self, generation: str) -> None:
        told = self.told[generation]
        if not told.sealed:
            told.sealed = True
            for _ in range(2):
                self.runner.run(self.seal_it(told))

    @rule(generation=generations, node=NODES)
    def conclude(self, generation: str, node: int) -> None:
        """By whichever node, and told once."""
        told = self.told[generation]
        if told.sealed:
            end = encode(told.finished())
            for each in (node, 1 - node):
                store = self.nodes[each].adapter.generations
                self.runner.run(store.conclude(self.user, generation, event=end, persisted=True))
            if generation not in self.concluded:
                self.concluded.add(generation)
                self.events.append("generation.finished")

    @rule(node=NODES, key=st.one_of(st.none(), st.just("")))
    def publish(self, node: int, key: str | None) -> None:
        """With a key, by both nodes: once."""
        body = encode(UsageSettled(generation=new_id(), usage=NO_USAGE))
        key = new_id() if key is not None else None
        places = [
            self.runner.run(self.nodes[each].adapter.broker.publish_event(self.user, body, kind="usage.settled", key=key))
            for each in ((node, 1 - node) if key is not None else (node,))
        ]  # fmt: skip
        assert len(set(places)) == 1
        self.events.append("usage.settled")

    # --- what goes wrong --------------------------------------------------------------------------

    @rule(node=NODES, verdicts=st.lists(st.booleans(), max_size=6))
    def lose_arrivals(self, node: int, verdicts: list[bool]) -> None:
        self.lines[node].verdicts.extend(verdicts)

    @rule()
    def lose_the_epoch(self) -> None:
        """As after a restart of the server; what runs goes on, ended ones are of the old one."""
        self.runner.run(self.client.hset(f"chat:{{{self.user}}}:head", "run", new_id()))
        self.events.clear()

    # --- what holds -------------------------------------------------------------------------------

    @invariant()
    def the_store_holds_exactly_this(self) -> None:
        for node in self.nodes:
            snapshot = self.runner.run(node.adapter.broker.snapshot(self.user))
            head = snapshot.head
            assert head.offset == len(self.events)
            running = {each.generation: (each.attempt, each.text) for each in snapshot.running}
            wanted = {g: (t.attempt, t.text) for g, t in self.told.items() if g not in self.concluded}
            assert running == wanted
            oldest = snapshot.oldest or head.offset + 1
            assert oldest <= max(1, head.offset - WINDOW + 1)
            page = self.runner.run(node.adapter.broker.read_log(self.user, Position(head.epoch, oldest - 1)))
            assert [entry.offset for entry in page or ()] == list(range(oldest, head.offset + 1))
            assert [kind_of(entry.body) for entry in page or ()] == self.events[oldest - 1 :]

    def teardown(self) -> None:
        """Both hubs come to know what the store holds."""
        try:
            self.runner.run(self.end())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    async def end(self) -> None:
        for line in self.lines:
            line.verdicts.clear()
        for node, channel in zip(self.nodes, self.channels, strict=True):
            head = (await node.adapter.broker.snapshot(self.user)).head
            wanted = {g: t.text for g, t in self.told.items() if g not in self.concluded}

            def current(channel=channel, head=head, wanted=wanted) -> bool:
                return channel.position == head and all(text_of(channel, g) == t for g, t in wanted.items())

            await eventually(current, what="the hub knows")
            assert kinds(channel) == self.events[head.offset - len(channel.entries) :]

    # --- parts ------------------------------------------------------------------------------------

    async def switched(self, told: Owned, expected: int, node: int) -> Position:
        adapter = self.nodes[node].adapter
        return await adapter.generations.switch(
            self.user,
            told.generation,
            expected=expected,
            owner=adapter.process,
            model=f"m/{told.attempt}",
            is_free_model=True,
            event=encode(told.switched()),
            lost_node=False,
        )

    async def seal_it(self, told: Owned) -> None:
        store = self.nodes[told.owner].adapter.generations
        record = encode(told.finished())
        await store.seal(self.user, told.generation, expected=told.attempt, record=record)


def test_any_order_of_the_scripts_leaves_the_log_whole_and_the_texts_right(clean_redis_url: str):
    run_state_machine_as_test(
        cast("type[ScriptsOfTwoNodes]", partial(ScriptsOfTwoNodes, clean_redis_url)),
        settings=settings(max_examples=15, stateful_step_count=25, deadline=None),
    )
