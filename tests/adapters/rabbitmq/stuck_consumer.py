"""A consumer in a process of its own that takes an event and never finishes it; for tests that kill it."""

from __future__ import annotations

import asyncio
import sys

from server.adapters.rabbitmq.consumer import RabbitConsumer
from server.adapters.rabbitmq.topology import Topology
from server.assessments.events import AnalysisEvent


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Stuck:
    async def handle(self, event: AnalysisEvent) -> None:
        say("handling")
        await asyncio.Event().wait()


async def main(url: str, queue: str, exchange: str, dead_exchange: str) -> None:
    topology = Topology(queue=queue, exchange=exchange, dead_exchange=dead_exchange, retry_seconds=(0.1, 0.3))
    consumer = RabbitConsumer(url, handler=Stuck(), topology=topology)
    consumer.start()
    while not consumer.connected:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)
    say("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
