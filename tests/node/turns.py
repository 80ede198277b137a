"""Many turns on one node: each with a script of its own, found by a label in its question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.ledger import Call
from tests.running import RunningNode, new_uuid, of_type
from tests.scripted.recording import Frame
from tests.scripted.websocket_client import RecordingClient

AT_ONCE = 16
"""So many turns of a table run beside each other."""


@dataclass(frozen=True)
class Case:
    """One line of a table: the calls as scripted, what the message will be, and the fields of the command.

    `text` of `None`: nothing is said of it. `repeat` keeps the last call for ever.
    """

    calls: tuple[Behaviour, ...]
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    repeat: bool = False


@dataclass
class Turn:
    """A turn: its acknowledgement and what its client heard of it."""

    running: RunningNode
    client: RecordingClient
    label: str
    ack: Frame

    @property
    def generation(self) -> str:
        """Its generation's id."""
        return str(self.ack["generation"])

    async def finished(self, within: float = 30.0) -> Frame:
        """Its end."""
        return await self.client.wait_for(of_type("generation.finished", generation=self.generation), within)

    async def heard(self, kind: str, within: float = 15.0, **fields: Any) -> Frame:
        """The first frame of this type, and with these fields, about this generation."""
        return await self.client.wait_for(of_type(kind, generation=self.generation, **fields), within)

    async def shown(self, length: int, within: float = 15.0) -> None:
        """Wait until so much text is shown."""
        await self.client.wait_for(lambda _: len(self.client.text(self.generation)) >= length, within)

    def of_type(self, *kinds: str) -> list[Frame]:
        """The frames of these types about this generation."""
        return [f for f in self.client.recording.of_type(*kinds) if f.get("generation") == self.generation]

    @property
    def calls(self) -> list[Call]:
        """What the upstream was asked for it, in order."""
        return [
            call
            for call in self.running.simulator.calls()
            if any(self.label in str(message.get("content")) for message in call.messages)
        ]

    @property
    def switches(self) -> list[tuple[str, str, str, str]]:
        """`(from, to, cause, mode)` of every switch told."""
        return [
            (f["from_model"], f["to_model"], f["cause"], f["mode"])
            for f in self.of_type("generation.switched")
        ]


async def ask(
    running: RunningNode,
    client: RecordingClient,
    *calls: Behaviour,
    name: str = "a turn",
    repeat: bool = False,
    **fields: Any,
) -> Turn:
    """Ask a question whose calls do this, one after the other."""
    label = f"[{name}]"
    running.simulator.script(*calls, match=label, repeat=repeat)
    ack = await client.send(
        "message.send", content=f"{label} Where do I begin?", client_message_id=new_uuid(), **fields
    )
    assert ack["type"] == "ack", ack
    return Turn(running, client, label, ack)


async def ask_all(
    running: RunningNode, clients: Sequence[RecordingClient], cases: Mapping[str, Case]
) -> dict[str, Turn]:
    """Every line of a table, to its end, each in a conversation of its own; clients take turns."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, case: Case, client: RecordingClient) -> Turn:
        async with room:
            turn = await ask(running, client, *case.calls, name=name, repeat=case.repeat, **case.fields)
            await turn.finished()
            return turn

    turns = await asyncio.gather(
        *(one(name, case, clients[i % len(clients)]) for i, (name, case) in enumerate(cases.items()))
    )
    return dict(zip(cases, turns, strict=True))


def intended(turns: Mapping[str, Turn], cases: Mapping[str, Case]) -> dict[str, str]:
    """What each generation should have said, for the oracle."""
    return {turns[name].generation: text for name, case in cases.items() if (text := case.text) is not None}


def wrong(pairs: Iterable[tuple[str, object, object]]) -> dict[str, object]:
    """What of `(name, is, should be)` is not as it should be, by name; of texts, where they part."""
    return {name: _parting(found, wanted) for name, found, wanted in pairs if found != wanted}


def _parting(found: object, wanted: object) -> object:
    if not isinstance(found, str) or not isinstance(wanted, str):
        return found, wanted
    same = (ours == theirs for ours, theirs in zip(found, wanted, strict=False))
    at = next((place for place, alike in enumerate(same) if not alike), min(len(found), len(wanted)))
    return f"at {at}", found[max(0, at - 20) : at + 60], wanted[max(0, at - 20) : at + 60]
