"""Any order of what can happen to a channel read on two nodes: nothing is lost, nothing is shown twice (I1, I2, I5).

The channel, the cursors and the texts are the server's own; the store is told a second time in `story`. Arrivals
get lost on either node, logs are trimmed, epochs and nodes are lost, and clients are cut between any two frames
and go on at either node.
"""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from protocol.position import Position
from server.channels.broker import Arrival
from tests.channels.mending import a_channel, hear, mend
from tests.channels.story import Story
from tests.session.reading import ReaderThatIsCut

NODES = (0, 1)
CLIENTS = 3

nodes = st.sampled_from(NODES)
clients = st.integers(0, CLIENTS - 1)
heard = st.lists(st.sampled_from([True, True, True, False]), min_size=len(NODES), max_size=len(NODES))
texts = st.text(alphabet="abé😀\n", max_size=4)


class ChannelOnTwoNodes(RuleBasedStateMachine):
    """`missed` are generations of which a node may not have had something that was published."""

    generations = Bundle("generations")

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.channels = [a_channel(self.story) for _ in NODES]
        self.clients = [ReaderThatIsCut(self.story, self.channels[0]) for _ in range(CLIENTS)]
        self.missed: set[str] = set()
        self.losses = 0
        self.trims = 0

    @initialize(where=st.lists(nodes, min_size=CLIENTS, max_size=CLIENTS))
    def clients_come(self, where: list[int]) -> None:
        for client, node in enumerate(where):
            self.connect(client, node)

    # --- what is published ------------------------------------------------------------------------

    @rule(target=generations, heard=heard)
    def start(self, heard: list[bool]) -> str:
        generation, arrivals = self.story.start()
        self.tell(generation, arrivals, heard)
        return generation

    @rule(generation=generations, text=texts, at=st.integers(0, 12), heard=heard)
    def append(self, generation: str, text: str, at: int, heard: list[bool]) -> None:
        if generation in self.story.running:
            self.tell(generation, self.story.append(generation, text, at=at), heard)

    @rule(generation=generations, heard=heard)
    def switch(self, generation: str, heard: list[bool]) -> None:
        if generation in self.story.running:
            self.tell(generation, self.story.switch(generation), heard)

    @rule(generation=generations, heard=heard)
    def finish(self, generation: str, heard: list[bool]) -> None:
        if generation in self.story.running:
            self.tell(generation, self.story.finish(generation), heard)

    @rule(generation=generations, heard=heard)
    def publish(self, generation: str, heard: list[bool]) -> None:
        self.tell(generation, self.story.settle(generation), heard)

    # --- what becomes of the store and the nodes --------------------------------------------------

    @rule(keep=st.integers(0, 5))
    def trim(self, keep: int) -> None:
        self.story.forget(keep)
        self.trims += 1

    @rule(tail=st.integers(0, 3), all_texts=st.booleans())
    def lose_the_epoch(self, tail: int, *, all_texts: bool) -> None:
        self.story.lose_epoch(tail=tail, all_texts=all_texts)
        self.losses += 1
        if all_texts:
            # who looks before an owner has written them again finds none of them
            self.missed.update(self.story.running)
        for channel in self.channels:
            mend(channel, self.story)

    @rule(node=nodes)
    def look(self, node: int) -> None:
        """The hub compares with the head, and reads what is missing."""
        mend(self.channels[node], self.story)

    @rule(node=nodes)
    def crash(self, node: int) -> None:
        gone, self.channels[node] = self.channels[node], a_channel(self.story)
        for client in self.clients:
            if client.channel is gone:
                client.cursors = client.cuts = None
                client.channel = self.channels[node]

    # --- what the clients do ----------------------------------------------------------------------

    @rule(client=clients, node=nodes)
    def connect(self, client: int, node: int) -> None:
        """Cut, if it was connected, it goes on at a node, told `reset` exactly where something is missing."""
        reader = self.clients[client]
        reader.channel.readers.discard(reader)
        reader.channel, reader.cuts = self.channels[node], None
        mend(reader.channel, self.story)
        held = reader.held.resume().get("position")
        mark = len(reader.recording.heard)
        reader.connect()
        reader.channel.readers.add(reader)
        if held is not None:
            told = reader.recording.heard[mark].frame["resume"]
            assert (told == "reset") == self.is_missing(held), (held, told)

    @rule(client=clients, frames=st.integers(0, 6))
    def cut(self, client: int, frames: int) -> None:
        """So many frames from now."""
        if self.clients[client].cursors is not None:
            self.clients[client].cuts = frames

    @rule(client=clients)
    def read(self, client: int) -> None:
        reader = self.clients[client]
        if reader.cursors is not None:
            reader.read()
            reader.channel.forget_delivered()

    @rule(target=generations)
    def nothing(self) -> object:
        return multiple()

    # --- what holds -------------------------------------------------------------------------------

    @invariant()
    def no_client_found_anything_wrong(self) -> None:
        resets = None if self.losses or self.trims else 0
        for client in self.clients:
            for violation in client.violations(resets=resets):
                if violation.what == "never finished":
                    continue
                # what was missed, and the store then lost, only the end can tell
                assert violation.what == "the text shown is not the message", violation
                assert self.losses, violation
                assert violation.evidence["generation"] in self.missed, violation

    def teardown(self) -> None:
        """Everything ends, everybody comes back and has read all: it is all there, and what it is."""
        for generation in list(self.story.running):
            self.story.finish(generation)
        for number, client in enumerate(self.clients):
            if client.cursors is None:
                self.connect(number, number % len(NODES))
            client.cuts = None
        for channel in self.channels:
            mend(channel, self.story)
        facts = [json.loads(body) for body in self.story.facts]
        for client in self.clients:
            client.read()
            for generation, finished in client.held.finished.items():
                content = (finished["message"] or {"content": ""})["content"]
                assert content == self.story.ended[generation].text
            if not self.losses and not self.trims:
                assert client.facts() == facts
            else:
                assert all(fact in facts for fact in client.facts())
        self.no_client_found_anything_wrong()

    # --- parts ------------------------------------------------------------------------------------

    def tell(self, generation: str, arrivals: list[Arrival], heard: list[bool]) -> None:
        for channel, hears in zip(self.channels, heard, strict=True):
            if hears:
                hear(channel, arrivals)
            else:
                self.missed.add(generation)

    def is_missing(self, held: str) -> bool:
        position = Position.parse(held)
        assert position is not None
        if position.epoch != self.story.epoch:
            return True
        return position.offset < len(self.story.log) and position.offset + 1 < self.story.oldest


TestChannelOnTwoNodes = ChannelOnTwoNodes.TestCase
TestChannelOnTwoNodes.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
