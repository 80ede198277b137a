"""A node behind its door: the HTTP server, its signals, and the order of leaving.

uvicorn closes every socket at SIGTERM and dies of the signal. Here a signal begins to drain: the node is not
ready any more, clients are sent elsewhere, answers finish or are handed over; then the server ends, with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import uvicorn
from pydantic import SecretStr
from sse_starlette.sse import AppStatus

from server.adapters.postgres.migrate import migrate
from server.adapters.postgres.roles import grant_login
from server.assembly import Surroundings, build_node
from server.embedded.neighbours.process import URLS, running_neighbours
from server.embedded.openrouter.process import running_simulator
from server.embedded.services import EmbeddedServices, secret
from server.gateway.http import Http
from server.gateway.wire import Wire
from server.node import Node
from server.settings import Settings

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 2048
_LAST_SECONDS = 2


class ChatServer(uvicorn.Server):
    """uvicorn, with the signals in the node's hands."""

    def __init__(self, config: uvicorn.Config, node: Node, drain_seconds: float) -> None:
        super().__init__(config)
        self._node = node
        self._drain_seconds = drain_seconds
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals while serving."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._leave())
        else:
            # asked twice: at once, then
            self.should_exit = self.force_exit = True

    async def _leave(self) -> None:
        try:
            await self._node.drain(self._drain_seconds)
        finally:
            self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it a second frame waits 40 ms
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def surroundings(settings: Settings) -> AsyncIterator[tuple[Surroundings, str]]:
    """Where everything is, and the database's administrator; what is not configured runs embedded meanwhile.

    Raises:
        EmbeddedError: an embedded service cannot be had.
    """
    data_dir = settings.embedded_data_dir
    database, redis = settings.database, settings.redis_url
    async with contextlib.AsyncExitStack() as stack:
        database_url, admin_url = database or "", _secret_of(settings.database_admin_url) or database or ""
        redis_url = _secret_of(redis)
        if not (database_url and redis_url):
            services = EmbeddedServices(data_dir, postgres=not database_url, valkey=not redis_url)
            urls = (await stack.enter_async_context(services)).urls
            database_url = urls.database_url or database_url
            admin_url = urls.database_admin_url or admin_url
            redis_url = urls.redis_url or redis_url
        keys, base_url = settings.openrouter_keys, settings.openrouter_base_url
        if not keys:
            simulator = await stack.enter_async_context(running_simulator())
            keys, base_url = (simulator.key,), simulator.base_url
        yield (
            Surroundings(
                database_url=database_url,
                redis_url=redis_url,
                openrouter_base_url=base_url,
                openrouter_keys=keys,
                jwt_secret=_secret_of(settings.jwt_secret) or secret(data_dir, "jwt_secret"),
                internal_key=_secret_of(settings.internal_service_key)
                or secret(data_dir, "internal_service_key"),
            ),
            admin_url,
        )


@asynccontextmanager
async def neighbourhood(settings: Settings, around: Surroundings) -> AsyncIterator[Settings]:
    """The settings with an address for every neighbour; meanwhile a stand-in runs for those without one.

    It keeps what it knows beside the embedded database. In production nothing is embedded.

    Raises:
        StartFailed: the stand-in cannot be had.
    """
    missing = missing_neighbours(settings)
    if not missing:
        yield settings
        return
    broker = settings.rabbitmq_url
    async with running_neighbours(
        service_key=around.internal_key,
        jwt_secret=around.jwt_secret,
        data=None if settings.database else settings.embedded_data_dir / "neighbours.json",
        broker={
            "RABBITMQ_URL": broker.get_secret_value(),
            "EVENTS_EXCHANGE_NAME": settings.events_exchange_name,
        }
        if broker
        else None,
    ) as urls:
        yield settings.model_copy(update={name.lower(): urls[name] for name in missing})


def missing_neighbours(settings: Settings) -> tuple[str, ...]:
    """The names of the settings that name no neighbour, and are to be stood in for."""
    if settings.app_env == "production":
        return ()
    return tuple(name for name in URLS if not getattr(settings, name.lower()))


async def prepare_database(settings: Settings, around: Surroundings, admin_url: str) -> list[str]:
    """Migrate, and let the service's login do its work; the names of the files that ran.

    Raises:
        MigrationError, StoreUnavailable
    """
    done = await migrate(admin_url, schema=settings.db_schema)
    login = _login_of(around.database_url)
    if login and login != _login_of(admin_url):
        await grant_login(admin_url, login)
    return done


async def serve(
    settings: Settings,
    around: Surroundings,
    sock: socket.socket,
    *,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Run a node until a signal ends it.

    Raises:
        StoreUnavailable, RoleRefused, ValueError: see `Node` and `build_node`.
    """
    async with build_node(settings, around) as node:
        server = http_server(node, drain_seconds=settings.drain_seconds)
        started()
        await server.serve(sockets=[sock])


def http_server(node: Node, *, drain_seconds: float) -> ChatServer:
    """The HTTP server of a node that works."""
    # sse-starlette would end all streams at the first signal; here draining tells them
    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
    config = uvicorn.Config(
        node.app,
        http=Http,
        ws=Wire,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    return ChatServer(config, node, drain_seconds)


def _secret_of(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""


def _login_of(url: str) -> str:
    return unquote(urlsplit(url).username or "")
