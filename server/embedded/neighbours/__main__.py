"""`python -m server.embedded.neighbours`: the neighbours in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys

from server.embedded.neighbours.neighbours import Neighbours

_PARENT_POLL_SECONDS = 0.5
_URLS = ("AUTH_SERVICE_URL", "ASSESSMENT_SERVICE_URL", "ARCHIVE_SERVICE_URL", "NOTIFICATION_SERVICE_URL")


async def _run(*, port: int, service_key: str, jwt_secret: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Neighbours(port=port, service_key=service_key, jwt_secret=jwt_secret) as neighbours:
        lines = [f"{name}={neighbours.url}" for name in _URLS]
        sys.stdout.write("\n".join([*lines, f"INTERNAL_SERVICE_KEY={service_key}", "ready", ""]))
        sys.stdout.flush()
        parent = os.getppid()
        while not stop.is_set() and os.getppid() == parent:
            # a dead parent sends no signal everywhere, but its children get another parent
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_POLL_SECONDS)


def main() -> None:
    """Parse the arguments, run until SIGTERM, SIGINT or the parent's death.

    Secrets come by the environment, since everybody on a machine can read a command line.
    """
    parser = argparse.ArgumentParser(prog="python -m server.embedded.neighbours", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    options = parser.parse_args()
    key = os.environ.get("INTERNAL_SERVICE_KEY") or "neighbours-service-key"
    asyncio.run(_run(port=options.port, service_key=key, jwt_secret=os.environ.get("JWT_SECRET", "")))


if __name__ == "__main__":
    main()
