"""`make cluster`: embedded services, nodes and a load balancer on this machine, until Ctrl-C.

    python -m tests.cluster --nodes 3

Settings are those of a node; PORT and HOST are where the balancer listens. Ctrl-C drains the nodes in turn and
ends everything, a second one ends it at once. SIGUSR1 replaces every node in turn, as a deploy does. A node
that dies is started again. Logs are in EMBEDDED_DATA_DIR/cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from server.embedded.data_dir import make_private
from server.embedded.errors import EmbeddedError
from server.settings import Settings, SettingsError, load
from tests.cluster.balancer import haproxy
from tests.cluster.deployment import Deployment, EndedEarly
from tests.debian import NotInstalled

_FAILED = 1
_USAGE = 2
_CONNECTIONS = 80


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A cluster on this machine.")
    parser.add_argument("--nodes", type=int, default=3, metavar="N")
    nodes: int = parser.parse_args().nodes
    if nodes < 1:
        parser.error("--nodes must be 1 or more")
    logging.basicConfig(level=logging.WARNING)
    try:
        settings = load()
        deployment = Deployment(
            nodes=nodes,
            settings=_shared_pool(settings, nodes) if settings.database is None else {},
            binary=haproxy(),
            address=settings.host,
            port=settings.port,
            drain_seconds=settings.drain_seconds,
            logs=make_private(settings.embedded_data_dir / "cluster"),
            say=_say,
        )
        sys.exit(asyncio.run(_run(deployment)))
    except SettingsError as error:
        sys.exit(_complain("\n".join(error.mistakes), _USAGE))
    except NotInstalled as error:
        sys.exit(_complain(f"HAProxy is needed: {error}", _FAILED))
    except (EmbeddedError, EndedEarly) as error:
        sys.exit(_complain(str(error), _FAILED))


def _shared_pool(settings: Settings, nodes: int) -> dict[str, str]:
    """Each node's part of what the embedded PostgreSQL has."""
    most = max(1, min(settings.db_pool_max, _CONNECTIONS // nodes))
    return {"DB_POOL_MAX": str(most), "DB_POOL_MIN": str(min(settings.db_pool_min, most))}


async def _run(deployment: Deployment) -> int:
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(deployment.run())

    def signalled() -> None:
        if deployment.leaving.is_set():
            running.cancel()
        deployment.leaving.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    loop.add_signal_handler(signal.SIGUSR1, deployment.roll)
    with contextlib.suppress(asyncio.CancelledError):
        await running
        return 0
    return 130


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(line: str, code: int) -> int:
    sys.stderr.write(f"{line}\n")
    return code


if __name__ == "__main__":
    main()
