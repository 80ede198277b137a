"""The commands: `python -m server [run | services | migrate | check | token | rotate-keys]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from server import logs
from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.migration_files import MigrationError
from server.adapters.postgres.pool import Database, RoleRefused
from server.adapters.postgres.rotation import PostgresKeyRotation
from server.app import (
    listen,
    missing_neighbours,
    neighbourhood,
    prepare_database,
    serve,
    surroundings,
)
from server.assembly import VERSION, Surroundings, content_cipher
from server.check import reach_all
from server.conversations.store import StoreUnavailable
from server.embedded.errors import EmbeddedError
from server.embedded.neighbours.process import URLS
from server.embedded.services import secret
from server.gateway.auth import canonical_uuid, mint
from server.settings import Settings, SettingsError, load

_USAGE = 2
_FAILED = 1
_TOKEN_SECONDS = 3600


def main() -> None:
    """Parse the command line and do it; exits with the command's code."""
    parser = argparse.ArgumentParser(prog="python -m server", description="The ATMA chat server.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="one node; what is not configured runs embedded")
    commands.add_parser("services", help="only the embedded services, for several nodes to share")
    commands.add_parser("migrate", help="bring the database up to date")
    commands.add_parser("check", help="configuration, and whether each dependency can be reached")
    commands.add_parser("rotate-keys", help="seal all content with the newest of CONTENT_ENCRYPTION_KEYS")
    token = commands.add_parser("token", help="a signed token for development")
    token.add_argument("--user", required=True, metavar="UUID")
    token.add_argument("--ttl", type=int, default=_TOKEN_SECONDS, metavar="SECONDS")
    options = parser.parse_args()
    try:
        settings = load()
    except SettingsError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        sys.exit(_USAGE)
    if options.command == "token":
        try:
            sys.exit(_token(settings, options.user, options.ttl))
        except EmbeddedError as error:
            print(f"EMBEDDED_DATA_DIR: {error}", file=sys.stderr)
            sys.exit(_USAGE)
    command = {
        "services": _services,
        "migrate": _migrate,
        "check": _check,
        "rotate-keys": _rotate_keys,
    }.get(options.command, _run)
    sys.exit(_in_loop(command(settings)))


def _in_loop(command: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        runner: Any = asyncio.run
    else:
        runner = uvloop.run
    try:
        return int(runner(command))
    except (EmbeddedError, MigrationError, StoreUnavailable, RoleRefused, ValueError, OSError) as error:
        print(f"{_kind(error)}: {error}", file=sys.stderr)
        return _USAGE if isinstance(error, EmbeddedError | ValueError) else _FAILED
    except KeyboardInterrupt:
        return 130


def _kind(error: Exception) -> str:
    if isinstance(error, StoreUnavailable):
        return "the database cannot be reached"
    return "the server cannot start"


async def _run(settings: Settings) -> int:
    logs.configure(level=settings.log_level, form=settings.log_format, file=settings.log_file)
    try:
        sock = listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"HOST, PORT: cannot listen at {settings.host}:{settings.port}: {why}", file=sys.stderr)
        return _USAGE
    with contextlib.closing(sock):
        async with (
            surroundings(settings) as (around, admin_url),
            neighbourhood(settings, around) as complete,
        ):
            await prepare_database(settings, around, admin_url)
            # what is here for good is not looked through again
            gc.collect()
            gc.freeze()
            await serve(complete, around, sock, started=lambda: _say(settings, sock.getsockname()[1]))
    return 0


def _say(settings: Settings, port: int) -> None:
    host = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    kept = settings.embedded_data_dir
    lines = {
        "PostgreSQL": "configured" if settings.database else f"embedded, data in {kept}",
        "Redis": "configured" if settings.redis_url else f"embedded Valkey, data in {kept}",
        "OpenRouter": settings.openrouter_base_url
        if settings.openrouter_keys
        else "simulated: set OPENROUTER_API_KEY to ask real models",
        "RabbitMQ": "configured" if settings.rabbitmq_url else "none: assessment events come by REST only",
        "neighbours": _who_is_next_door(settings),
    }
    print(f"ATMA chat server {VERSION}")
    for name, what in lines.items():
        print(f"  {name:<12}{what}")
    page = f"{where}/" if settings.app_env == "development" else f"{where}/health"
    print(f"ready: {page}", flush=True)


def _who_is_next_door(settings: Settings) -> str:
    """The neighbours in a line: which are configured, which are stood in for."""
    missing = [name.partition("_")[0].lower() for name in missing_neighbours(settings)]
    if not missing:
        return "configured" if settings.archive_service_url else "none"
    if len(missing) == len(URLS):
        return "stand-ins for auth, assessment, archive and notification service"
    return f"configured, but for stand-ins: {', '.join(missing)}"


async def _services(settings: Settings) -> int:
    logs.configure(level=settings.log_level, form=settings.log_format, file=settings.log_file)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        surroundings(settings) as (around, admin_url),
        neighbourhood(settings, around) as complete,
    ):
        await prepare_database(settings, around, admin_url)
        neighbours = {name: getattr(complete, name.lower()) for name in URLS}
        for name, value in {**_environment(around, admin_url), **neighbours}.items():
            print(f"{name}={value}")
        print("ready", flush=True)
        await stop.wait()
    return 0


def _environment(around: Surroundings, admin_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": around.database_url,
        "DATABASE_ADMIN_URL": admin_url,
        "REDIS_URL": around.redis_url,
        "JWT_SECRET": around.jwt_secret,
        "INTERNAL_SERVICE_KEY": around.internal_key,
        "OPENROUTER_BASE_URL": around.openrouter_base_url,
        "OPENROUTER_API_KEY": ",".join(around.openrouter_keys),
    }


async def _migrate(settings: Settings) -> int:
    admin_url = settings.database_admin_url
    url = admin_url.get_secret_value() if admin_url else settings.database
    if not url:
        print(
            "DATABASE_URL (or DB_HOST, or DATABASE_ADMIN_URL) is not set: nothing to migrate", file=sys.stderr
        )
        return _USAGE
    done = await migrate(url, schema=settings.db_schema)
    for name in done:
        print(f"applied {name}")
    print("the database is up to date")
    return 0


async def _rotate_keys(settings: Settings) -> int:
    cipher = content_cipher(settings)
    if cipher is None or not settings.database:
        print("CONTENT_ENCRYPTION_KEYS and DATABASE_URL (or DB_HOST) must be set", file=sys.stderr)
        return _USAGE
    rotated = 0
    async with Database(settings.database, schema=settings.db_schema) as database:
        rotation = PostgresKeyRotation(database, cipher)
        while done := await rotation.rotate():
            rotated += done
    print(f"{rotated} rows are sealed with the newest key now")
    return 0


async def _check(settings: Settings) -> int:
    async with surroundings(settings) as (around, admin_url):
        results = await reach_all(settings, around, admin_url)
    for name, problem in results.items():
        print(f"{name:<14}{problem or 'ok'}")
    return _FAILED if any(results.values()) else 0


def _token(settings: Settings, user: str, seconds: int) -> int:
    if settings.app_env == "production":
        print("tokens are not made in production: the auth service issues them", file=sys.stderr)
        return _USAGE
    known = canonical_uuid(user)
    if known is None or seconds <= 0:
        print("--user must be a UUID and --ttl a positive number of seconds", file=sys.stderr)
        return _USAGE
    held = settings.jwt_secret
    key = held.get_secret_value() if held else secret(settings.embedded_data_dir, "jwt_secret")
    print(mint(key, known, now=time.time(), seconds=seconds))
    return 0


if __name__ == "__main__":
    main()
