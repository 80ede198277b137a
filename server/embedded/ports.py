"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ephemeral ranges of Linux (32768) and macOS (49152): the kernel never gives such a port to an
# outgoing connection, so a stopped server finds its port free again, and a client that knocks at a
# stopped server's port cannot be connected to itself.
_LOWEST = 20_000
_HIGHEST = 32_000
_TRIES = 200


def free_port() -> int:
    """A port nobody listens on now. It is not reserved: who binds it later must cope with losing it.

    Raises:
        OSError: no free port was found.
    """
    # A generator of its own, so that two processes with the same random seed do not meet here.
    choose = random.SystemRandom()
    for _ in range(_TRIES):
        port = choose.randint(_LOWEST, _HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Servers bind this way too; without it a port in TIME_WAIT looks taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_LOWEST} and {_HIGHEST}")
