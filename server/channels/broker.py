"""The broker port: what the shared store promises for a user's log and texts.

Sans-I/O. Promises, in words:

* `publish_event` appends to the log and tells subscribers in one atomic step; offsets have no holes
  inside an epoch; a repeated idempotency key changes nothing and returns the first position.
* What pub/sub carries is also stored, except what is marked ephemeral. Pub/sub may lose, never invent.
* A store that restarted or failed over begins a new epoch, even with its data.
* Every value belongs to one user; a read that meets another user's value raises `ForeignValue`.

All methods raise `BrokerUnavailable` when the store cannot be reached in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from protocol.position import Position


class BrokerUnavailable(Exception):  # noqa: N818 - a state of the world, named as one
    """The shared store cannot be reached."""


class ForeignValue(Exception):  # noqa: N818
    """A value read for one user belongs to another; nothing of it was used."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event in the log: a JSON object without its `position`."""

    offset: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RunningGeneration:
    """A running generation as the store holds it.

    `attempt` and `model` are the present ones, as announced. `text_attempt` last changed the text
    (0: none yet). `begins` has an `(attempt, at)` for every attempt whose text has begun, ascending
    by attempt. `text` and `length` are the text so far in code points; `started_ms` is the store's clock
    (milliseconds since 1970).
    """

    generation: str
    conversation: str
    message: str
    reply_to: str | None
    model: str
    attempt: int
    estimated_response_ms: int
    is_free_model: bool
    started_ms: int
    text_attempt: int
    begins: tuple[tuple[int, int], ...]
    length: int
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A user's channel at one moment: the head, the oldest offset still in the log, what runs.

    `oldest` is `None` when the log holds nothing. `now_ms` is the store's clock.
    """

    head: Position
    oldest: int | None
    running: tuple[RunningGeneration, ...] = field(default=())
    now_ms: int = 0


# What the subscription brings. Positions and lengths stand outside the JSON, so holes are seen
# without decoding it.


@dataclass(frozen=True, slots=True)
class EventArrived:
    """An event was appended to the log of `user`.

    `kind` is the event's type. `generation` is the generation it is about, or empty.
    """

    user: str
    epoch: str
    offset: int
    kind: str
    generation: str
    body: bytes


@dataclass(slots=True)
class TextArrived:
    """Text was appended: `text` stands at `at`, the text is `length` long after it (code points).

    `previous` is the attempt that had last changed the text before this append: equal to `attempt`
    except for an attempt's first append. So a reader that missed one append, even a whole attempt's,
    sees it: its own attempt is not `previous`.
    """

    user: str
    generation: str
    attempt: int
    previous: int
    at: int
    length: int
    text: str


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """An ephemeral frame (interim notice, reasoning delta), whole, as JSON."""

    user: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Revoked:
    """Every session of the user whose token was issued before now must end."""

    user: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another session of the user has taken this one's place: it must end."""

    user: str
    session: str


Arrival = EventArrived | TextArrived | FrameArrived | Revoked | Replaced


class Broker(Protocol):
    """A user's log and texts in the shared store."""

    async def publish_event(
        self, user: str, body: bytes, *, kind: str, generation: str = "", key: str | None = None
    ) -> Position:
        """Append an event (JSON without position). With `key`, at most once per key."""
        ...

    async def publish_frame(self, user: str, body: bytes) -> None:
        """Send an ephemeral frame to whoever listens; kept nowhere."""
        ...

    async def snapshot(self, user: str) -> Snapshot:
        """The channel now. Creates the head if there is none and renews its life."""
        ...

    async def heads(self, users: list[str]) -> list[Position]:
        """The heads of many channels in one round trip; creates and renews as `snapshot` does."""
        ...

    async def read_log(
        self, user: str, after: Position, *, limit_bytes: int = 65536
    ) -> list[LogEntry] | None:
        """Entries after `after`, oldest first, at least one where there is one, about `limit_bytes`.

        `None` when they cannot be given without a hole: another epoch, trimmed, or from the future.
        An empty list: there are none yet.
        """
        ...


class Subscription(Protocol):
    """The node's one pub/sub connection."""

    async def subscribe(self, user: str) -> None:
        """Arrivals for `user` flow from the moment this returns. Idempotent."""
        ...

    async def unsubscribe(self, user: str) -> None:
        """Stop them. Idempotent."""
        ...

    def on_arrival(self, receive: Callable[[Arrival], None]) -> None:
        """Call `receive` for every arrival, in the order the store published them, per user."""
        ...

    def on_gap(self, lost: Callable[[], None]) -> None:
        """Call `lost` after the connection was away: anything may have been missed by any user."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a session got one of the user's places (`limit` over all nodes; 0 is no limit)."""

    granted: bool
    taken: int


class Presence(Protocol):
    """The user's places for sessions over all nodes (architecture: places belong to a process)."""

    async def take(self, user: str, session: str, *, limit: int, replaces: str | None) -> Place:
        """Take a place for `session`; `replaces` gives it that session's, which is told to end."""
        ...

    async def leave(self, user: str, session: str) -> None:
        """Give the place back. Idempotent; never raises."""
        ...
