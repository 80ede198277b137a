"""The main job, seen by a client: send, stream, finish; on one node with real services."""

from __future__ import annotations

import asyncio

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import MODELS, new_uuid, of_type, running_node
from tests.services import Database

TEXT = "Halo! 👋🏽 A career is a long walk — \u2028 let us begin with naïve questions.\n\n1. What do you like?\n2. Why?"


def test_an_answer_streams_and_is_kept(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text=TEXT))
            client = await running.client()

            ack = await client.send("message.send", content="Where do I begin?", client_message_id=new_uuid())
            finished = await client.wait_for(of_type("generation.finished"))

            assert ack["duplicate"] is False
            assert finished["status"] == "completed"
            assert finished["message"]["content"] == TEXT
            assert client.text(ack["generation"]) == TEXT
            assert [segment["model"] for segment in finished["segments"]] == [MODELS[0]]
            await running.assert_holds(client, intended={ack["generation"]: TEXT})

    asyncio.run(go())


def test_a_second_question_is_asked_with_the_first_in_its_prompt(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text="First answer."), Behaviour(text="Second answer."))
            client = await running.client()
            first = await client.send("message.send", content="First question", client_message_id=new_uuid())
            await client.wait_for(of_type("generation.finished", generation=first["generation"]))

            second = await client.send(
                "message.send",
                content="Second question",
                conversation=first["conversation"],
                client_message_id=new_uuid(),
            )
            await client.wait_for(of_type("generation.finished", generation=second["generation"]))

            asked = [(m["role"], m["content"]) for m in running.simulator.calls()[1].messages]
            assert asked[1:] == [
                ("user", "First question"),
                ("assistant", "First answer."),
                ("user", "Second question"),
            ]
            await running.assert_holds(client)

    asyncio.run(go())
