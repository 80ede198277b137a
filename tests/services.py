"""The real services the tests run against, and what to do where one cannot be had.

Each pytest process (each xdist worker) has a PostgreSQL and a Valkey of its own in a temporary
directory, so runs at the same time do not meet. A database costs a copy of a template in which the
migrations ran once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from server.embedded.services import EmbeddedError, EmbeddedServices

TEMPLATE = "chat_template"
_COMMAND_SECONDS = 60.0


class Database(NamedTuple):
    """The addresses of one database: the superuser's, and the plain login role's."""

    admin_url: str
    app_url: str


FreshDatabase = Callable[[], Database]
"""Makes a migrated, empty database and returns its addresses."""


def unavailable(name: str, reason: object) -> NoReturn:
    """Fail where everything must be there (CI), else skip, saying what is missing."""
    message = f"{name} cannot be had: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextlib.contextmanager
def private_directory(prefix: str) -> Iterator[Path]:
    """A temporary directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix=f"chat-{prefix}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running_services(*, postgres: bool = True, valkey: bool = True) -> Iterator[EmbeddedServices]:
    """Services of the caller's own, outside any event loop; skips or fails where there are none.

    A test of faults that is a coroutine itself uses `own_services`.
    """
    with private_directory("services") as directory:
        services = EmbeddedServices(directory, postgres=postgres, valkey=valkey, durable=False)
        try:
            asyncio.run(services.__aenter__())
        except EmbeddedError as error:
            unavailable("PostgreSQL and Valkey", error)
        try:
            yield services
        finally:
            asyncio.run(services.stop())


@contextlib.asynccontextmanager
async def own_services(*, postgres: bool = True, valkey: bool = True) -> AsyncIterator[EmbeddedServices]:
    """Services of one test's own, to stop, kill and pause without disturbing others (about 0.6 s)."""
    with private_directory("services") as directory:
        services = EmbeddedServices(directory, postgres=postgres, valkey=valkey, durable=False)
        try:
            await services.__aenter__()
        except EmbeddedError as error:
            unavailable("PostgreSQL and Valkey", error)
        try:
            yield services
        finally:
            await services.stop()


def with_database(url: str, name: str) -> str:
    """The same address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def make_template(services: EmbeddedServices) -> None:
    """A database with all migrations, to copy."""
    from server.adapters.postgres.migrate import migrate
    from server.adapters.postgres.roles import grant_login

    admin_url, app_url = both_urls(services)
    await _execute(admin_url, f"CREATE DATABASE {TEMPLATE}")
    await migrate(with_database(admin_url, TEMPLATE))
    # roles are the cluster's, so this holds for every copy
    await grant_login(with_database(admin_url, TEMPLATE), urlsplit(app_url).username or "")


async def copy_template(services: EmbeddedServices) -> Database:
    """A new database like the template."""
    name = f"test_{secrets.token_hex(6)}"
    admin_url, app_url = both_urls(services)
    await _execute(admin_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return Database(with_database(admin_url, name), with_database(app_url, name))


async def drop_database(database: Database) -> None:
    """Remove a database, whoever is still connected."""
    name = urlsplit(database.admin_url).path.lstrip("/")
    await _execute(with_database(database.admin_url, "postgres"), f"DROP DATABASE {name} WITH (FORCE)")


def both_urls(services: EmbeddedServices) -> Database:
    """The addresses of the services' first database."""
    urls = services.urls
    assert urls.database_admin_url is not None
    assert urls.database_url is not None
    return Database(urls.database_admin_url, urls.database_url)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=_COMMAND_SECONDS, command_timeout=_COMMAND_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
