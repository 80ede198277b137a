"""The rules one client must keep to, as a function of its frames and of time.

Sans-I/O. Rule 1: the first frame is `hello`, in time. Rule 2: bad frames are answered, and the tenth within
a minute ends the session. Rule 3: commands come at a bounded rate. Rule 4: a token that ends is announced,
then commands are refused, then the session is closed; delivery goes on until then. Rule 5: silence is
filled with heartbeats. Rule 6: a client that does not read is closed, and loses nothing by it.
(protocol README, "Connecting", "Errors and close codes".)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

from protocol.codec import FrameError, decode_command
from protocol.codes import RETRYABLE, CloseCode, ErrorCode
from protocol.frames import (
    Auth,
    AuthExpiring,
    Command,
    Error,
    Frame,
    GenerationStop,
    Heartbeat,
    Hello,
    Ping,
    Sync,
    type_of,
)

_FRAME_RATE = 20.0
_FRAME_BURST = 40.0
_BAD_FRAMES = 10
_BAD_FRAMES_SECONDS = 60.0
_ANNOUNCE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_SHORTEST_LOOK_SECONDS = 0.05
_LAST_SECOND = 253402300799.0
_HELLO = type_of(Hello)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The clocks of a session, in seconds, and the size of its frames in bytes."""

    hello_seconds: float = 5.0
    heartbeat_seconds: float = 25.0
    auth_grace_seconds: float = 25.0
    slow_reader_seconds: float = 30.0
    max_frame_bytes: int = 65536

    @property
    def look_seconds(self) -> float:
        """How often sessions are looked at: late by a twentieth of the shortest clock, a second at most."""
        clocks = (self.heartbeat_seconds, self.slow_reader_seconds, self.auth_grace_seconds)
        shortest = min(each for each in clocks if each > 0)
        return min(_LOOK_SECONDS, max(_SHORTEST_LOOK_SECONDS, shortest / 20))


class State(Enum):
    """Where a session is."""

    NEW = auto()
    GREETED = auto()  # hello received, being answered
    OPEN = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Execute:
    """Carry out a command."""

    command: Command


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a frame."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; nothing follows."""

    code: CloseCode


Action = Execute | Tell | Close


@dataclass(eq=False)
class Declined(Exception):  # noqa: N818 - an answer, named as one
    """A `hello` refused: the error to tell, and how the connection is closed after it."""

    code: ErrorCode
    message: str
    close: CloseCode
    retry_after_ms: int | None = None


def error_frame(
    code: ErrorCode, message: str, *, re: str | None = None, retry_after_ms: int | None = None
) -> Error:
    """An `error` frame; whether a retry helps is a property of the code."""
    return Error(
        re=re, code=code, message=message, retryable=code in RETRYABLE, retry_after_ms=retry_after_ms
    )


