"""`python -m server.embedded.neighbours`: the neighbours in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from server.embedded.neighbours.doors import Broker
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.neighbours.process import URLS

_PARENT_POLL_SECONDS = 0.5
_EXCHANGE = "atma_events_exchange"


async def _run(neighbours: Neighbours) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with neighbours:
        lines = [f"{name}={neighbours.url}" for name in URLS]
        sys.stdout.write("\n".join([*lines, f"INTERNAL_SERVICE_KEY={neighbours.service_key}", "ready", ""]))
        sys.stdout.flush()
        parent = os.getppid()
        while not stop.is_set() and os.getppid() == parent:
            # a dead parent sends no signal everywhere, but its children get another parent
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_POLL_SECONDS)


def main() -> None:
    """Parse the arguments, run until SIGTERM, SIGINT or the parent's death.

    Secrets come by the environment (INTERNAL_SERVICE_KEY, JWT_SECRET, RABBITMQ_URL), since everybody on a
    machine can read a command line.
    """
    parser = argparse.ArgumentParser(prog="python -m server.embedded.neighbours", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--populated", action="store_true", help="whoever has a token has an account")
    parser.add_argument("--data", type=Path, help="a file in which to keep what they know")
    parser.add_argument(
        "--pause", type=float, default=1.5, help="seconds a step of an assessment takes (%(default)s)"
    )
    options = parser.parse_args()
    url = os.environ.get("RABBITMQ_URL")
    neighbours = Neighbours(
        port=options.port,
        service_key=os.environ.get("INTERNAL_SERVICE_KEY") or "neighbours-service-key",
        jwt_secret=os.environ.get("JWT_SECRET", ""),
        populated=options.populated,
        data=options.data,
        broker=Broker(url, exchange=os.environ.get("EVENTS_EXCHANGE_NAME") or _EXCHANGE) if url else None,
        pause_seconds=options.pause,
    )
    try:
        asyncio.run(_run(neighbours))
    except (OSError, ValueError) as error:
        sys.exit(f"the neighbours' stand-in cannot start: {error}")


if __name__ == "__main__":
    main()
