"""Sans-I/O. Which API key the next call uses.

Several keys take turns. One that was refused (401, 402, or 403 for its rights) rests for a while, unless
all of them do: then the one whose rest ends first is tried, since a refusal is better heard than guessed.
Keys are known outside by fingerprint only, and no key shows in a `repr`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

REST_SECONDS = 60.0

_FINGERPRINT_CHARS = 12


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its public name: the first 12 hex digits of its SHA-256."""

    secret: str = field(repr=False)
    fingerprint: str


def fingerprint_of(secret: str) -> str:
    """The public name of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()[:_FINGERPRINT_CHARS]


class KeyRing:
    """The keys, in turn.

    Raises:
        ValueError: there is no key at all.
    """

    def __init__(self, secrets: Sequence[str], *, rest_seconds: float = REST_SECONDS) -> None:
        distinct = dict.fromkeys(secret.strip() for secret in secrets if secret.strip())
        if not distinct:
            raise ValueError("at least one OpenRouter API key is needed")
        self._keys = [Key(secret, fingerprint_of(secret)) for secret in distinct]
        self._rest_seconds = rest_seconds
        self._rests_until: dict[str, float] = {}
        self._next = 0

    def take(self, now: float) -> Key:
        """The key whose turn it is; `now` in seconds of a monotonic clock."""
        count = len(self._keys)
        turns = [self._keys[(self._next + step) % count] for step in range(count)]
        key = min(turns, key=lambda each: max(0.0, self._rests_until.get(each.fingerprint, 0.0) - now))
        self._next = (self._keys.index(key) + 1) % count
        return key

    def refused(self, fingerprint: str, now: float) -> None:
        """The upstream refused this key: pass it over for a while."""
        self._rests_until[fingerprint] = now + self._rest_seconds

    def named(self, fingerprint: str) -> Key | None:
        """The key of that fingerprint, if it is still in use."""
        return next((key for key in self._keys if key.fingerprint == fingerprint), None)
