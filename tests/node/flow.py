"""The assessment flow's surroundings in a test: a worker that publishes, neighbours, nodes that listen.

async with a_flow(services, database, rabbitmq_url) as flow:
    node = await flow.node()
    result = flow.neighbours.add_result(user)
    await flow.publish(flow.completed(user, result))
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractQueue

from server.adapters.atma.neighbour import NeighbourLimits
from server.adapters.rabbitmq.link import LinkLimits
from server.assembly_assessments import FlowLimits
from server.embedded.neighbours import worker
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.openrouter.simulator import Simulator
from server.embedded.services import EmbeddedServices
from tests.running import INTERNAL_KEY, RunningNode, Truth, new_uuid, of_type, running_node
from tests.scripted.recording import Frame
from tests.scripted.sse_client import SseClient
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

ISO = "2026-03-01T08:30:00.000Z"
QUICK = FlowLimits(
    not_there_seconds=20.0,
    link_seconds=0.1,
    neighbours=NeighbourLimits(attempts=1, breaker_failures=1000),
    link=LinkLimits(close=1.0, first_pause=0.05, longest_pause=0.5),
)
PATIENT = 60.0


def ready(assessment: str) -> Any:
    """A predicate for `wait_for`: the adviser of this assessment waits."""
    return lambda f: is_stage(f, "chatbot_ready", assessment)


def is_stage(frame: Frame, stage: str, assessment: str) -> bool:
    """Whether a frame tells this stage of this assessment."""
    body = frame.get("notification", {})
    return frame["type"] == "notification" and (body["stage"], body["assessmentId"]) == (stage, assessment)


@dataclass
class Flow(Truth):
    """Everything but the nodes, and how to have some."""

    services: EmbeddedServices
    database: Database
    neighbours: Neighbours
    simulator: Simulator
    rabbitmq_url: str
    name: str
    stack: contextlib.AsyncExitStack
    settings: dict[str, Any]
    nodes: list[RunningNode] = field(default_factory=list)

    @property
    def queue(self) -> str:
        """Where nodes listen."""
        return f"{self.name}-queue"

    @property
    def exchange(self) -> str:
        """Where events are published, by the worker and by nodes."""
        return f"{self.name}-events"

    async def node(
        self, stack: contextlib.AsyncExitStack | None = None, *, limits: FlowLimits = QUICK, **settings: Any
    ) -> RunningNode:
        """Another node; it lives as long as the flow, or as the stack that is given."""
        running = await (stack or self.stack).enter_async_context(
            running_node(
                self.services,
                self.database,
                simulator=self.simulator,
                flow_limits=limits,
                **{**self.settings, **settings},
            )
        )
        self.nodes.append(running)
        return running

    async def listening(self, node: RunningNode) -> None:
        """Wait until events flow to a node."""

        async def healthy() -> bool:
            async with node.http() as api:
                answer = await api.get("/health")
            return bool(answer.json()["dependencies"]["rabbitmq"]["status"] == "healthy")

        assert await eventually(healthy, PATIENT, what="events flow")

    # --- the worker ---------------------------------------------------------------------------

    def started(self, user: str, result: str | None, job: str = "") -> worker.WorkerMessage:
        """The analysis began."""
        return worker.started(user=user, job=job or new_uuid(), result=result, iso=ISO, ms=1)

    def completed(self, user: str, result: str) -> worker.WorkerMessage:
        """It is done."""
        return worker.completed(user=user, job=new_uuid(), result=result, iso=ISO, ms=2)

    async def publish(self, *messages: worker.WorkerMessage) -> None:
        """Publish as the worker does."""
        async with await self.connection() as connection:
            exchange = await (await connection.channel()).get_exchange(self.exchange)
            for each in messages:
                await exchange.publish(
                    aio_pika.Message(
                        each.body,
                        message_id=each.message_id,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    each.routing_key,
                )

    async def connection(self) -> AbstractConnection:
        """One of our own to the broker."""
        return await aio_pika.connect(self.rabbitmq_url)

    async def let_go(self, **outcomes: int) -> None:
        """Wait until the nodes together have let go of so many messages, by what became of them."""

        def counts() -> dict[str, int]:
            total: Counter[str] = Counter()
            for node in self.nodes:
                assert node.node.consumer is not None
                total += node.node.consumer.outcomes
            return {name: total[name] for name in outcomes}

        assert await eventually(lambda: counts() == outcomes, PATIENT, what=f"{outcomes}")

    def _delays(self) -> list[int]:
        return [round(each * 1000) for each in self.settings["consumer_retry_seconds"]]

    async def dead(self) -> tuple[str, dict[str, Any]]:
        """The reason and the body of the next message that was put aside."""
        async with await self.connection() as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(f"{self.queue}.dead", ensure=False)
            message = await eventually(lambda: queue.get(fail=False), PATIENT, what="something is put aside")
            assert message is not None
            await message.ack()
            body = json.loads(message.body) if message.body.startswith(b"{") else {}
            return str(message.headers["x-reason"]), body

    @contextlib.asynccontextmanager
    async def heard(self, key: str) -> AsyncIterator[AbstractQueue]:
        """A queue of our own that hears what is published from now on."""
        async with await self.connection() as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(self.exchange)
            queue = await channel.declare_queue(f"heard-{new_uuid()}", exclusive=True)
            await queue.bind(exchange, key)
            yield queue

    # --- what came of it ----------------------------------------------------------------------

    async def conversations(self, user: str) -> list[str]:
        """The ids of all conversations of a user, deleted ones too."""
        async with self.admin() as admin:
            rows = await admin.fetch("SELECT id FROM chat.conversations WHERE user_id = $1::uuid", user)
        return [str(row["id"]) for row in rows]

    async def welcomes(self, user: str) -> int:
        """How many messages that welcome a user are kept."""
        async with self.admin() as admin:
            count = await admin.fetchval(
                "SELECT count(*) FROM chat.messages WHERE user_id = $1::uuid"
                " AND metadata ->> 'type' = 'assessment_welcome'",
                user,
            )
        return int(count)

    def linked(self, result: str) -> str | None:
        """Which conversation the archive knows of."""
        linked: str | None = self.neighbours.world.results[result].get("chatbot_id")
        return linked


def stages(client: RecordingClient | SseClient) -> Counter[tuple[str, str]]:
    """How often a client was told which stage of which assessment."""
    return Counter(
        (frame["notification"]["stage"], frame["notification"]["assessmentId"])
        for frame in client.recording.of_type("notification")
    )


async def welcomed(client: RecordingClient, assessment: str) -> Frame:
    """The end of the welcome, once the adviser of an assessment waits."""
    await client.wait_for(ready(assessment), PATIENT)
    finished: Frame = await client.wait_for(of_type("generation.finished"), PATIENT)
    return finished


@contextlib.asynccontextmanager
async def a_flow(
    services: EmbeddedServices, database: Database, rabbitmq_url: str = "", **settings: Any
) -> AsyncIterator[Flow]:
    """A flow without nodes yet. Without a broker there are only the doors."""
    async with contextlib.AsyncExitStack() as stack:
        neighbours = await stack.enter_async_context(Neighbours(service_key=INTERNAL_KEY))
        simulator = await stack.enter_async_context(Simulator(human_speed=False))
        name = f"flow-{new_uuid()}"
        flow = Flow(
            services=services,
            database=database,
            neighbours=neighbours,
            simulator=simulator,
            rabbitmq_url=rabbitmq_url,
            name=name,
            stack=stack,
            settings={
                "archive_service_url": neighbours.url,
                "auth_service_url": neighbours.url,
                "assessment_service_url": neighbours.url,
                "notification_service_url": neighbours.url,
                "consumer_retry_seconds": (0.2, 0.5),
                **settings,
            },
        )
        if rabbitmq_url:
            flow.settings |= {
                "rabbitmq_url": rabbitmq_url,
                "events_exchange_name": flow.exchange,
                "chat_queue_name": flow.queue,
            }
        yield flow
        if rabbitmq_url:
            # nodes go first, while there is a queue
            await stack.aclose()
            await asyncio.shield(_swept(flow))


async def _swept(flow: Flow) -> None:
    async with await flow.connection() as connection:
        channel = await connection.channel()
        await channel.exchange_delete(flow.exchange)
        for queue in (flow.queue, f"{flow.queue}.dead", *(f"{flow.queue}.retry.{n}" for n in flow._delays())):
            await channel.queue_delete(queue)
