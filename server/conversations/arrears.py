"""Ends that were told and are not in the database yet: whoever looks there next writes them first.

An end is published with `persisted: false` when the database does not take it in time; its sealed record
waits in the shared store. What reads or goes on with the conversation must not miss it.
"""

from __future__ import annotations

from server.channels.broker import BrokerUnavailable
from server.generations.order import EndUnavailable, EndWriter
from server.generations.sealed import decode_end
from server.generations.store import GenerationStore


class Arrears:
    """Sealed ends of a user that wait for the database."""

    def __init__(self, store: GenerationStore, ends: EndWriter) -> None:
        self._store = store
        self._ends = ends

    async def settle(self, user: str) -> bool:
        """Write what waits; `False`: the database does not take it now.

        Nothing is known to wait while the shared store is away, and then nothing new is accepted either.
        """
        try:
            for generation in await self._store.unpersisted(user):
                record = await self._store.read(user, generation)
                if record is None or not record.record:
                    continue
                await self._ends.write(decode_end(record.record))
                if record.status == "concluded":
                    await self._store.mark_persisted(user, generation)
        except EndUnavailable:
            return False
        except BrokerUnavailable:
            return True
        return True
