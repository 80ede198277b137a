"""Migrations: `migrations/*.sql` carried out in order, once, however many nodes start at the same time.

The files are in dbmate's format and the record of what ran is dbmate's table, so its command may be used on
the same database (`--migrations-table chat.schema_migrations` and `search_path=chat` in its URL).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg

from server.adapters.postgres.connecting import admin_connection
from server.adapters.postgres.migration_files import Migration, MigrationError, in_order, pending
from server.adapters.postgres.queries import query
from server.adapters.postgres.quoting import identifier, literal
from server.adapters.postgres.roles import OWNER, ensure_roles

DEFAULT_DIRECTORY = Path(__file__).parents[3] / "migrations"
DEFAULT_SCHEMA = "chat"

_LOCK_POLL_SECONDS = 0.2
_LOCK_TIMEOUT = "5s"
_LOCK_TRIES = 6
_STATEMENT_SECONDS = 600.0

_log = logging.getLogger(__name__)

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def migrate(
    admin_url: str,
    *,
    schema: str = DEFAULT_SCHEMA,
    directory: Path = DEFAULT_DIRECTORY,
    wait_seconds: float = 120.0,
) -> list[str]:
    """Carry out what has not run yet; the names of the files, in order.

    Of several that call this at once one works and the others wait, up to `wait_seconds`.

    Raises:
        MigrationError: a file is not one, has changed since it ran, or fails; what went before it is kept.
        StoreUnavailable: the database cannot be reached.
    """
    migrations = _read(directory)
    done = []
    async with _migrating(admin_url, schema, wait_seconds) as connection:
        for migration in pending(migrations, await _applied(connection, schema)):
            await _run(connection, schema, migration, up=True)
            _log.info("migration applied", extra={"migration": migration.name})
            done.append(migration.name)
    return done


async def rollback(
    admin_url: str,
    *,
    steps: int = 1,
    schema: str = DEFAULT_SCHEMA,
    directory: Path = DEFAULT_DIRECTORY,
    wait_seconds: float = 120.0,
) -> list[str]:
    """Take back the newest `steps` migrations that ran; the names of the files, in the order taken back.

    Raises:
        MigrationError: one that ran has no file here, or its way back fails.
        StoreUnavailable: the database cannot be reached.
    """
    migrations = {migration.version: migration for migration in _read(directory)}
    done = []
    async with _migrating(admin_url, schema, wait_seconds) as connection:
        applied = sorted(await _applied(connection, schema), key=lambda version: (int(version), version))
        for version in reversed(applied[max(0, len(applied) - steps) :]):
            if version not in migrations:
                raise MigrationError(f"version {version} ran here, but its file is not in {directory}")
            await _run(connection, schema, migrations[version], up=False)
            _log.info("migration taken back", extra={"migration": migrations[version].name})
            done.append(migrations[version].name)
    return done


def _read(directory: Path) -> list[Migration]:
    files = [(path.name, path.read_text(encoding="utf-8")) for path in directory.glob("*.sql")]
    if not files:
        raise MigrationError(f"no migrations in {directory}")
    return in_order(files)


@asynccontextmanager
async def _migrating(admin_url: str, schema: str, wait_seconds: float) -> AsyncIterator[_Connection]:
    """A connection that is alone with the schema's migrations; roles, schema and record are there."""
    quoted = identifier(schema)
    async with admin_connection(admin_url) as connection:
        await ensure_roles(connection)
        await _take_lock(connection, schema, wait_seconds)
        try:
            await connection.execute(query("refer_to_users"))
            async with connection.transaction():
                await connection.execute(
                    query("ensure_schema")
                    .replace("{schema_name}", literal(schema))
                    .replace("{schema}", quoted)
                )
        except asyncpg.PostgresError as error:
            raise MigrationError(f"the schema {schema} cannot be made ready: {error}") from error
        yield connection
        # closing the connection releases the lock


async def _take_lock(connection: _Connection, schema: str, wait_seconds: float) -> None:
    """Ask for the lock until it is there.

    Waiting inside PostgreSQL would be a deadlock with CREATE INDEX CONCURRENTLY in a migration of the
    holder's: it waits for every older transaction, and the wait for a lock is one.
    """
    deadline = time.monotonic() + wait_seconds
    while not await connection.fetchval(
        "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", f"migrations of {schema}"
    ):
        if time.monotonic() >= deadline:
            raise MigrationError(f"another process has been migrating for {wait_seconds:.0f} s")
        await asyncio.sleep(_LOCK_POLL_SECONDS)


async def _applied(connection: _Connection, schema: str) -> dict[str, str | None]:
    rows = await connection.fetch(query("applied_migrations").replace("{schema}", identifier(schema)))
    return {row["version"]: row["sha256"] for row in rows}


async def _run(connection: _Connection, schema: str, migration: Migration, *, up: bool) -> None:
    """One part of one file as the owner, and its record; tried again when others hold a lock for long."""
    transaction = migration.transaction if up else migration.down_transaction
    for left in range(_LOCK_TRIES - 1, -1, -1):
        try:
            if transaction:
                async with connection.transaction():
                    await _steps(connection, schema, migration, up=up)
            else:
                await _steps(connection, schema, migration, up=up)
        except asyncpg.LockNotAvailableError as error:
            if not left:
                raise MigrationError(f"{migration.name}: {error}") from error
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{migration.name}: {error}") from error
        else:
            return


async def _steps(connection: _Connection, schema: str, migration: Migration, *, up: bool) -> None:
    quoted = identifier(schema)
    await connection.execute(
        f"SET ROLE {OWNER}; SET search_path = {quoted}, pg_temp; SET lock_timeout = '{_LOCK_TIMEOUT}'"
    )
    statements = migration.up if up else migration.down
    if statements:
        await connection.execute(statements, timeout=_STATEMENT_SECONDS)
    if up:
        await connection.execute(
            query("record_migration"), migration.version, migration.name, migration.sha256
        )
    else:
        await connection.execute(query("forget_migration"), migration.version)
