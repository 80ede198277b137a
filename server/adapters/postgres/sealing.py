"""Content's encryption at rest: AES-256-GCM, keys side by side, each value bound to its place.

A stored value is the base64 of a random nonce (12 bytes), the ciphertext and its tag (16 bytes). Random
nonces are good for 2^32 values under one key: a new key is due long before. A key's id is a fingerprint, so
keys need no names, and which one sealed a value can be told without trying.

To change keys: add the new one behind the old on every node, then put it in front on every node, then
rotate (`rotation.py`) until nothing is left, and only then take the old one away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.conversations.cipher import Place, Sealed

log = logging.getLogger(__name__)

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_DIGITS = 16
_MOST_TOLD = 4096


class ContentCipher:
    """Fulfils `server.conversations.cipher.Cipher`. Without keys everything stays plain.

    Args:
        keys: 32 bytes each, the newest first.

    Raises:
        ValueError: a key of another length. The message says which, never what.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys: dict[str, AESGCM] = {}
        for number, key in enumerate(keys, 1):
            if len(key) != KEY_BYTES:
                raise ValueError(f"key {number} has {len(key)} bytes instead of {KEY_BYTES}")
            self._keys.setdefault(_fingerprint(key), AESGCM(key))
        self._told: dict[Place, None] = {}

    @classmethod
    def from_base64(cls, keys: Iterable[str]) -> Self:
        """From keys as they are configured.

        Raises:
            ValueError: one is not the base64 of 32 bytes. The message says which, never what.
        """
        decoded = []
        for number, key in enumerate(keys, 1):
            try:
                decoded.append(base64.b64decode(key, validate=True))
            except ValueError as error:
                raise ValueError(f"key {number} is not base64") from error
        return cls(decoded)

    @property
    def newest(self) -> str | None:
        """See `Cipher.newest`."""
        return next(iter(self._keys), None)

    @property
    def known(self) -> tuple[str, ...]:
        """See `Cipher.known`."""
        return tuple(self._keys)

    def seal(self, text: str, place: Place) -> Sealed:
        """See `Cipher.seal`."""
        newest = self.newest
        if newest is None:
            return Sealed(text, None)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[newest].encrypt(nonce, text.encode(), _bound_to(place))
        return Sealed(base64.b64encode(nonce + sealed).decode("ascii"), newest)

    def open(self, value: Sealed, place: Place) -> str | None:
        """See `Cipher.open`."""
        if value.key is None:
            return value.text
        key = self._keys.get(value.key)
        if key is None:
            self._tell(place, value.key, "its key is gone")
            return None
        try:
            raw = base64.b64decode(value.text, validate=True)
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(place)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            self._tell(place, value.key, "it is not what was sealed here")
            return None

    def _tell(self, place: Place, key: str, reason: str) -> None:
        """Once per value: whoever reads a page of such rows again and again fills no log."""
        if place in self._told:
            return
        if len(self._told) >= _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[place] = None
        log.error(
            "content cannot be opened",
            extra={
                "table": place.table,
                "column": place.column,
                "row": place.row,
                "key": key,
                "reason": reason,
            },
        )


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"content key\0" + key).hexdigest()[:_ID_DIGITS]


def _bound_to(place: Place) -> bytes:
    """The associated data; no part of a place holds a line break."""
    return f"content\n{place.user}\n{place.table}\n{place.column}\n{place.row}".encode()
