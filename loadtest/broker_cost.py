"""What a token costs this process on its way into Redis and back out of pub/sub.

`python -m loadtest.broker_cost [--url redis://…] [--tokens 20000]` measures CPU of this process per token,
for several numbers of streams at once, beside a bare PUBLISH (one at a time, and in the library's pipelines)
and a bare receipt in the same run. Without a URL it runs a Valkey of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import Arrival
from server.embedded.services import EmbeddedServices
from server.generations.store import GenerationStart

TOKEN = " token"


async def cpu_per_item(items: int, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Microseconds of CPU, and of wall time, per item."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / items * 1e6, wall / items * 1e6


async def bare(url: str, tokens: int) -> None:
    client = Redis.from_url(url)
    payload = b"x" * 120

    async def one_by_one() -> None:
        for _ in range(tokens // 10):
            await client.publish("bare", payload)

    async def pipelined(size: int) -> None:
        for _ in range(tokens // size):
            pipeline = client.pipeline(transaction=False)
            for _ in range(size):
                pipeline.publish("bare", payload)
            await pipeline.execute()

    cpu, wall = await cpu_per_item(tokens // 10, one_by_one)
    print(f"bare PUBLISH, one at a time          {cpu:7.1f} µs CPU  {wall:7.1f} µs wall")
    for size in (10, 50):
        cpu, wall = await cpu_per_item(tokens, lambda size=size: pipelined(size))  # type: ignore[misc]
        print(f"bare PUBLISH, library pipeline of {size:<3}{cpu:8.1f} µs CPU  {wall:7.1f} µs wall")
    pubsub = client.pubsub()
    await pubsub.subscribe("bare")
    await pubsub.get_message(timeout=1.0)
    publisher = Redis.from_url(url)
    filled = publisher.pipeline(transaction=False)
    for _ in range(2000):
        filled.publish("bare", payload)
    await filled.execute()

    async def receive() -> None:
        for _ in range(2000):
            await pubsub.get_message(timeout=1.0)

    cpu, wall = await cpu_per_item(2000, receive)
    print(f"bare receipt, the library's          {cpu:7.1f} µs CPU  {wall:7.1f} µs wall")
    await pubsub.aclose()  # type: ignore[no-untyped-call]
    await publisher.aclose()
    await client.aclose()


async def start(adapter: RedisAdapter, user: str) -> str:
    generation = str(uuid.uuid4())
    await adapter.generations.start(
        GenerationStart(
            user=user,
            generation=generation,
            conversation="c",
            message="m",
            reply_to="r",
            model="model",
            is_free_model=True,
            estimated_response_ms=1000,
            owner=adapter.process,
            plan=b"{}",
            events=(("generation.started", b"{}"),),
            deadline_ms=60_000,
        )
    )
    return generation


async def appends(url: str, streams: int, tokens: int, *, listen: bool) -> tuple[float, float, float]:
    """CPU and wall time per token, and appends per batch, with `streams` writing as fast as they can."""
    adapter = RedisAdapter(url, process=str(uuid.uuid4()))
    arrived = 0
    done = asyncio.Event()
    each = tokens // streams
    expected = each * streams * len(TOKEN)
    held: dict[str, int] = {}

    def receive(arrival: Arrival) -> None:
        nonlocal arrived
        length = getattr(arrival, "length", None)
        if length is not None:
            generation = arrival.generation  # type: ignore[union-attr]
            arrived += length - held.get(generation, 0)
            held[generation] = length
            if arrived == expected:
                done.set()

    adapter.subscription.on_arrival(receive)
    await adapter.start()
    users = [str(uuid.uuid4()) for _ in range(streams)]
    generations = [await start(adapter, user) for user in users]
    if listen:
        await asyncio.gather(*(adapter.subscription.subscribe(user) for user in users))

    async def stream(user: str, generation: str) -> None:
        at = 0
        for _ in range(each):
            at = (await adapter.generations.append(user, generation, 1, at, TOKEN)).length

    async def work() -> None:
        await asyncio.gather(*map(stream, users, generations))
        if listen:
            await asyncio.wait_for(done.wait(), 10)

    before = adapter.flusher.batches
    cpu, wall = await cpu_per_item(each * streams, work)
    batch = each * streams / (adapter.flusher.batches - before)
    await adapter.aclose()
    return cpu, wall, batch


async def measure(url: str, tokens: int) -> None:
    await bare(url, tokens)
    for streams in (1, 10, 50, 300):
        some = tokens // 10 if streams == 1 else tokens
        alone, _, _ = await appends(url, streams, some, listen=False)
        cpu, wall, batch = await appends(url, streams, some, listen=True)
        print(
            f"{streams:4} streams, batches of {batch:5.1f}: append {alone:5.1f}, arrival {cpu - alone:5.1f}, "
            f"together {cpu:5.1f} µs CPU, {wall:5.1f} µs wall"
        )


async def main(arguments: Any) -> None:
    if arguments.url:
        await measure(arguments.url, arguments.tokens)
        return
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedServices(Path(directory), postgres=False, durable=True) as services:
            assert services.urls.redis_url
            await measure(services.urls.redis_url, arguments.tokens)


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--tokens", type=int, default=20_000)
    uvloop.run(main(parser.parse_args()))
