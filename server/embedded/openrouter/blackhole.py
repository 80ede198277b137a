"""An address that can be reached by no connection: a listener whose queue is full and never emptied.

The kernel then drops further handshakes, so a client's connect hangs as it does on a dead host.
"""

from __future__ import annotations

import contextlib
import socket

_FILL = 4


class BlackHole:
    """Open from its making until `close`."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sockets = [socket.socket(family)]
        listener = self._sockets[0]
        listener.bind((host, 0))
        listener.listen(0)
        self.port: int = listener.getsockname()[1]
        for _ in range(_FILL):
            filler = socket.socket(family)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((host, self.port))
            self._sockets.append(filler)

    def close(self) -> None:
        """Give the address back."""
        for each in self._sockets:
            each.close()
