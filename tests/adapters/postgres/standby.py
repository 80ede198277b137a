"""A real hot standby that streams from a primary, and marks shared by the nodes of a test."""

from __future__ import annotations

import signal
from pathlib import Path

from server.channels.broker import BrokerUnavailable
from server.embedded.binaries import postgres_binary
from server.embedded.data_dir import make_private
from server.embedded.postgres import Postgres
from server.embedded.process import Process

_BACKUP_SECONDS = 60.0


class Standby(Postgres):
    """A PostgreSQL that begins as a copy of another one and follows it."""

    def __init__(self, home: Path, primary: Postgres) -> None:
        super().__init__(home, password=primary._password, app_password=primary._app_password, durable=False)
        self._primary_url = primary.admin_url

    async def _create_cluster(self) -> None:
        make_private(self.home)
        copying = Process(
            [
                postgres_binary("pg_basebackup"),
                *("-d", self._primary_url, "-D", self._cluster),
                *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            ],
            log=self._log,
            death_signal=signal.SIGKILL,
            home=self.home,
        )
        try:
            assert await copying.ended(_BACKUP_SECONDS)
            assert copying.exit_code == 0, copying.output()
        finally:
            copying.kill()

    async def _prepare(self) -> None:
        """Everything comes from the primary."""


class Marks:
    """Marks in memory, seen by every store that is given this; `away` is a Redis nobody reaches."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.away = False

    async def note(self, user_id: str, position: int) -> None:
        if self.away:
            raise BrokerUnavailable
        self.held[user_id] = max(position, self.held.get(user_id, 0))

    async def last(self, user_id: str) -> int | None:
        if self.away:
            raise BrokerUnavailable
        return self.held.get(user_id)
