"""PostgreSQL and Valkey of a node's own, started together and gone together."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from server.embedded.data_dir import held, secret
from server.embedded.errors import DataDirInUse, DataDirUnusable, EmbeddedError
from server.embedded.postgres import Postgres
from server.embedded.valkey import Valkey

__all__ = ["DataDirInUse", "DataDirUnusable", "EmbeddedError", "EmbeddedServices", "ServiceUrls", "secret"]


@dataclass(frozen=True)
class ServiceUrls:
    """Addresses of what runs; None for what was not asked for.

    `database_admin_url` is the superuser's, `database_url` that of a login role which has no rights
    until migrations grant them.
    """

    database_url: str | None
    database_admin_url: str | None
    redis_url: str | None


class EmbeddedServices:
    """Services on loopback with their data in `data_dir`, while the block runs; enter it on the main thread.

    Args:
        data_dir: Made where missing, for this user alone; held by one process.
        postgres: Whether to run PostgreSQL.
        valkey: Whether to run Valkey.
        durable: False for tests: a loss of power may lose all.

    Raises (on entering):
        DataDirInUse: another process runs services there; says which.
        EmbeddedError: a service cannot be had; nothing is left running.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres: bool = True,
        valkey: bool = True,
        durable: bool = True,
    ) -> None:
        self._data_dir = data_dir
        self._wanted = (postgres, valkey)
        self._durable = durable
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None
        self._hold = contextlib.ExitStack()

    @property
    def postgres(self) -> Postgres:
        """The PostgreSQL; `stop`, `kill` and `start` are for tests of faults.

        Raises:
            LookupError: it was not asked for, or the block is not entered.
        """
        if self._postgres is None:
            raise LookupError("PostgreSQL is not one of these services")
        return self._postgres

    @property
    def valkey(self) -> Valkey:
        """The Valkey; `stop`, `kill`, `pause`, `resume` and `start` are for tests of faults.

        Raises:
            LookupError: it was not asked for, or the block is not entered.
        """
        if self._valkey is None:
            raise LookupError("Valkey is not one of these services")
        return self._valkey

    @property
    def urls(self) -> ServiceUrls:
        """The addresses; they stay the same while the block runs, through every stop and start."""
        return ServiceUrls(
            database_url=None if self._postgres is None else self._postgres.app_url,
            database_admin_url=None if self._postgres is None else self._postgres.admin_url,
            redis_url=None if self._valkey is None else self._valkey.url,
        )

    async def __aenter__(self) -> Self:
        directory = self._hold.enter_context(held(self._data_dir))
        try:
            await self._start(directory)
        except BaseException:
            await self.stop()
            raise
        return self

    async def _start(self, directory: Path) -> None:
        postgres, valkey = self._wanted
        if postgres:
            self._postgres = Postgres(
                directory / "postgres",
                password=secret(directory, "postgres_password"),
                app_password=secret(directory, "postgres_app_password"),
                durable=self._durable,
            )
        if valkey:
            self._valkey = Valkey(
                directory / "valkey",
                password=secret(directory, "valkey_password"),
                durable=self._durable,
            )
        try:
            async with asyncio.TaskGroup() as starting:
                for server in (self._postgres, self._valkey):
                    if server is not None:
                        starting.create_task(server.start())
        except ExceptionGroup as failures:
            # The other one's start was cancelled; the caller wants the cause, not the group.
            raise failures.exceptions[0] from failures

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop what runs, in good order, and let go of the directory; nothing the second time."""
        try:
            await asyncio.gather(
                *(server.stop() for server in (self._postgres, self._valkey) if server is not None),
            )
        finally:
            self._hold.close()
