"""A node that leaves: what its clients hear of it, and how fast others go on with its answers."""

from __future__ import annotations

import asyncio

import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from server.generations import runner
from tests.running import new_uuid, of_type, running_node
from tests.scripted.waiting import eventually
from tests.services import Database

MINUTE = 60_000
A_FEW = 3
MANY = 3 * A_FEW + 1
WORDS = tuple(f"word{n} " for n in range(8))


def test_a_stream_goes_on_until_its_time_has_come_to_move_and_then_ends_with_drain(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(tokens=WORDS, gate="on", gate_at=4))
            reader = running.sse()
            await reader.connect()
            writer = await running.client(reader.recording.user)
            ack = await writer.send("message.send", content="hi", client_message_id=new_uuid())
            await reader.wait_for(of_type("delta"), 60)
            (stream,) = (
                each for each in running.node.front.desk.sessions._present if hasattr(each, "transport")
            )

            stream.drain(MINUTE, "restart")
            running.simulator.release("on")
            await reader.wait_for(of_type("generation.finished", generation=ack["generation"]), 60)
            assert reader.text(ack["generation"]) == "".join(WORDS)
            assert reader.recording.of_type("drain") == []

            stream.drain(10, "restart")
            await reader.wait_end(60)
            last = reader.recording.heard[-1].frame
            assert last == {"type": "drain", "reconnect_in_ms": 0, "reason": "restart"}
            await running.assert_holds(reader, writer)

    asyncio.run(go())


def test_all_answers_of_a_node_that_left_are_taken_at_its_call_however_many_they_are(
    services: EmbeddedServices, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "_SWEEP_LIMIT", A_FEW)
    # so that nobody looks by themselves
    monkeypatch.setattr(runner, "_SWEEP_SECONDS", 3600.0)

    async def go() -> None:
        async with (
            running_node(services, database) as leaving,
            running_node(services, database, simulator=leaving.simulator) as staying,
        ):
            leaving.simulator.script(Behaviour(tokens=WORDS, gate="on", gate_at=4), repeat=True)
            writer = await leaving.client()
            for _ in range(MANY):
                await writer.send("message.send", content="hi", client_message_id=new_uuid())
            await eventually(lambda: len(writer.held.texts) == MANY, 60)

            await leaving.node.drain(0)

            await eventually(lambda: len(staying.node.generations) == MANY, 60)
            leaving.simulator.release("on")

    asyncio.run(go())
