"""The database's roles: made where they are missing, and given to the login the service connects with.

`chat_owner` owns schema, tables and functions. `chat_service` does users' work and `chat_system` the house's
own; both own nothing and cannot bypass row level security. None of them can log in.
"""

from __future__ import annotations

import asyncio

import asyncpg

from server.adapters.postgres.connecting import admin_connection
from server.adapters.postgres.migration_files import MigrationError
from server.adapters.postgres.queries import query
from server.adapters.postgres.quoting import identifier

OWNER = "chat_owner"
SERVICE = "chat_service"
SYSTEM = "chat_system"

_TRIES = 20
_PAUSE_SECONDS = 0.1


async def ensure_roles(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Create what is missing and let the connected login become each of them.

    Raises:
        MigrationError: the login may not create roles, or a role could bypass row level security.
    """
    try:
        await _insist(connection, query("ensure_roles"))
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"the roles {OWNER}, {SERVICE} and {SYSTEM} are missing, or not this login's to become,"
            " and it may not create or grant them; give it CREATEROLE, or create and grant them beforehand"
        ) from error
    except asyncpg.InvalidRoleSpecificationError as error:
        raise MigrationError(str(error)) from error


async def grant_login(admin_url: str, login_role: str) -> None:
    """Let `login_role` become the two roles the service works as. Idempotent.

    Raises:
        MigrationError: there is no such login, or the administrator may not grant.
        StoreUnavailable: the database cannot be reached.
    """
    async with admin_connection(admin_url) as connection:
        await ensure_roles(connection)
        try:
            await _insist(connection, query("grant_login").replace("{login}", identifier(login_role)))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError) as error:
            raise MigrationError(
                f"{SERVICE} and {SYSTEM} cannot be granted to {login_role}: {error}"
            ) from error


async def _insist(connection: asyncpg.Connection[asyncpg.Record], statement: str) -> None:
    """Carry out a statement on the cluster's catalogue, which other databases' sessions change too.

    PostgreSQL answers that with errors of several kinds instead of waiting, and advisory locks do not reach
    over databases.
    """
    for left in range(_TRIES, -1, -1):
        try:
            await connection.execute(statement)
        except (
            asyncpg.DuplicateObjectError,
            asyncpg.UniqueViolationError,
            asyncpg.DeadlockDetectedError,
            asyncpg.SerializationError,
            asyncpg.InternalServerError,  # "tuple concurrently updated"
        ):
            if not left:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
