"""From a URL to connections: one server, one watched by sentinels, or a cluster."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from server.adapters.redis import address
from server.adapters.redis.address import Address, Endpoint

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
MAX_CONNECTIONS = 64


class Connections:
    """The clients for one URL. Making it connects nothing, so the server may be away.

    Raises:
        ValueError: the URL is not one of the forms in `address`.
    """

    def __init__(self, url: str) -> None:
        self._address = address.read(url)
        self.sharded = self._address.cluster
        self._sentinel: _Sentinels | None = None
        self.client: Redis | RedisCluster
        if self.sharded:
            # These pools cannot wait; so many are never in use at once.
            self.client = RedisCluster.from_url(self._address.plain, max_connections=1024, **_options())
        elif self._address.sentinels:
            self._sentinel = _Sentinels(  # type: ignore[no-untyped-call]
                list(self._address.sentinels), sentinel_kwargs=_options()
            )
            self.client = _watched(self._sentinel, self._address)
        else:
            pool = BlockingConnectionPool.from_url(
                self._address.plain, max_connections=MAX_CONNECTIONS, timeout=CALL_SECONDS, **_options()
            )
            self.client = Redis.from_pool(pool)

    @property
    def known(self) -> Endpoint:
        """What the URL says of a server; where it is, sentinels or a cluster may know better."""
        return self._address.endpoint

    async def endpoint(self) -> Endpoint:
        """Where the server is now; asks the sentinels. In a cluster, where the URL says.

        Raises:
            OSError, RedisError: nobody knows.
        """
        if self._sentinel is None:
            return self.known
        host, port = await self._sentinel.discover_master(self._address.service)
        return replace(self.known, host=host, port=port)

    async def reachable(self) -> bool:
        """Whether the server answers within a second or two."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answer: Any = self.client.ping()
                return bool(await answer)
        except (RedisError, RedisClusterException, OSError):
            return False
        except RuntimeError as error:
            if not was_closed(error):
                raise
            return False

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def was_closed(error: RuntimeError) -> bool:
    """Whether this is what uvloop says of a connection that was reset since its last use.

    The library knows only what asyncio says there, which is an `OSError`.
    """
    return "the handler is closed" in str(error)


class _Sentinels(Sentinel):
    """Asks one sentinel after the other; one that is silent leaves time for the next."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the primary is.

        Raises:
            MasterNotFoundError: no sentinel that answers knows one that is up.
        """
        for place, sentinel in enumerate(self.sentinels):
            try:
                async with asyncio.timeout(CONNECT_SECONDS / 4):
                    masters: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError):
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels.insert(0, self.sentinels.pop(place))
                return str(state["ip"]), int(state["port"])
        raise MasterNotFoundError("no sentinel knows a primary of this name")


def _watched(sentinel: Sentinel, where: Address) -> Redis:
    told = {
        name: value
        for name, value in where.options.items()
        if name not in {"host", "port", "connection_class"}
    }
    client: Redis = sentinel.master_for(
        where.service,
        # This pool cannot wait; so many are never in use at once.
        max_connections=1024,
        ssl=where.endpoint.tls is not None,
        **{**_options(), **told},
    )
    return client


def _options() -> dict[str, Any]:
    return {
        # A verb asked again is the caller's affair, who knows what it means; the library must not.
        "retry": Retry(NoBackoff(), 0),
        # Whoever calls has a deadline. One more here would be a task for every command, and before
        # Python 3.12 `wait_for` forgets a cancellation that comes just as the command has gone out. And a
        # node that is busy with a thousand clients coming back takes its time to connect.
        "socket_connect_timeout": None,
        "socket_timeout": None,
        "protocol": 2,
    }
