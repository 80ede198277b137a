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
    """A primary with a replica that takes over as soon as a sentinel misses the primary for half a second."""
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
                ("down-after-milliseconds", "500"),
                ("failover-timeout", "2000"),
            ):
                await client.execute_command("SENTINEL", "SET", "mine", option, value)

            async def known() -> bool:
                replicas = await client.execute_command("SENTINEL", "REPLICAS", "mine")
                return any(b"master-link-status" in each for each in replicas) and b"ok" in replicas[0]

            await answered(known, "the sentinel knows the replica")
        yield Watched(primary, replica, sentinel)
