"""The port to content's encryption at rest: what is sealed, and where it stands.

Sans-I/O. A sealed value is bound to its place: moved to another row, column, table or user it does not
open. Sealed are a message's content, what its metadata say of a person, a title that was given (the
default one stays plain, so that it can be recognised) and context data. A value without a key id is plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

UNAVAILABLE = "[unavailable]"
"""What stands for a text that cannot be opened any more: its key is gone, or it was tampered with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. Ids are canonical UUIDs."""

    user: str
    table: str
    column: str
    row: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value as the database keeps it, and the id of the key it is sealed with; `None`: it is plain."""

    text: str
    key: str | None


class Cipher(Protocol):
    """Seals with the newest key, opens with any that is configured."""

    @property
    def newest(self) -> str | None:
        """The id of the key that seals; `None`: there is none, and what is sealed stays plain."""
        ...

    @property
    def known(self) -> tuple[str, ...]:
        """The ids of all keys, the newest first."""
        ...

    def seal(self, text: str, place: Place) -> Sealed:
        """Seal a value for its place."""
        ...

    def open(self, value: Sealed, place: Place) -> str | None:
        """The value; `None` where it cannot be opened, which is logged, without anything of the value."""
        ...


class KeyRotation(Protocol):
    """Brings everything sealed under the newest key."""

    async def rotate(self, batch: int = 200) -> int:
        """Seal again up to `batch` values that are not under the newest key; how many it were.

        Plain ones are sealed too. 0: a whole pass found nothing, or there are no keys. Call it until then;
        several nodes may do so at once, beside the usual work. What cannot be opened stays as it is.

        Raises:
            StoreUnavailable
        """
        ...
