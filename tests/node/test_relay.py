"""What other services hear of a conversation: through the outbox, in order, never the text (broker contract)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aio_pika

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import new_uuid, of_type, running_node
from tests.services import Database


def test_a_turn_is_told_to_the_ecosystem_once_and_in_order(
    services: EmbeddedServices, database: Database, rabbitmq_url: str
):
    async def go() -> None:
        exchange_name = f"events-{new_uuid()}"
        connection = await aio_pika.connect(rabbitmq_url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(exchange_name, "topic", durable=True)
            queue = await channel.declare_queue(f"heard-{new_uuid()}", exclusive=True)
            await queue.bind(exchange, "chat.#")
            settings: dict[str, Any] = {"rabbitmq_url": rabbitmq_url, "events_exchange_name": exchange_name}
            async with running_node(services, database, **settings) as running:
                running.simulator.script(Behaviour(text="A secret answer."))
                client = await running.client()
                ack = await client.send("message.send", content="A secret?", client_message_id=new_uuid())
                await client.wait_for(of_type("generation.finished"))

                heard = []
                async with asyncio.timeout(30), queue.iterator() as messages:
                    async for message in messages:
                        async with message.process():
                            heard.append((message.routing_key, json.loads(message.body), message))
                        if len(heard) == 3:
                            break

                assert [kind for kind, _, _ in heard] == [
                    "chat.conversation.created",
                    "chat.message.completed",
                    "chat.usage.recorded",
                ]
                for kind, body, message in heard:
                    assert (body["eventType"], body["userId"]) == (kind, client.recording.user)
                    assert body["conversationId"] == ack["conversation"]
                    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
                    assert message.content_type == "application/json"
                    assert "secret" not in json.dumps(body)
                assert len({message.message_id for _, _, message in heard}) == 3
            await exchange.delete()

    asyncio.run(go())
