"""A store that lost all it held, while answers are on their way."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio

from server.adapters.redis import keys
from server.conversations.custodian import CustodyPace
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import new_uuid, of_type, running_node
from tests.scripted.waiting import eventually
from tests.services import Database, own_services


def test_an_answer_whose_model_is_silent_is_not_begun_again_by_others(
    services: EmbeddedServices, database: Database
) -> None:
    """Architecture §2: a Redis that lost its data is a new epoch; the owner writes its state again."""

    async def scenario() -> None:
        async with own_services(postgres=False) as lost:
            pace = CustodyPace(patience_seconds=3, unstarted_seconds=0.1)
            node: dict[str, Any] = {"redis_url": str(lost.urls.redis_url), "lease_seconds": 3, "pace": pace}
            async with (
                running_node(services, database, **node) as one,
                running_node(services, database, simulator=one.simulator, **node),
                redis.asyncio.Redis.from_url(str(lost.urls.redis_url)) as store,
            ):
                one.simulator.script(Behaviour(text="The first answer.", gate="later"))
                one.simulator.script(Behaviour(text="Another answer, of another call."))
                client = await one.client()
                ack = await client.send("message.send", content="hi", client_message_id=new_uuid())
                generation = ack["generation"]
                await eventually(lambda: len(one.simulator.calls()) == 1)

                async def overdue() -> bool:
                    async with one.admin() as connection:
                        return bool(
                            await connection.fetchval(
                                "SELECT clock_timestamp() - created_at > interval '4 seconds'"
                                " FROM chat.generations WHERE id = $1",
                                generation,
                            )
                        )

                await eventually(overdue, what="it is old enough to be taken for never begun")
                await store.flushall()
                state = keys.generation(client.recording.user, generation)
                await eventually(lambda: store.exists(state), what="its state is written again")
                one.simulator.release("later")
                finished = await client.wait_for(of_type("generation.finished", generation=generation))
                assert finished["message"]["content"] == "The first answer."
                assert len(one.simulator.calls()) == 1
                await one.assert_holds(client, resets=None)

    asyncio.run(scenario())
