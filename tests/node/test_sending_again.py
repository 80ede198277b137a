"""Commands sent more than once: one message, one generation, one call of a model (I7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import new_uuid, of_type, running_node
from tests.services import Database


def test_the_same_command_twenty_times_at_once_over_five_sockets_happens_once(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text="Once."), repeat=True)
            user, key = new_uuid(), new_uuid()
            sockets = [await running.client(user) for _ in range(5)]
            command: dict[str, Any] = {"content": "Only once, please", "client_message_id": key}

            answers = await asyncio.gather(
                *(socket.send("message.send", **command) for socket in sockets for _ in range(4))
            )
            for socket in sockets:
                await socket.wait_for(of_type("generation.finished"))

            assert {answer["type"] for answer in answers} == {"ack"}
            assert len({(a["conversation"], a["message"], a["generation"]) for a in answers}) == 1
            assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 19
            assert len(running.simulator.calls()) == 1
            for socket in sockets:
                assert len(socket.recording.of_type("message.created")) == 1
            await running.assert_holds(*sockets)
            rows = await running.rows()
            assert [row["sender_type"] for row in rows["messages"]] == ["user", "assistant"]

    asyncio.run(go())


@pytest.mark.parametrize(
    "changed",
    [
        {"content": "Something else"},
        {"content_type": "file", "content": "data:text/plain,Only%20once"},
        {"parent_message_id": "the question itself"},
        {"conversation": "another one"},
    ],
    ids=["content", "content_type", "parent", "target"],
)
def test_a_client_message_id_means_one_thing_for_ever(
    services: EmbeddedServices, database: Database, changed: dict[str, str]
):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text="Once."), repeat=True)
            client = await running.client()
            other = await client.send("message.send", content="Another", client_message_id=new_uuid())
            key = new_uuid()
            original: dict[str, Any] = {"content": "Only once", "client_message_id": key}
            ack = await client.send("message.send", **original)
            await client.wait_for(of_type("generation.finished", generation=ack["generation"]))
            places = {"the question itself": ack["message"], "another one": other["conversation"]}
            again = {**original, **{name: places.get(value, value) for name, value in changed.items()}}

            refused = await client.send("message.send", **again)
            repeated = await client.send("message.send", **original)

            assert (refused["type"], refused["code"]) == ("error", "idempotency_conflict")
            assert refused["retryable"] is False
            assert repeated["duplicate"] is True
            assert repeated["generation"] == ack["generation"]

    asyncio.run(go())


def test_regenerating_twice_with_one_id_makes_one_sibling(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            running.simulator.script(Behaviour(text="First."), Behaviour(text="Second."))
            client = await running.client()
            ack = await client.send("message.send", content="Hi", client_message_id=new_uuid())
            finished = await client.wait_for(of_type("generation.finished"))
            command = {"message": finished["message"]["id"], "client_message_id": new_uuid()}

            answers = await asyncio.gather(*(client.send("message.regenerate", **command) for _ in range(6)))
            again = await client.wait_for(of_type("generation.finished", generation=answers[0]["generation"]))

            assert len({answer["generation"] for answer in answers}) == 1
            assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 5
            assert again["message"]["content"] == "Second."
            assert again["message"]["parent_message_id"] == ack["message"]
            asked = [m["content"] for m in running.simulator.calls()[1].messages[1:]]
            assert asked == ["Hi"], "the old answer is not in the prompt of its sibling"
            await running.assert_holds(client)

    asyncio.run(go())
