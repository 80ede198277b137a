"""From a sealed record to the end everybody sees: commit, conclude, let the lease go.

The record is decided; this only carries it out, and any node may. Each step is idempotent, so a death
between two of them is completed by whoever sweeps the lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from protocol.codec import encode
from server.channels.broker import BrokerUnavailable
from server.generations.house import House
from server.generations.order import EndUnavailable
from server.generations.restoring import sealed_state
from server.generations.sealed import SealedEnd, encode_end
from server.generations.store import Fenced, Gone, Sealed

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_KNOWN_SECONDS = 1.0


async def known_end(house: House, user: str, generation: str) -> SealedEnd | None:
    """The end that is written down, if there is one and the database says so soon.

    Asked before a generation that seems to run is taken over or written again: the store may have lost its
    end, which was told.
    """
    try:
        async with asyncio.timeout(_KNOWN_SECONDS):
            return await house.ends.read(user, generation)
    except (EndUnavailable, TimeoutError):
        return None


async def tell_again(house: House, end: SealedEnd, *, attempt: int) -> None:
    """Tell an end that is written down, where the store still has the generation running."""
    try:
        await _again(
            lambda: house.store.seal(end.user, end.generation, expected=attempt, record=encode_end(end))
        )
    except (Fenced, Gone):
        return
    except Sealed:
        pass
    await complete(house, end)


async def complete(house: House, end: SealedEnd) -> None:
    """Commit the end and publish it; returns when both are done.

    A commit that takes longer than `commit_seconds` does not hold the end back: it is published with
    `persisted: false` and committed as soon as the database is there.
    """
    commit = asyncio.create_task(_commit(house, end), name=f"commit {end.generation}")
    try:
        await asyncio.wait({commit}, timeout=house.limits.commit_seconds)
        persisted = commit.done() and commit.result()
        await _conclude(house, end, persisted=persisted)
        if not commit.done():
            log.warning("end published before it is durable", extra={"generation": end.generation})
            await commit
        if not persisted:
            await _again(lambda: house.store.mark_persisted(end.user, end.generation))
        house.ended(end)
        await _again(lambda: house.leases.drop(end.user, end.generation))
    finally:
        commit.cancel()


async def _commit(house: House, end: SealedEnd) -> bool:
    pause = _FIRST_PAUSE
    while True:
        try:
            return await house.ends.write(end)
        except EndUnavailable:
            pass
        except Exception:
            # what is decided is told and kept all the same, until the database is put right
            log.exception("an end cannot be written", extra={"generation": end.generation})
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _conclude(house: House, end: SealedEnd, *, persisted: bool) -> None:
    event = encode(msgspec.structs.replace(end.finished, persisted=persisted))
    while True:
        try:
            await _again(
                lambda: house.store.conclude(end.user, end.generation, event=event, persisted=persisted)
            )
        except Gone:
            # the store has lost the seal meanwhile; it is here
            if not await _again(lambda: house.store.restore(sealed_state(end, owner=house.owner))):
                log.warning("another owner ends it", extra={"generation": end.generation})
                return
        else:
            return


async def _again(call: Callable[[], Awaitable[T]]) -> T:
    pause = _FIRST_PAUSE
    while True:
        try:
            return await call()
        except BrokerUnavailable:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
