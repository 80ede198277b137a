"""From a URL to connections: one server, one watched by sentinels, or a cluster.

* `redis://`, `rediss://` and `unix://` name a server
* `redis+sentinel://host:port,host2:port/name` a primary that sentinels watch; user and password are the
  primary's, and so are `?db=1` and `?tls=true`
* `redis+cluster://` any node of a cluster
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
MAX_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how to be let in. `path` is a Unix socket, used instead of host and port."""

    host: str
    port: int
    path: str = ""
    username: str = ""
    password: str = ""
    db: int = 0
    tls: ssl.SSLContext | None = None


class Connections:
    """The clients for one URL. Making it connects nothing, so the server may be away.

    Raises:
        ValueError: the URL is not one of the forms above.
    """

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme
        self.sharded = scheme == "redis+cluster"
        self._sentinel: Sentinel | None = None
        self._service = ""
        self.client: Redis | RedisCluster
        if scheme == "redis+sentinel":
            self._watch(url)
        elif self.sharded:
            plain = "redis" + url.removeprefix("redis+cluster")
            self._endpoint = _endpoint(plain)
            self.client = RedisCluster.from_url(plain, **_options())
        elif scheme in {"redis", "rediss", "unix"}:
            self._endpoint = _endpoint(url)
            pool = BlockingConnectionPool.from_url(
                url, max_connections=MAX_CONNECTIONS, timeout=CALL_SECONDS, **_options()
            )
            self.client = Redis.from_pool(pool)
        else:
            raise ValueError(
                "a Redis URL begins with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            )

    def _watch(self, url: str) -> None:
        parts = urlsplit(url)
        self._service = unquote(parts.path.strip("/"))
        credentials, _, hosts = parts.netloc.rpartition("@")
        if not self._service or not hosts:
            raise ValueError("a sentinel URL is redis+sentinel://host:port,host2:port/name")
        options = dict(parse_qsl(parts.query))
        query = urlencode({name: value for name, value in options.items() if name != "db"})
        secret = f"{credentials}@" if credentials else ""
        scheme = "rediss" if options.pop("tls", "") in {"1", "true"} else "redis"
        # Host and port are the sentinels' to say; the rest of an endpoint is read as from a plain URL.
        self._endpoint = _endpoint(f"{scheme}://{secret}primary/{options.get('db', '0')}?{query}")
        sentinels = [_host_port(each, 26379) for each in hosts.split(",")]
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            sentinels,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            sentinel_kwargs={"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS},
        )
        self.client = self._sentinel.master_for(
            self._service,
            username=self._endpoint.username or None,
            password=self._endpoint.password or None,
            db=self._endpoint.db,
            # This pool cannot wait; so many are never in use at once.
            max_connections=1024,
            ssl=self._endpoint.tls is not None,
            **_options(),
        )

    async def endpoint(self, key: str = "") -> Endpoint:
        """Where `key` lives now; asks the sentinels or the cluster's map.

        Raises:
            OSError, RedisError: nobody knows.
        """
        if self._sentinel is not None:
            host, port = await self._sentinel.discover_master(self._service)
            return replace(self._endpoint, host=str(host), port=int(port))
        if isinstance(self.client, RedisCluster):
            await self.client.initialize()
            node = self.client.get_node_from_key(key)
            if node is None:
                raise ConnectionError("no server of the cluster has this slot")
            return replace(self._endpoint, host=str(node.host), port=int(node.port))
        return self._endpoint

    async def reachable(self) -> bool:
        """Whether the server answers within a second or two."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answer: Any = self.client.ping()
                return bool(await answer)
        except (RedisError, OSError):
            return False

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def _options() -> dict[str, Any]:
    return {
        # A verb asked again is the caller's affair, who knows what it means; the library must not.
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_SECONDS,
        # Whoever calls has a deadline. One more here would be a task for every command, and before
        # Python 3.12 `wait_for` forgets a cancellation that comes just as the command has gone out.
        "socket_timeout": None,
        "protocol": 2,
    }


def _endpoint(url: str) -> Endpoint:
    options = dict(parse_url(url))
    tls = None
    if options.pop("connection_class", None) is SSLConnection:
        # The library reads the TLS options of a URL; its context is used as it is.
        secure: dict[str, Any] = {name: value for name, value in options.items() if name.startswith("ssl_")}
        tls = SSLConnection(**secure).ssl_context.get()
    return Endpoint(
        host=str(options.get("host", "localhost")),
        port=int(str(options.get("port", 6379))),
        path=str(options.get("path", "")),
        username=str(options.get("username", "")),
        password=str(options.get("password", "")),
        db=int(str(options.get("db", 0))),
        tls=tls,
    )


def _host_port(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    return (host, int(number)) if colon else (text, port)
