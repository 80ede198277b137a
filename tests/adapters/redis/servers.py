"""Servers beyond a single one: behind TLS, with a replica and sentinels, as a cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from server.embedded.ports import free_port
from server.embedded.valkey import Valkey
from tests.adapters.redis.support import a_client, answered
from tests.services import private_directory

PASSWORD = "shared-by-all-of-them"

# A key and a certificate for 127.0.0.1, valid until 2120; they protect nothing.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVNxbl3+cKGV27uxp
pBlkU0m+X5o+/Vj/61f96VgzGnehRANCAAR3CfirfGnBQArjJ3fPWp3ZSVBN4OPn
W16Z6FHHBQJmC79XDgSY9gv1xbqS78ETZGagfQ1KBoZ5ljTvpZYI5xGH
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBrjCCAVOgAwIBAgIBATAKBggqhkjOPQQDAjAkMSIwIAYDVQQDDBlsb29wYmFj
aywgZm9yIHRlc3RzIGFsb25lMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAw
MDAwWjAkMSIwIAYDVQQDDBlsb29wYmFjaywgZm9yIHRlc3RzIGFsb25lMFkwEwYH
KoZIzj0CAQYIKoZIzj0DAQcDQgAEdwn4q3xpwUAK4yd3z1qd2UlQTeDj51temehR
xwUCZgu/Vw4EmPYL9cW6ku/BE2RmoH0NSgaGeZY076WWCOcRh6N0MHIwDwYDVR0R
BAgwBocEfwAAATAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBhjAdBgNV
HQ4EFgQUUdaBrSJFyt39k2NYOjPJLkKs8rEwHwYDVR0jBBgwFoAUUdaBrSJFyt39
k2NYOjPJLkKs8rEwCgYIKoZIzj0EAwIDSQAwRgIhAOAthrbcRLumjt3EiUjTseeg
Lh+Hsn0t2GMF5qm/19aJAiEAxCjO7gmC39XsdiQ9RcOSe0lDVL78p0GxXSg6uGwp
pHY=
-----END CERTIFICATE-----
"""


@asynccontextmanager
async def behind_tls(url: str, certificate: Path) -> AsyncIterator[int]:
    """A port where TLS is spoken, with the server of `url` behind it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    target = urlsplit(url)
    copying: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(target.hostname, target.port)
        for one, other in ((reader, inner_writer), (inner_reader, writer)):
            copying.add(asyncio.ensure_future(copy(one, other)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for each in copying:
            each.cancel()
        await asyncio.gather(*copying, return_exceptions=True)


class Sentinel(Valkey):
    """A sentinel: the same binary in another role. Its file is its memory, so it is written once."""

    name: ClassVar[str] = "Sentinel"

    def _command(self, port: int) -> list[str | Path]:
        command = super()._command(port)
        return [*command, "--sentinel"]

    def _configuration(self, port: int) -> dict[str, str]:
        # `requirepass` of a sentinel is what its clients say; ours ask without.
        kept = super()._configuration(port)
        return {name: kept[name] for name in ("bind", "port", "dir")}

    async def _answers(self, port: int) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True


@dataclass
class Watched:
    """A primary, its replica and a sentinel."""

    primary: Valkey
    replica: Valkey
    sentinel: Sentinel

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{PASSWORD}@127.0.0.1:{self.sentinel.port}/mine"


@asynccontextmanager
async def running(
    directory: Path,
    name: str,
    kind: type[Valkey] = Valkey,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Any]:
    server = kind(directory / name, password=PASSWORD, durable=False, settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    """A primary with a replica that takes over as soon as a sentinel misses the primary for a second."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(private_directory("watched"))
        primary = await stack.enter_async_context(
            running(directory, "primary", settings={"masterauth": PASSWORD, "repl-diskless-sync-delay": "0"})
        )
        replica = await stack.enter_async_context(
            running(
                directory,
                "replica",
                settings={
                    "masterauth": PASSWORD,
                    "replicaof": f"127.0.0.1 {primary.port}",
                    "repl-diskless-sync-delay": "0",
                },
            )
        )
        sentinel = await stack.enter_async_context(running(directory, "sentinel", Sentinel))
        async with a_client(f"redis://127.0.0.1:{sentinel.port}") as client:
            await client.execute_command("SENTINEL", "MONITOR", "mine", "127.0.0.1", primary.port, 1)
            for option, value in (
                ("auth-pass", PASSWORD),
                ("down-after-milliseconds", "1000"),
                ("failover-timeout", "2000"),
            ):
                await client.execute_command("SENTINEL", "SET", "mine", option, value)

            async def known() -> bool:
                replicas = await client.execute_command("SENTINEL", "REPLICAS", "mine")
                return any(b"master-link-status" in each for each in replicas) and b"ok" in replicas[0]

            await answered(known, "the sentinel knows the replica")
        yield Watched(primary, replica, sentinel)


