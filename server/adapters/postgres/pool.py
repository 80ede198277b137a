"""Connection pools, one per role: users' work as `chat_service`, the house's own as `chat_system`.

The role is a start-up parameter of every connection, so it is also what RESET ROLE and RESET ALL go back to;
a URL of an owner or a superuser does not change what the service may see. The schema is the only one in
`search_path`. A proxy between here and the database must keep sessions (pgbouncer in transaction mode does
not), and a connection that arrives as another role is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg

from server.adapters.postgres.connecting import outages
from server.adapters.postgres.quoting import identifier
from server.adapters.postgres.roles import SERVICE, SYSTEM
from server.conversations.store import StoreUnavailable

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_SYSTEM_CONNECTIONS = 2
_GRACE_SECONDS = 1.0
_REPLICA_SECONDS = 1.0
_REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)


class RoleRefused(Exception):  # noqa: N818 - a state of the world, named as one
    """The login may not work as the service's role, or arrived as another one: run the migrations' grants."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Connections in all, and how long (seconds) things may take.

    Two of the connections are the house's own, so that its work goes on when users' work has taken the rest.
    """

    min_size: int = 5
    max_size: int = 20
    connect_seconds: float = 5.0
    acquire_seconds: float = 3.0
    statement_seconds: float = 5.0


class RolePool:
    """Connections that work as one role."""

    def __init__(
        self, url: str, *, role: str, schema: str, sizes: tuple[int, int], limits: PoolLimits, durable: bool
    ) -> None:
        self._url = url
        self._role = role
        self._schema = schema
        self._sizes = sizes
        self._limits = limits
        self._durable = durable
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            RoleRefused: the login may not become the role, or there is no such role.
            StoreUnavailable: the database cannot be reached.
        """
        least, most = self._sizes
        try:
            with outages():
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=least,
                    max_size=most,
                    timeout=self._limits.connect_seconds,
                    command_timeout=self._limits.statement_seconds + _GRACE_SECONDS,
                    init=self._check_role,
                    server_settings=self._server_settings(),
                )
        except _REFUSED as error:
            raise RoleRefused(f"the login cannot work as {self._role}: {error}") from error

    async def close(self) -> None:
        """Close every connection; calls under way are given a moment."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            with outages():
                await pool.close()
        except StoreUnavailable:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for several statements.

        Raises:
            StoreUnavailable: none is to be had in time, or the database went away meanwhile.
        """
        pool = self._pool
        if pool is None:
            raise StoreUnavailable("the pool is not open")
        with outages():
            try:
                connection = await pool.acquire(timeout=self._limits.acquire_seconds)
            except (*_REFUSED, RoleRefused) as error:
                # what was granted at the start has been taken away since
                raise StoreUnavailable(f"the login cannot work as {self._role} any more: {error}") from error
            try:
                yield connection
            finally:
                await pool.release(connection)

    async def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row, or `None`: one statement, one transaction, one round trip."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *arguments, timeout=self._patience)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows: one statement, one transaction, one round trip."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments, timeout=self._patience)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction; committed at the end, rolled back on any error."""
        async with self._began("BEGIN") as connection:
            yield connection

    @asynccontextmanager
    async def acting_for(self, user_id: str, *, readonly: bool = False) -> AsyncIterator[Connection]:
        """A transaction that sees this user's rows; committed at the end, rolled back on any error."""
        # a UUID has nothing in it that could end the literal
        setting = f"SELECT set_config('app.current_user_id', '{UUID(user_id)}', true)"
        async with self._began(f"BEGIN{' READ ONLY' if readonly else ''}; {setting}") as connection:
            yield connection

    @asynccontextmanager
    async def _began(self, begin: str) -> AsyncIterator[Connection]:
        async with self.connection() as connection:
            await connection.execute(begin, timeout=self._patience)
            try:
                yield connection
            except BaseException:
                await _roll_back(connection, self._patience)
                raise
            await connection.execute("COMMIT", timeout=self._patience)

    @property
    def _patience(self) -> float:
        """Seconds to wait for an answer: the server's own limit speaks first, where it can speak."""
        return self._limits.statement_seconds + _GRACE_SECONDS

    def _server_settings(self) -> dict[str, str]:
        milliseconds = str(int(self._limits.statement_seconds * 1000))
        settings = {
            "application_name": f"chat {self._role}",
            "role": self._role,
            "search_path": f"{identifier(self._schema)}, pg_temp",
            "timezone": "UTC",
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": str(int(milliseconds) * 2),
            # short statements over many partitions: compiling them costs more than running them
            "jit": "off",
        }
        if not self._durable:
            settings["synchronous_commit"] = "off"
        return settings

    async def _check_role(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        arrived = await connection.fetchval("SELECT current_user::text")
        if arrived != self._role:
            raise RoleRefused(f"the connection works as {arrived}, not as {self._role}")


class Database:
    """The pools. `read_url` is a replica's, connected when it is first used: its absence holds up nobody."""

    def __init__(
        self,
        url: str,
        *,
        schema: str = "chat",
        limits: PoolLimits | None = None,
        read_url: str | None = None,
    ) -> None:
        limits = limits or PoolLimits()
        own = min(_SYSTEM_CONNECTIONS, max(1, limits.max_size - 1))
        most = max(1, limits.max_size - own)
        self.service = RolePool(
            url,
            role=SERVICE,
            schema=schema,
            # one at least, to learn at the start what the login may do
            sizes=(min(max(1, limits.min_size), most), most),
            limits=limits,
            durable=True,
        )
        # what a crash takes back of the house's own work is claimed and done again
        self.system = RolePool(
            url,
            role=SYSTEM,
            schema=schema,
            sizes=(1, own),
            limits=limits,
            durable=False,
        )
        # the primary can answer too, so nobody waits long for the replica
        brief = replace(
            limits,
            connect_seconds=min(limits.connect_seconds, _REPLICA_SECONDS),
            acquire_seconds=min(limits.acquire_seconds, _REPLICA_SECONDS),
        )
        self.replica = (
            None
            if read_url is None
            else RolePool(read_url, role=SERVICE, schema=schema, sizes=(0, most), limits=brief, durable=True)
        )

    async def open(self) -> None:
        """Connect the primary's.

        Raises:
            RoleRefused, StoreUnavailable
        """
        try:
            await self.service.open()
            await self.system.open()
            if self.replica is not None:
                await self.replica.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all."""
        for pool in (self.service, self.system, self.replica):
            if pool is not None:
                await pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _roll_back(connection: Connection, patience: float) -> None:
    """Roll back, or give the connection up: it never returns to the pool inside a transaction."""
    try:
        await connection.execute("ROLLBACK", timeout=patience)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()  # what went wrong before is what is told
    except BaseException:
        connection.terminate()
        raise
