"""The store port: what the shared store promises for one generation.

Sans-I/O. Every verb is atomic and idempotent, so a lost reply is answered by asking again. The attempt
number is the fence: after `switch` an append of an older attempt is refused with `Fenced`. After `seal`
append, switch and stop are refused with `Sealed`. All raise `server.channels.broker.BrokerUnavailable`
when the store cannot be reached.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from protocol.position import Position


@dataclass(frozen=True, slots=True)
class GenerationStart:
    """A generation to begin: its state and the events that tell it, in order.

    `events` are `(kind, body)` with bodies as JSON without position: `conversation.created` (if new),
    `message.created`, `generation.started`. `plan` is opaque JSON a successor needs to go on (model chain,
    fallback mode, tier, options); the store keeps it. `owner` is the process, never a configured name.
    """

    user: str
    generation: str
    conversation: str
    message: str
    reply_to: str | None
    model: str
    is_free_model: bool
    estimated_response_ms: int
    owner: str
    plan: bytes
    events: tuple[tuple[str, bytes], ...]
    deadline_ms: int  # milliseconds from now after which the whole answer is given up


@dataclass(frozen=True, slots=True)
class Started:
    """`fresh`: this call began it. Otherwise it was there already, `owner` and `attempt` say whose."""

    fresh: bool
    owner: str
    attempt: int
    started_ms: int


@dataclass(slots=True)
class Appended:
    """The text is `length` code points long now. `stop`: somebody asked the generation to stop."""

    length: int
    stop: bool


class Refused(Exception):  # noqa: N818
    """The store refused a write."""


class Fenced(Refused):
    """A higher attempt has taken over."""

    def __init__(self, owner: str, attempt: int) -> None:
        super().__init__(f"fenced by attempt {attempt}")
        self.owner = owner
        self.attempt = attempt


class Sealed(Refused):
    """The end is decided; `record` is the sealed end record."""

    def __init__(self, record: bytes) -> None:
        super().__init__("sealed")
        self.record = record


class StopAsked(Refused):
    """A stop was asked before the switch; there is nothing to go on with."""


class Gone(Refused):
    """The store has lost the state, or some of its text (`length` is what it holds, -1: nothing)."""

    def __init__(self, length: int = -1) -> None:
        super().__init__("gone")
        self.length = length


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """Everything the store holds of a generation, for a successor or for REST.

    `status` is `running`, `sealed` or `concluded`. `notes` has one JSON object per attempt, opaque here.
    `record` is the sealed end (empty while running). `begins` and `text` as in `RunningGeneration`. `ended`
    is where the log has the end, once it is told.
    """

    user: str
    generation: str
    conversation: str
    message: str
    reply_to: str | None
    model: str
    is_free_model: bool
    estimated_response_ms: int
    owner: str
    attempt: int
    status: str
    stop: bool
    plan: bytes
    notes: tuple[bytes, ...]
    record: bytes
    persisted: bool
    started_ms: int
    deadline_ms: int
    text_attempt: int
    begins: tuple[tuple[int, int], ...]
    length: int
    text: str
    losses: int
    ended: Position | None = None


class GenerationStore(Protocol):
    """Generations in the shared store."""

    async def start(self, start: GenerationStart) -> Started:
        """Begin it and publish its first events, only if it is absent."""
        ...

    def append(self, user: str, generation: str, attempt: int, at: int, text: str) -> Awaitable[Appended]:
        """Append text at `at`. An attempt's first append may begin below the length: it cuts there.

        It is under way when this returns. Appends of all generations of the node are grouped into pipelines
        (group commit); awaiting it waits for the group. Applying the same append twice changes nothing.

        Raises:
            Fenced, Sealed, Gone: when awaited.
        """
        ...

    async def switch(
        self,
        user: str,
        generation: str,
        *,
        expected: int,
        owner: str,
        model: str,
        is_free_model: bool,
        event: bytes,
        lost_node: bool,
    ) -> Position:
        """Make `expected + 1` the attempt and publish `generation.switched`.

        With `lost_node` the count of lost nodes grows; any new text resets it.

        Raises:
            Fenced, Sealed, StopAsked, Gone
        """
        ...

    async def note(self, user: str, generation: str, attempt: int, note: bytes) -> None:
        """Keep what is known of an attempt (opaque JSON); replaces the attempt's earlier note."""
        ...

    async def request_stop(self, user: str, generation: str) -> str | None:
        """Store the intent to stop and tell the owner.

        The status (`running`, `sealed`, `concluded`), or `None` when there is no such generation.
        """
        ...

    async def seal(self, user: str, generation: str, *, expected: int, record: bytes) -> None:
        """Decide the end. The same record again is fine.

        Raises:
            Fenced, Sealed (with another record), Gone
        """
        ...

    async def conclude(self, user: str, generation: str, *, event: bytes, persisted: bool) -> Position | None:
        """Publish `generation.finished`, once; `None` when it had been. The text's window starts to run.

        While not `persisted` the sealed record is kept until `mark_persisted`.
        """
        ...

    async def mark_persisted(self, user: str, generation: str) -> None:
        """The sealed record is committed elsewhere; it may go with the text's window."""
        ...

    async def restore(self, record: GenerationRecord) -> bool:
        """Write the state again from the owner's memory, if the store lost it or holds less.

        `False`: fenced by another attempt.
        """
        ...

    async def read(self, user: str, generation: str) -> GenerationRecord | None:
        """Everything held, or `None`."""
        ...

    async def unpersisted(self, user: str) -> list[str]:
        """Generations of the user that are sealed and not marked persisted."""
        ...


class LeaseStore(Protocol):
    """Leases by the store's own clock. A lease belongs to a process."""

    async def hold(
        self, leases: list[tuple[str, str]], *, seconds: float, within: float | None = None
    ) -> None:
        """Take or renew leases on `(user, generation)` for `seconds` from now.

        Raises:
            BrokerUnavailable: also where no answer comes `within` so many seconds.
        """
        ...

    async def drop(self, user: str, generation: str) -> None:
        """Give a lease up. Idempotent."""
        ...

    async def expired(self, *, limit: int) -> list[tuple[str, str]]:
        """Leases whose time is over, oldest first. Nothing is claimed by asking."""
        ...

    async def orphaned(self, *, left: float, limit: int) -> list[tuple[str, str]]:
        """Leases not over whose owners are late with them and not connected to the store, as this node is.

        Oldest first; those to which no more than `left` seconds are left. Nothing is claimed by asking.
        """
        ...

    async def claim(self, user: str, generation: str, *, seconds: float, left: float = 0.0) -> bool:
        """Take a lease to which no more than `left` seconds are left; of several that ask, one gets it."""
        ...

    async def held(self, user: str, generation: str, *, seconds: float) -> bool:
        """Whether somebody has a lease on it, or may have one that they could not renew yet.

        That is so for so many seconds after the store lost the leases or was away.
        """
        ...

    async def miss(self, user: str, generation: str) -> bool:
        """Where there is no lease on something that is not over, make an expired one for whoever sweeps.

        `True`: there was none.
        """
        ...