@dataclass
class Cluster:
    """Several servers, each with its share of the slots."""

    servers: list[Valkey]

    @property
    def url(self) -> str:
        return f"redis+cluster://:{PASSWORD}@127.0.0.1:{self.servers[0].port}"

    async def complete(self) -> None:
        """Wait until every server knows all of them and is content."""
        for server in self.servers:
            async with a_client(server.url) as client:

                async def content(client: Any = client) -> bool:
                    masters = {
                        nodes[0][1] for _, _, *nodes in await client.execute_command("CLUSTER", "SLOTS")
                    }
                    info = await client.execute_command("CLUSTER", "INFO")
                    return len(masters) == len(self.servers) and b"cluster_state:ok" in info

                await answered(content, "the servers know one another")

    async def ids(self) -> list[bytes]:
        """The servers' names among themselves."""
        names = []
        for server in self.servers:
            async with a_client(server.url) as client:
                names.append(await client.execute_command("CLUSTER", "MYID"))
        return names

    async def number_of(self, key: str) -> int:
        """Which of the servers has a key."""
        slot = await self.slot_of(key)
        for number, server in enumerate(self.servers):
            async with a_client(server.url) as client:
                for first, last, *nodes in await client.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last and nodes[0][1] == server.port:
                        return number
        raise AssertionError("nobody has it")

    async def slot_of(self, key: str) -> int:
        async with a_client(self.servers[0].url) as client:
            return int(await client.execute_command("CLUSTER", "KEYSLOT", key))

    async def move(self, key: str, to: int) -> None:
        """Give a key's slot, and all that is in it, to another server."""
        slot, names, old = await self.slot_of(key), await self.ids(), await self.number_of(key)
        async with a_client(self.servers[old].url) as source, a_client(self.servers[to].url) as target:
            await target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
            await source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[to])
            while keys := await source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                await source.execute_command(
                    *("MIGRATE", "127.0.0.1", self.servers[to].port, "", 0, 5000, "AUTH", PASSWORD, "KEYS"),
                    *keys,
                )
            for client in (target, source):
                await client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[to])


@asynccontextmanager
async def a_cluster(count: int = 3) -> AsyncIterator[Cluster]:
    """So many servers that share the slots, and know one another."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(private_directory("cluster"))
        buses = [free_port() for _ in range(count)]
        servers = [
            await stack.enter_async_context(
                running(
                    directory,
                    f"server-{number}",
                    settings={
                        "masterauth": PASSWORD,
                        "cluster-enabled": "yes",
                        "cluster-port": str(bus),
                        "cluster-node-timeout": "1500",
                        "cluster-require-full-coverage": "no",
                    },
                )
            )
            for number, bus in enumerate(buses)
        ]
        share = 16384 // count
        for number, server in enumerate(servers):
            async with a_client(server.url) as client:
                last = 16383 if number == count - 1 else (number + 1) * share - 1
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                await client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, buses[0])
        cluster = Cluster(servers)
        await cluster.complete()
        yield cluster
