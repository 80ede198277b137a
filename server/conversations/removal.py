"""Deleting a conversation, erasing a user: what is being written stops first.

A stop is an intent in the shared store, kept by whichever node writes. The removal waits a moment for the
ends; one that comes later finds nothing to be written to (of a deleted conversation only the bill is kept, of
an erased user nothing).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from server.channels.broker import Broker
from server.conversations.audit import Caller
from server.conversations.store import ConversationStore
from server.conversations.user_data import Erased, UserData
from server.generations.store import GenerationStore

_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.2


class UserKeys(Protocol):
    """What the shared store holds of a user. Both raise `BrokerUnavailable`."""

    async def revoke(self, user: str) -> int:
        """Refuse the user's tokens issued until now, and close their sessions on every node."""
        ...

    async def erase(self, user: str) -> int:
        """Remove the user's log, texts and all else; how many keys went."""
        ...


class Removal:
    """The use cases. `patience_seconds` is how long a removal waits for what it stopped."""

    def __init__(
        self,
        store: ConversationStore,
        user_data: UserData,
        generation_store: GenerationStore,
        broker: Broker,
        user_keys: UserKeys,
        *,
        patience_seconds: float = 5.0,
    ) -> None:
        self._store = store
        self._user_data = user_data
        self._generation_store = generation_store
        self._broker = broker
        self._user_keys = user_keys
        self._patience_seconds = patience_seconds

    async def delete(self, user: str, conversation: str, *, caller: Caller) -> None:
        """Stop what is written in a conversation, then delete it.

        Raises:
            NotFound: also the second time.
            StoreUnavailable, BrokerUnavailable: nothing is deleted then.
        """
        await self._store.conversation(user, conversation)
        snapshot = await self._broker.snapshot(user)
        running = [each.generation for each in snapshot.running if each.conversation == conversation]
        await self._stop(user, running)
        # with those that were accepted meanwhile
        await self._stop(user, await self._store.delete(user, conversation, caller=caller))

    async def erase(self, user: str, *, caller: Caller) -> Erased:
        """Erase a user: rows, log, texts, sessions. A second time there is nothing left.

        After an error in the middle, calling again goes on.

        Raises:
            StoreUnavailable, BrokerUnavailable
        """
        # first the tombstone: from here on nobody writes for the user any more
        rows = await self._user_data.erase(user, caller=caller)
        await self._user_keys.revoke(user)
        snapshot = await self._broker.snapshot(user)
        await self._stop(user, {*rows.running, *(each.generation for each in snapshot.running)})
        await self._user_keys.erase(user)
        return rows

    async def _stop(self, user: str, generations: Iterable[str]) -> None:
        """Ask all of them to stop, and wait until they have, or patience ends."""
        going = set(generations)
        pause = _PAUSE_SECONDS
        began = asyncio.get_running_loop().time()
        while going:
            statuses = {each: await self._generation_store.request_stop(user, each) for each in going}
            waited = asyncio.get_running_loop().time() - began
            if waited >= self._patience_seconds:
                return
            # what is accepted and has not begun has no place for the intent yet; what never begins is waited
            # for a little less
            unbegun = waited < self._patience_seconds / 5
            going = {
                each
                for each, status in statuses.items()
                # a sealed one is still to be told, and whoever tells it would write again what is gone
                if status in {"running", "sealed"} or (status is None and unbegun)
            }
            if going:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
