"""Plays the steps of one call on a connection, and notes in the ledger what has been shown.

One player waits for at most one thing: the clock, a gate, or room in the socket. There is no task and
no timer per stream, so that hundreds of streams cost little beside their system calls.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import assert_never

from server.embedded.openrouter.gates import Gates
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.pacer import Pacer
from server.embedded.openrouter.steps import End, Gate, Hang, Head, Raw, Step, Wait, Write

_LINGER_NONE = struct.pack("ii", 1, 0)
_BURST = 16
"""Writes in one turn of the loop, so that a stream without pauses does not starve the others."""


class Player:
    """Plays `steps` on `transport`. `on_end` is told whether the connection can be used again.

    `call` is where it notes what it did, if the ledger watches.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        steps: Iterator[Step],
        call: Call | None,
        *,
        pacer: Pacer,
        gates: Gates,
        on_end: Callable[[bool], None],
        one_write_a_turn: bool = False,
    ) -> None:
        self._transport = transport
        self._steps = steps
        self.call = call
        self._pacer = pacer
        self._gates = gates
        self._on_end = on_end
        self._burst = 1 if one_write_a_turn else _BURST
        self._chunked = False
        self._held: Write | None = None
        self._unsent: Write | Raw | None = None
        self._due = pacer.now()
        self._full = False
        self._stuck = False
        self._gate: str | None = None
        self._over = False

    def play(self) -> None:
        """Go on until the next wait."""
        if self._over:
            return
        if self._is_stuck():
            return
        written = 0
        if self._held is not None:
            self._write(self._held)
            self._held = None
            written = 1
        for step in self._steps:
            if not isinstance(step, Write):
                if not self._go_through(step) or self._is_stuck():
                    return
                continue
            if step.after:
                self._held = step
                self._wait(step.after)
                return
            self._write(step)
            written += 1
            if self._full or written >= self._burst:
                self._yield()
                return

    def _is_stuck(self) -> bool:
        """Whether the reader does not read; then its reading wakes the player."""
        if self._full:
            self._stuck = True
        return self._full

    def _go_through(self, step: Head | Raw | Wait | Gate | Hang | End) -> bool:
        """Do what `step` says; whether the next one may follow at once."""
        match step:
            case Head():
                self._chunked = step.chunked
                self._note_headers(200)
                self._transport.write(step.data)
                return True
            case Raw():
                self._raw(step)
                return True
            case Gate():
                return self._pass(step.name)
            case Wait():
                self._wait(step.seconds)
            case Hang():
                pass
            case End():
                self._end(step)
            case _:
                assert_never(step)
        return False

    def pause(self) -> None:
        """The socket is full."""
        self._full = True

    def resume(self) -> None:
        """The socket has room again."""
        self._full = False
        if self._unsent is not None:
            self._note_shown(self._unsent)
            self._unsent = None
        if self._stuck:
            self._stuck = False
            self._due = self._pacer.now()
            self.play()

    def reader_left(self) -> None:
        """The connection is gone."""
        if self._over:
            return
        self._over = True
        if self._gate is not None:
            self._gates.leave(self._gate, self._go_on)
        call = self.call
        if call is not None:
            call.state, call.waiting_at, call.ended_at = "aborted", None, time.time()

    def _yield(self) -> None:
        if self._full:
            self._stuck = True
        else:
            self._pacer.soon(self.play)

    def _wait(self, seconds: float) -> None:
        # counted from when the last wait should have ended, so that a rate is kept and ticks do not add up
        now = self._pacer.now()
        self._due = max(self._due + seconds, now) if self._due > now - 1 else now + seconds
        self._pacer.at(self._due, self.play)

    def _pass(self, name: str) -> bool:
        if self._gates.wait(name, self._go_on):
            return True
        self._gate = name
        if self.call is not None:
            self.call.waiting_at = name
        return False

    def _go_on(self) -> None:
        self._gate = None
        if self.call is not None:
            self.call.waiting_at = None
        self._due = self._pacer.now()
        self._pacer.soon(self.play)

    def _write(self, step: Write) -> None:
        data = step.data
        if self._chunked:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._transport.write(data)
        if self.call is not None:
            self.call.bytes_sent += len(data)
        self._note_when_sent(step)

    def _raw(self, step: Raw) -> None:
        self._note_headers(int(step.data[9:12]) if step.data.startswith(b"HTTP/") else None)
        self._transport.write(step.data)
        self._note_when_sent(step)

    def _note_headers(self, status: int | None) -> None:
        if self.call is not None and status is not None:
            self.call.headers_at, self.call.status = time.time(), status

    def _note_when_sent(self, step: Write | Raw) -> None:
        if not (step.tokens or step.thoughts):
            return
        if self._full:  # a part of it waits for a reader who may never read it
            self._unsent = step
        else:
            self._note_shown(step)

    def _note_shown(self, step: Write | Raw) -> None:
        call = self.call
        if call is None:
            return
        call.last_token_at = time.time()
        if call.first_token_at is None:
            call.first_token_at = call.last_token_at
        call.tokens_sent += step.tokens
        call.thoughts_sent += step.thoughts

    def _end(self, step: End) -> None:
        self._over = True
        call = self.call
        if call is not None:
            call.state = "complete" if step.outcome == "complete" else "failed"
            call.broken = step.outcome == "broken"
            call.ended_at = time.time()
        match step.how:
            case "finish":
                if self._chunked:
                    self._transport.write(b"0\r\n\r\n")
                self._on_end(True)
            case "close":
                self._on_end(False)
            case "reset":
                # closing with a zero linger time sends RST instead of FIN
                raw = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
                self._transport.abort()
            case _:
                assert_never(step.how)
