"""A TCP cable that is bad in every way a network can be, at run time, without either end knowing of it.

async with FaultProxy("127.0.0.1", port) as cable:
    client = connect_to(cable.url(url))
    cable.latency, cable.jitter = 0.02, 0.01
    cable.black_hole()

Ways are seen from the client: `up` goes to the server, `down` comes from it. What is set holds for every
connection from then on, until it is set otherwise; `reset`, `hang_up` and `black_hole` do it once to those
there are.
"""

from __future__ import annotations

import asyncio
import random
import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.scripted.fault_link import Conditions, Link, Side, Way


class FaultProxy(Conditions):
    """Forwards every connection to `host:port`; its own port is `port`.

    `latency` and `jitter` are seconds, each way: every piece comes `latency` to `latency + jitter` later, in
    order. `bandwidth` is bytes a second, each way; `None`: as fast as it goes. `idle_seconds` ends
    connections on which nothing has gone either way for so long. `sieve` makes, for each connection, what
    the bytes that come `down` are put through. `receive_buffer` is in bytes: a small one, and the server feels
    soon that nothing is taken.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        super().__init__((host, port), random.Random(seed))
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        # bound and never listening: it holds the port while connections are refused
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        await self.allow()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self._place.close()
        self.reset()

    def url(self, url: str) -> str:
        """The same address, by this cable."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    # --- what can go wrong ------------------------------------------------------------------------

    def reset(self) -> None:
        """RST to both ends of every connection; what was on its way is lost."""
        for link in tuple(self.links):
            link.reset()

    def hang_up(self) -> None:
        """FIN to both ends of every connection."""
        for link in tuple(self.links):
            link.hang_up()

    def cut_at(self, byte: int, way: Way = "down") -> None:
        """Reset the first connection that has carried so many bytes, counted from its beginning; once."""
        self.cuts[way] = byte

    def black_hole(self, *, also_new: bool = False) -> None:
        """Every connection stays and carries nothing any more: neither data nor its end; nobody is told.

        With `also_new` connections that come are like that as well, until `see_again`.
        """
        self.silent = also_new
        for link in self.links:
            link.dead = True

    def see_again(self) -> None:
        """Connections that come are carried again; those that fell silent stay so."""
        self.silent = False

    def pause(self) -> None:
        """Nothing is taken and nothing given: both ends feel it as a reader who does not read."""
        self.flows = False
        self._look()

    def resume(self) -> None:
        """Go on, with everything that waited."""
        self.flows = True
        self._look()

    def refuse(self) -> None:
        """Nobody listens here: connecting is refused. Connections that are there stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def allow(self) -> None:
        """Listen, again."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._accept, sock=_bound(self.port))

    async def heal(self) -> None:
        """As new: what was set is forgotten, those that fell silent are reset."""
        self.latency = self.jitter = 0.0
        self.bandwidth = self.idle_seconds = self.sieve = None
        self.cuts.clear()
        self.silent = False
        for link in tuple(self.links):
            if link.dead:
                link.reset()
        self.resume()
        await self.allow()

    def _look(self) -> None:
        for link in tuple(self.links):
            link.look()

    def _accept(self) -> Side:
        self.accepted += 1
        link = Link(self)
        self.links.add(link)
        return link.near


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock
