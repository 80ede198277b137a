"""A user's log and texts in Redis: the broker port."""

from __future__ import annotations

import secrets
from typing import Any

from protocol.position import Position
from server.adapters.redis import keys, payload, records
from server.adapters.redis.scripts import Scripts, Word
from server.channels.broker import LogEntry, Snapshot

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def new_epoch() -> str:
    """A random name for an epoch, should one begin: 30 bits."""
    bits = secrets.randbits(30)
    return "".join(_LETTERS[bits >> shift & 31] for shift in range(0, 30, 5))


def head_keys(user: str) -> list[str]:
    """The keys every script that touches a head begins with."""
    return [keys.head(user), keys.log(user)]


def head_args(user: str) -> list[Word]:
    """The arguments every script that touches a head begins with."""
    return [user, keys.channel(user), new_epoch()]


def position_of(reply: list[Any]) -> Position:
    """A position from `[epoch, offset]`."""
    return Position(reply[0].decode(), int(reply[1]))


class RedisBroker:
    """`server.channels.broker.Broker` on Redis."""

    def __init__(self, scripts: Scripts, *, sharded: bool) -> None:
        self._scripts = scripts
        self._publish = "SPUBLISH" if sharded else "PUBLISH"

    async def publish_event(
        self, user: str, body: bytes, *, kind: str, generation: str = "", key: str | None = None
    ) -> Position:
        """Append an event. With `key`, at most once per key within the log's window."""
        names = head_keys(user)
        if key is not None:
            names.append(keys.idempotency(user, key))
        reply = await self._scripts.call("publish_event", names, [*head_args(user), kind, generation, body])
        return position_of(reply)

    async def publish_frame(self, user: str, body: bytes) -> None:
        """Send an ephemeral frame."""
        await self._scripts.command(self._publish, keys.channel(user), payload.frame(body))

    async def snapshot(self, user: str) -> Snapshot:
        """The channel now."""
        reply = await self._scripts.call(
            "snapshot", [*head_keys(user), keys.active(user)], [*head_args(user), keys.prefix(user)]
        )
        held, epoch, offset, oldest, now_ms, *rows = reply
        records.check_user(user, held)
        running = sorted((records.running(user, row) for row in rows), key=lambda each: each.started_ms)
        return Snapshot(Position(epoch.decode(), offset), oldest or None, tuple(running), now_ms)

    async def heads(self, users: list[str]) -> list[Position]:
        """The heads of many channels, in the order asked."""
        calls = [(head_keys(user), head_args(user)) for user in users]
        replies = await self._scripts.call_many("head", calls)
        for user, reply in zip(users, replies, strict=True):
            records.check_user(user, reply[0])
        return [position_of(reply[1:]) for reply in replies]

    async def read_log(
        self, user: str, after: Position, *, limit_bytes: int = 65536
    ) -> list[LogEntry] | None:
        """Entries after `after`; `None` where they cannot be given without a hole."""
        reply = await self._scripts.call(
            "read_log", head_keys(user), [*head_args(user), after.epoch, after.offset, limit_bytes]
        )
        if reply is None:
            return None
        held, *rows = reply
        records.check_user(user, held)
        return [LogEntry(rows[i], rows[i + 1]) for i in range(0, len(rows), 2)]
