"""A single connection for the owner's work, and what it means when the database cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from server.conversations.store import StoreUnavailable

_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InsufficientResourcesError,  # class 53: connections, disk, memory
    asyncpg.OperatorInterventionError,  # class 57: shutdown, cancelled by a timeout
    asyncpg.PostgresSystemError,  # class 58: I/O errors of the server
    asyncpg.TransactionRollbackError,  # class 40: deadlock; nothing was done
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that was not promoted yet
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: a password that is being changed
    asyncpg.InvalidCatalogNameError,  # the database is not there (yet)
    OSError,
    TimeoutError,
    EOFError,
)


@contextmanager
def outages() -> Iterator[None]:
    """Turn every way the database can be away into `StoreUnavailable`.

    What is somebody's mistake (a value of the wrong type, a broken rule) passes through as it is.
    """
    try:
        yield
    except _UNAVAILABLE as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):
            raise  # a value the client library cannot send, or a setting it cannot use
        # closed connections and pools, lost in the middle of a call
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def admin_connection(
    url: str, *, connect_seconds: float = 10.0
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of the administrator's, closed at the end.

    Raises:
        StoreUnavailable: it cannot be had in time.
    """
    with outages():
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            url, timeout=connect_seconds, server_settings={"application_name": "chat migrations"}
        )
    try:
        yield connection
    finally:
        try:
            await asyncio.shield(connection.close(timeout=connect_seconds))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
