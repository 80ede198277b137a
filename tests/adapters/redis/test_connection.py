"""Connecting: to a database, through a socket, past a password, through TLS, and after a failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from server.adapters.redis.adapter import RedisAdapter
from server.channels.broker import BrokerUnavailable
from server.embedded.valkey import Valkey
from tests.adapters.redis.servers import CERTIFICATE, PASSWORD, behind_tls, running, watched
from tests.adapters.redis.support import (
    Listener,
    a_client,
    an_adapter,
    answered,
    at_last,
    begun,
    eventually,
    held_text,
    new_id,
)
from tests.adapters.redis.test_flusher import appended_at_last
from tests.services import private_directory


async def works(adapter: RedisAdapter) -> None:
    """All three ways to the server: the client, the appends, the subscription."""
    listener = Listener()
    listener.hear(adapter)
    start = await at_last(lambda: begun(adapter))
    await adapter.subscription.subscribe(start.user)
    await appended_at_last(adapter, start, 0, "né")
    assert await at_last(lambda: held_text(adapter, start)) == "né"
    await eventually(lambda: len(listener.texts) == 1)
    await answered(adapter.reachable)


def test_all_connections_use_the_database_of_the_url(redis_url: str) -> None:
    async def scenario() -> None:
        url = f"{redis_url.removesuffix('/0')}/7"
        async with an_adapter(url) as adapter, a_client(url) as client, a_client(redis_url) as elsewhere:
            start = await begun(adapter)
            await adapter.generations.append(start.user, start.generation, 1, 0, "x")
            names = [name async for name in client.scan_iter(match=f"*{start.user}*")]
            assert len(names) == 5
            assert [name async for name in elsewhere.scan_iter(match=f"*{start.user}*")] == []
            await works(adapter)

    asyncio.run(scenario())


def test_a_server_behind_a_socket_and_a_user_with_a_strange_password() -> None:
    async def scenario() -> None:
        with private_directory("socket") as directory:
            path = directory / "a b.sock"
            async with running(directory, "valkey", settings={"unixsocket": str(path)}) as server:
                password = "p@ss/wo:rd ü%"
                async with a_client(server.url) as client:
                    await client.execute_command(
                        "ACL", "SETUSER", "al:ice", "on", f">{password}", "~*", "&*", "+@all"
                    )
                login = f"{quote('al:ice')}:{quote(password, safe='')}"
                place = urlsplit(server.url)
                for url in (
                    f"unix://{login}@{quote(str(path))}?db=3",
                    f"redis://{login}@127.0.0.1:{place.port}/0",
                ):
                    async with an_adapter(url) as adapter:
                        await works(adapter)
                async with an_adapter(f"redis://al%3Aice:wrong@127.0.0.1:{place.port}") as adapter:
                    with pytest.raises(BrokerUnavailable):
                        await adapter.broker.snapshot(new_id())
                    with pytest.raises(BrokerUnavailable):
                        await adapter.generations.append(new_id(), new_id(), 1, 0, "x")
                    assert not await adapter.reachable()

    asyncio.run(scenario())


def test_tls_is_spoken_with_a_server_whose_certificate_is_trusted_and_with_no_other(
    redis_url: str, tmp_path: Path
) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(CERTIFICATE, encoding="ascii")

    async def scenario() -> None:
        password = urlsplit(redis_url).password
        async with behind_tls(redis_url, certificate) as port:
            trusting = f"rediss://:{password}@127.0.0.1:{port}/0?ssl_ca_certs={quote(str(certificate))}"
            async with an_adapter(trusting) as adapter:
                await works(adapter)
            async with an_adapter(f"rediss://:{password}@127.0.0.1:{port}/0") as adapter:
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.snapshot(new_id())
                with pytest.raises(BrokerUnavailable):
                    await adapter.generations.append(new_id(), new_id(), 1, 0, "x")
            async with an_adapter(f"redis://:{password}@127.0.0.1:{port}/0") as adapter:
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.snapshot(new_id())

    asyncio.run(scenario())


def test_after_a_failover_the_promoted_replica_is_used_and_is_another_epoch() -> None:
    """Architecture §7.1 and §7.15: availability is Sentinel; asynchronous replicas may have lost the tail."""

    async def scenario() -> None:
        async with watched() as servers, an_adapter(servers.url) as adapter:
            await works(adapter)
            listener = Listener()
            listener.hear(adapter)
            start = await begun(adapter)
            await adapter.subscription.subscribe(start.user)
            await adapter.generations.append(start.user, start.generation, 1, 0, "before ")
            before = (await adapter.broker.snapshot(start.user)).head
            await replicated(servers.primary)
            await servers.primary.kill()
            with pytest.raises(BrokerUnavailable):
                await adapter.broker.snapshot(start.user)
            async with asyncio.timeout(20):
                await appended_at_last(adapter, start, 7, "after")
            await eventually(lambda: listener.gaps > 0 and adapter.subscription.connected)
            assert await at_last(lambda: held_text(adapter, start)) == "before after"
            after = (await at_last(lambda: adapter.broker.snapshot(start.user))).head
            assert after.epoch != before.epoch
            assert await at_last(lambda: adapter.broker.read_log(start.user, before)) is None
            await works(adapter)
            # The old primary comes back and is a replica: nobody writes to it.
            await servers.primary.start()
            await works(adapter)

    asyncio.run(scenario())


async def replicated(primary: Valkey) -> None:
    async with a_client(primary.url) as client:
        assert await client.execute_command("WAIT", 1, 10_000) == 1


def test_one_sentinel_that_is_away_does_not_keep_the_others_from_being_asked() -> None:
    async def scenario() -> None:
        async with watched() as servers, silent_server() as silent:
            url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:1,127.0.0.1:{silent},127.0.0.1:{servers.sentinel.port}/mine"
            async with an_adapter(url) as adapter:
                await works(adapter)
            async with an_adapter(f"redis+sentinel://:{PASSWORD}@127.0.0.1:1/mine") as adapter:
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.snapshot(new_id())
            async with an_adapter(servers.url.replace("/mine", "/another")) as adapter:
                with pytest.raises(BrokerUnavailable):
                    await adapter.broker.snapshot(new_id())

    asyncio.run(scenario())


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """The port of somebody who accepts and never says a word."""
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in callers:
            writer.close()