class SessionMachine:
    """One client's conduct. Times are monotonic seconds, except token ends, which are wall seconds."""

    __slots__ = (
        "_announced",
        "_bad",
        "_began",
        "_counted_at",
        "_frames",
        "_heartbeat",
        "_limits",
        "_token_ends",
        "state",
    )

    def __init__(self, limits: SessionLimits, now: float, *, heartbeat_jitter: float = 0.0) -> None:
        self.state = State.NEW
        self._limits = limits
        self._began = now
        self._frames = _FRAME_BURST
        self._counted_at = now
        self._bad: list[float] = []  # when the last of them came
        self._token_ends: float | None = None
        self._announced = False
        # up to 15 % either way, so that a node's clients do not beat together; the look may add 5 %
        self._heartbeat = limits.heartbeat_seconds * (1.0 + 0.15 * heartbeat_jitter)

    def receive(self, raw: str | bytes, now: float, wall: float) -> list[Action]:
        """What follows from a frame of the client."""
        if self.state is State.CLOSED:
            return []
        if not isinstance(raw, str):
            return self._close(CloseCode.MALFORMED)
        if not self._within_rate(now):
            return self._close(CloseCode.TOO_MANY_FRAMES)
        if self._is_too_big(raw):
            return self._close(CloseCode.FRAME_TOO_BIG)
        try:
            command = decode_command(raw)
        except FrameError as fault:
            if self.state is State.NEW and fault.kind not in {None, _HELLO}:
                return self._unauthenticated(fault.re)
            return self._bad_frame(fault, now)
        if self.state is State.NEW:
            return self._first(command)
        if isinstance(command, Hello):
            return self._bad_frame(
                FrameError(ErrorCode.BAD_REQUEST, "hello was already said", command.id), now
            )
        if self._refuses(command, wall):
            return [
                Tell(error_frame(ErrorCode.TOKEN_EXPIRED, "The token has expired: send auth.", re=command.id))
            ]
        return [Execute(command)]

    def opened(self, token_ends: float) -> None:
        """`hello` was accepted; the token ends at wall second `token_ends`."""
        self.state = State.OPEN
        self.extended(token_ends)

    def extended(self, token_ends: float) -> None:
        """A newer token ends at wall second `token_ends`."""
        self._token_ends = token_ends
        self._announced = False

    def tick(self, now: float, wall: float, *, last_sent: float, stuck_since: float | None) -> list[Action]:
        """What follows from time alone; asked every `look_seconds`, and when `hello` is late."""
        if self.state is State.CLOSED:
            return []
        if stuck_since is not None and now - stuck_since >= self._limits.slow_reader_seconds:
            return self._close(CloseCode.CANNOT_KEEP_UP)
        if self.state is State.NEW:
            late = now - self._began >= self._limits.hello_seconds
            return self._close(CloseCode.NO_HELLO) if late else []
        if self._token_ends is not None:
            left = self._token_ends - wall
            if left <= -self._limits.auth_grace_seconds:
                return self._close(CloseCode.TOKEN_EXPIRED)
            if left <= _ANNOUNCE_SECONDS and not self._announced:
                self._announced = True
                return [Tell(AuthExpiring(expires_in_ms=max(0, int(left * 1000))))]
        if self.state is State.OPEN and now - last_sent >= self._heartbeat and stuck_since is None:
            return [Tell(Heartbeat())]
        return []

    def close(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED

    def _first(self, command: Command) -> list[Action]:
        if isinstance(command, Hello):
            self.state = State.GREETED
            return [Execute(command)]
        return self._unauthenticated(command.id)

    def _unauthenticated(self, re: str | None) -> list[Action]:
        refusal = error_frame(ErrorCode.UNAUTHENTICATED, "The first frame must be hello.", re=re)
        return [Tell(refusal), *self._close(CloseCode.NOT_AUTHENTICATED)]

    def _bad_frame(self, fault: FrameError, now: float) -> list[Action]:
        self._bad = [*self._bad[1 - _BAD_FRAMES :], now]
        answer = Tell(error_frame(fault.code, fault.message, re=fault.re))
        if len(self._bad) == _BAD_FRAMES and now - self._bad[0] <= _BAD_FRAMES_SECONDS:
            return [answer, *self._close(CloseCode.MALFORMED)]
        return [answer]

    def _refuses(self, command: Command, wall: float) -> bool:
        if isinstance(command, Auth | Ping | Sync | GenerationStop):
            return False
        return self._token_ends is not None and wall >= self._token_ends

    def _is_too_big(self, raw: str) -> bool:
        limit = self._limits.max_frame_bytes
        # a code point takes one to four bytes: most frames need no count
        return len(raw) > limit or (len(raw) * 4 > limit and len(raw.encode(errors="surrogatepass")) > limit)

    def _within_rate(self, now: float) -> bool:
        earned = (now - self._counted_at) * _FRAME_RATE
        self._frames = min(_FRAME_BURST, self._frames + earned) - 1.0
        self._counted_at = now
        return self._frames >= 0.0

    def _close(self, code: CloseCode) -> list[Action]:
        self.state = State.CLOSED
        return [Close(code)]


def token_time(expires_at: float) -> str:
    """A token's end as clients read it: ISO 8601 UTC with milliseconds; the last second of 9999 for none."""
    when = datetime.fromtimestamp(min(expires_at, _LAST_SECOND), UTC)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
