"""Builders and small tools for the tests of the Redis adapter."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from redis.asyncio import Redis

from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.scripts import LogWindow
from server.channels.broker import Arrival, BrokerUnavailable, EventArrived, TextArrived
from server.generations.store import GenerationRecord, GenerationStart

DEADLINE_SECONDS = 20.0

T = TypeVar("T")


def new_id() -> str:
    return str(uuid.uuid4())


def a_start(user: str = "", **other: Any) -> GenerationStart:
    fields: dict[str, Any] = {
        "user": user or new_id(),
        "generation": new_id(),
        "conversation": "conversation",
        "message": "message",
        "reply_to": "question",
        "model": "model/one",
        "is_free_model": True,
        "estimated_response_ms": 1500,
        "owner": "process-1",
        "plan": b'{"chain":["model/one","model/two"]}',
        "events": (("message.created", b'{"m":1}'), ("generation.started", b'{"g":1}')),
        "deadline_ms": 60_000,
    }
    return GenerationStart(**{**fields, **other})


def a_record(start: GenerationStart, **other: Any) -> GenerationRecord:
    fields: dict[str, Any] = {
        "user": start.user,
        "generation": start.generation,
        "conversation": start.conversation,
        "message": start.message,
        "reply_to": start.reply_to,
        "model": start.model,
        "is_free_model": start.is_free_model,
        "estimated_response_ms": start.estimated_response_ms,
        "owner": start.owner,
        "attempt": 1,
        "status": "running",
        "stop": False,
        "plan": start.plan,
        "notes": (),
        "record": b"",
        "persisted": False,
        "started_ms": 1_700_000_000_000,
        "deadline_ms": 1_700_000_060_000,
        "text_attempt": 0,
        "begins": (),
        "length": 0,
        "text": "",
        "losses": 0,
    }
    return GenerationRecord(**{**fields, **other})


@asynccontextmanager
async def away(redis: Redis) -> AsyncIterator[None]:
    """The server answers nobody while the block runs, however long that takes."""
    pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def an_adapter(
    url: str, *, process: str = "", window: LogWindow | None = None, **other: Any
) -> AsyncIterator[RedisAdapter]:
    adapter = RedisAdapter(url, process=process or new_id(), window=window, **other)
    await adapter.start()
    try:
        yield adapter
    finally:
        await adapter.aclose()


@asynccontextmanager
async def a_client(url: str) -> AsyncIterator[Any]:
    """The library's client, for looking behind the adapter's back."""
    client = Redis.from_url(url, socket_timeout=10.0, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


async def eventually(is_so: Callable[[], bool], what: str = "") -> None:
    """Wait until it is so; fail when it is not in time."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


async def answered(is_so: Callable[[], Awaitable[bool]], what: str = "") -> None:
    """As `eventually`, for what only the store knows."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await is_so():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


async def at_last(call: Callable[[], Awaitable[T]]) -> T:
    """What the store answers once it can: while it changes hands, it may be away again at any call."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await asyncio.sleep(0.01)


class Listener:
    """Keeps what arrived."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.gaps = 0

    def hear(self, adapter: RedisAdapter) -> None:
        adapter.subscription.on_arrival(self.arrivals.append)
        adapter.subscription.on_gap(self._gap)

    def _gap(self) -> None:
        self.gaps += 1

    @property
    def events(self) -> list[EventArrived]:
        return [each for each in self.arrivals if isinstance(each, EventArrived)]

    @property
    def texts(self) -> list[TextArrived]:
        return [each for each in self.arrivals if isinstance(each, TextArrived)]


async def kill(client: Any, purpose: str, adapter: RedisAdapter) -> bool:
    """Cut the adapter's connection for `append` or `listen`; whether it had one."""
    name = f"chat-{purpose}-{adapter.process}"
    ids = [each["id"] for each in await client.client_list() if each["name"] == name]
    for each in ids:
        await client.execute_command("CLIENT", "KILL", "ID", each)
    return bool(ids)


async def begun(adapter: RedisAdapter, **other: Any) -> GenerationStart:
    """A generation that has started."""
    start = a_start(owner=adapter.process, **other)
    assert (await adapter.generations.start(start)).fresh
    return start


async def held_text(adapter: RedisAdapter, start: GenerationStart) -> str:
    record = await adapter.generations.read(start.user, start.generation)
    assert record is not None
    assert record.length == len(record.text)
    return record.text


async def switch(adapter: RedisAdapter, start: GenerationStart, expected: int, **other: Any) -> Any:
    fields: dict[str, Any] = {
        "owner": adapter.process,
        "model": f"model/{expected + 1}",
        "is_free_model": False,
        "event": b'{"switched":1}',
        "lost_node": False,
    }
    return await adapter.generations.switch(
        start.user, start.generation, expected=expected, **{**fields, **other}
    )
