"""The neighbours as a child process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from server.embedded.child import running_module

URLS = ("AUTH_SERVICE_URL", "ASSESSMENT_SERVICE_URL", "ARCHIVE_SERVICE_URL", "NOTIFICATION_SERVICE_URL")
"""The settings they stand in for."""


@contextlib.asynccontextmanager
async def running_neighbours(
    *, service_key: str, jwt_secret: str, data: Path | None = None, broker: Mapping[str, str] | None = None
) -> AsyncIterator[dict[str, str]]:
    """Run them on a free port while the block runs; gives the address of each by the name of its setting.

    Args:
        service_key: what the chat service shows them, and they show it.
        jwt_secret: by which users' tokens are checked.
        data: the file in which they keep what they know; without one they forget it at their end.
        broker: `RABBITMQ_URL` and `EVENTS_EXCHANGE_NAME`, where events go by the broker.

    Raises:
        StartFailed: they ended or were silent while starting.
    """
    environment = {"INTERNAL_SERVICE_KEY": service_key, "JWT_SECRET": jwt_secret, "RABBITMQ_URL": ""}
    arguments = ["--populated", *([] if data is None else ["--data", str(data)])]
    async with running_module(
        "server.embedded.neighbours",
        arguments,
        what="the neighbours' stand-in",
        environment=environment | dict(broker or {}),
    ) as said:
        yield {name: said[name] for name in URLS}
