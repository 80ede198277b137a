"""`python -m server.embedded.openrouter`: the simulator in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys

from server.embedded.openrouter.simulator import Simulator

_PARENT_POLL_SECONDS = 0.5


async def _run(*, port: int, human_speed: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Simulator(port=port, human_speed=human_speed) as simulator:
        sys.stdout.write(
            f"OPENROUTER_BASE_URL={simulator.base_url}\nOPENROUTER_API_KEY={simulator.key}\nready\n"
        )
        sys.stdout.flush()
        parent = os.getppid()
        while not stop.is_set() and os.getppid() == parent:
            # a dead parent sends no signal everywhere, but its children get another parent
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_POLL_SECONDS)


def main() -> None:
    """Parse the arguments, run until SIGTERM, SIGINT or the parent's death."""
    parser = argparse.ArgumentParser(prog="python -m server.embedded.openrouter", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--fast", action="store_true", help="unscripted answers come at once")
    options = parser.parse_args()
    gc.freeze()
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        asyncio.run(_run(port=options.port, human_speed=not options.fast))
    else:
        uvloop.run(_run(port=options.port, human_speed=not options.fast))


if __name__ == "__main__":
    main()
