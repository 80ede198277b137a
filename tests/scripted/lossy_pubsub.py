"""Published messages that get lost on the way to who listens, and nothing else with them.

Sans-I/O. `PublishLoss.sieve` is a `FaultProxy`'s: one for each connection to a Redis.
"""

from __future__ import annotations

from collections.abc import Callable

_END = b"\r\n"
_MESSAGES = (b"*3\r\n$7\r\nmessage\r\n", b"*3\r\n$8\r\nsmessage\r\n")


class PublishLoss:
    """Takes the next `to_lose` messages out that hold `marker`; `lost` counts those it took."""

    def __init__(self) -> None:
        self.to_lose = 0
        self.marker = b""
        self.lost = 0

    def lose(self, count: int, marker: bytes) -> None:
        """Lose so many of the messages that hold `marker`."""
        self.to_lose, self.marker = count, marker

    def sieve(self) -> Callable[[bytes], bytes]:
        """What one connection's answers are put through."""
        rest = b""

        def through(data: bytes) -> bytes:
            nonlocal rest
            rest += data
            kept, at = [], 0
            while (end := end_of_reply(rest, at)) is not None:
                if not self._loses(rest[at:end]):
                    kept.append(rest[at:end])
                at = end
            rest = rest[at:]
            return b"".join(kept)

        return through

    def _loses(self, reply: bytes) -> bool:
        if not self.to_lose or not reply.startswith(_MESSAGES) or self.marker not in reply:
            return False
        self.to_lose -= 1
        self.lost += 1
        return True


def end_of_reply(data: bytes, at: int) -> int | None:
    """Where the RESP2 reply that begins at `at` ends; `None`: not all of it is there."""
    line = data.find(_END, at)
    if line < 0:
        return None
    kind, after = data[at : at + 1], line + len(_END)
    if kind not in {b"$", b"*"}:
        return after
    count = int(data[at + 1 : line])
    if kind == b"$":
        end = after + count + len(_END) if count >= 0 else after
        return end if end <= len(data) else None
    place: int | None = after
    for _ in range(count):
        place = end_of_reply(data, place) if place is not None else None
    return place
