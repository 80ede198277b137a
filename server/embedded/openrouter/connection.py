"""One client connection: requests in, one player at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from server.embedded.openrouter.gates import Gates
from server.embedded.openrouter.http import Request, RequestError, RequestParser, response
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.pacer import Pacer
from server.embedded.openrouter.player import Player
from server.embedded.openrouter.steps import Step

_MAX_PIPELINED = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: steps to play; `call` where the ledger watches; whether the connection is kept."""

    steps: Iterator[Step]
    call: Call | None = None
    keep: bool = True
    one_write_a_turn: bool = False


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one client. `answer` turns requests into steps; `registry` holds what is open."""

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        *,
        pacer: Pacer,
        gates: Gates,
        registry: set[Connection],
    ) -> None:
        self._answer = answer
        self._pacer = pacer
        self._gates = gates
        self._registry = registry
        self._parser = RequestParser()
        self._waiting: deque[Request] = deque()
        self._player: Player | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # uvloop's transports have the methods without being subclasses
        self._transport = cast("asyncio.Transport", transport)
        # told at once when the kernel did not take all of it, so that only what it took counts as sent
        self._transport.set_write_buffer_limits(high=0)
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        try:
            self._waiting.extend(self._parser.feed(data))
        except RequestError as error:
            self._refuse(str(error))
            return
        if len(self._waiting) > _MAX_PIPELINED:
            self._refuse("too many pipelined requests")
            return
        self._next()

    def eof_received(self) -> bool:
        """A client that closes its side has left."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """The client left, or was left."""
        self._registry.discard(self)
        self._waiting.clear()
        if self._player is not None:
            self._player.reader_left()

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._player is not None:
            self._player.resume()

    def abort(self) -> None:
        """Drop the client."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def call(self) -> Call | None:
        """The call that is being answered."""
        return self._player.call if self._player is not None else None

    def _next(self) -> None:
        if self._player is not None or not self._waiting or self._transport is None:
            return
        request = self._waiting.popleft()
        answer = self._answer(request)
        keep = answer.keep and request.keep_alive

        def over(reusable: bool) -> None:  # noqa: FBT001 - a callback
            self._player = None
            if reusable and keep:
                self._next()
            elif self._transport is not None:
                self._transport.close()

        self._player = Player(
            self._transport,
            answer.steps,
            answer.call,
            pacer=self._pacer,
            gates=self._gates,
            on_end=over,
            one_write_a_turn=answer.one_write_a_turn,
        )
        self._player.play()

    def _refuse(self, message: str) -> None:
        if self._transport is not None:
            self._transport.write(response(400, message.encode(), {"Content-Type": "text/plain"}))
            self._transport.close()
