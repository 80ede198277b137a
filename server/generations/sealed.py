"""The sealed end of a generation: everything any node needs to write it down and tell it.

Sans-I/O. The owner decides the end once, by sealing this record in the store; from then on whoever is
alive commits exactly it and publishes exactly it.
"""

from __future__ import annotations

import msgspec

from protocol.frames import EndStatus, GenerationFinished


class AttemptBill(msgspec.Struct, frozen=True, kw_only=True):
    """The bill of one attempt; `cost` is a plain decimal string in US dollars.

    `due`: to be settled later through `upstream_id` and `key` (a fingerprint).
    """

    attempt: int
    model: str
    served_model: str | None
    prompt_tokens: int
    completion_tokens: int
    cost: str
    state: str
    is_free_model: bool
    processing_time_ms: int
    upstream_id: str | None
    key: str | None
    reached: bool
    failure: str | None
    due: bool


class SealedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """An end. `finished` is the event as a client sees it once it is persisted, without position."""

    user: str
    generation: str
    conversation: str
    reply_to: str | None
    message: str
    status: EndStatus
    finished: GenerationFinished
    bills: tuple[AttemptBill, ...]
    finished_ms: int
    is_free_model: bool


_decoder = msgspec.json.Decoder(SealedEnd)


def encode_end(end: SealedEnd) -> bytes:
    """The record as the store keeps it."""
    return msgspec.json.encode(end)


def decode_end(raw: bytes) -> SealedEnd:
    """Read a record again.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(raw)
