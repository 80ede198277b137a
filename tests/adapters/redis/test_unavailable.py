"""A server that is there and will not: every way of it is `BrokerUnavailable`, and it passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.connection import Connections
from server.adapters.redis.refusals import refused
from server.adapters.redis.scripts import LogWindow, Scripts
from server.channels.broker import BrokerUnavailable
from server.embedded.services import EmbeddedServices
from tests.adapters.redis.support import a_client, an_adapter, answered, begun, held_text, new_id
from tests.adapters.redis.test_flusher import appended_at_last
from tests.scripted.fault_proxy import FaultProxy
from tests.services import own_services

Fault = Callable[[Any], Awaitable[object]]


@asynccontextmanager
async def a_server() -> AsyncIterator[tuple[EmbeddedServices, RedisAdapter, Any]]:
    async with (
        own_services(postgres=False) as services,
        an_adapter(str(services.urls.redis_url), call_seconds=2.0) as adapter,
        a_client(str(services.urls.redis_url)) as client,
    ):
        yield services, adapter, client


def config(**settings: str) -> Fault:
    async def set_them(client: Any) -> None:
        for name, value in settings.items():
            await client.config_set(name.replace("_", "-"), value)

    return set_them


def command(*words: str) -> Fault:
    return lambda client: client.execute_command(*words)


FULL = config(maxmemory="1")


def password_of(client: Any) -> str:
    return str(client.connection_pool.connection_kwargs["password"])


@pytest.mark.parametrize(
    ("fault", "mended"),
    [
        pytest.param(FULL, config(maxmemory="0"), id="full"),
        pytest.param(
            config(min_replicas_to_write="1"), config(min_replicas_to_write="0"), id="without its replicas"
        ),
        pytest.param(
            command("REPLICAOF", "127.0.0.1", "1"), command("REPLICAOF", "NO", "ONE"), id="a replica now"
        ),
        pytest.param(
            config(requirepass="another"),
            lambda client: client.config_set("requirepass", password_of(client)),
            id="another password",
        ),
    ],
)
def test_a_server_that_takes_no_writes_is_unavailable_and_works_again_afterwards(
    fault: Fault, mended: Fault
) -> None:
    async def scenario() -> None:
        async with a_server() as (_, adapter, client):
            start = await begun(adapter)
            await adapter.generations.append(start.user, start.generation, 1, 0, "before ")
            await fault(client)
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            with pytest.raises(BrokerUnavailable):
                await adapter.broker.publish_event(start.user, b"{}", kind="notification")
            with pytest.raises(BrokerUnavailable):
                await adapter.generations.append(start.user, start.generation, 1, 7, "after")
            if fault is not FULL:
                # Renewing a head needs no memory: who only reads does not notice that the server is full.
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.heads([start.user, new_id()])
            await mended(client)
            await appended_at_last(adapter, start, 7, "after")
            assert await held_text(adapter, start) == "before after"
            assert (await adapter.broker.publish_event(start.user, b"{}", kind="notification")).offset > 0

    asyncio.run(scenario())


def test_a_server_kept_busy_by_somebodys_script_is_unavailable_until_it_is_done() -> None:
    async def scenario() -> None:
        async with a_server() as (services, adapter, client):
            await client.config_set("busy-reply-threshold", 10)
            async with a_client(str(services.urls.redis_url)) as other:
                stuck = asyncio.ensure_future(other.eval("while true do end", 0))

                async def busy() -> bool:
                    try:
                        await adapter.users.revoked_at_ms(new_id())
                    except BrokerUnavailable as error:
                        return str(error) == "BUSY"
                    return False

                await answered(busy)
                await client.script_kill()
                await asyncio.wait([stuck])
                assert stuck.exception() is not None
            assert await adapter.users.revoked_at_ms(new_id()) is None

    asyncio.run(scenario())


def test_a_connection_that_was_reset_is_an_outage_on_the_loop_that_serves_too(redis_url: str) -> None:
    """uvloop, which nodes run on, has a word of its own for it; through the library's client, as in a cluster."""

    async def scenario() -> None:
        async with FaultProxy("127.0.0.1", urlsplit(redis_url).port or 0) as cable:
            connections = Connections(cable.url(redis_url))
            scripts = Scripts(connections.client, LogWindow(), sharded=False)
            for call in (lambda: scripts.command("PING"), connections.reachable):
                assert await call()
                cable.reset()
                await answered(partial(is_away, call), "the reset is noticed")
                assert await call()
            await connections.aclose()

    async def is_away(call: Callable[[], Awaitable[object]]) -> bool:
        try:
            return not await call()
        except BrokerUnavailable:
            return True

    uvloop.run(scenario())


def test_a_mistake_of_our_own_is_not_called_an_outage(redis_url: str) -> None:
    """A wrong type or a broken script must be seen, not retried for ever."""

    async def scenario() -> None:
        async with an_adapter(redis_url) as adapter:
            with pytest.raises(Exception, match="wrong number of arguments"):
                await adapter.scripts.command("GET")

    asyncio.run(scenario())


@pytest.mark.parametrize("reply", [[b"what"], [b"fenced"], [b"gone", 1, 2], []])
def test_a_refusal_nobody_knows_is_a_mistake_of_our_own(reply: list[Any]) -> None:
    with pytest.raises(AssertionError):
        refused(reply)
