"""Tells the archive which conversation belongs to a result: due work, by whichever node is alive.

The archive being away holds nobody up: the user's conversation is there all the same.
"""

from __future__ import annotations

import asyncio
import logging
import random

from server.assessments.archive import Archive, NotThere
from server.assessments.neighbours import NeighbourFailure
from server.assessments.store import AssessmentStore, DueLink
from server.conversations.store import StoreUnavailable

log = logging.getLogger(__name__)

_BATCH = 20


class ArchiveLinks:
    """One loop per node. `seconds` is how often it looks."""

    def __init__(self, store: AssessmentStore, archive: Archive, *, seconds: float = 1.0) -> None:
        self._store = store
        self._archive = archive
        self._seconds = seconds
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """A conversation was begun here: tell the archive now."""
        self._kicked.set()

    async def run(self) -> None:
        """Tell what is due, for ever."""
        while True:
            try:
                await self._tell_due()
            except StoreUnavailable:
                log.info("the database is away; what the archive is to be told waits")
            except Exception:
                log.exception("telling the archive failed")
            pause = self._seconds * random.uniform(0.8, 1.2)  # noqa: S311 - so that nodes do not look together
            try:
                async with asyncio.timeout(pause):
                    await self._kicked.wait()
            except TimeoutError:
                pass
            self._kicked.clear()

    async def _tell_due(self) -> None:
        while due := await self._store.system_due_links(limit=_BATCH):
            told = await asyncio.gather(*(self._tell(link) for link in due))
            if not any(told):
                return

    async def _tell(self, link: DueLink) -> bool:
        try:
            await self._archive.link(link.result_id, link.conversation)
        except (NotThere, NeighbourFailure) as failure:
            facts = {"assessment": link.result_id, "tries": link.tries, "reason": str(failure)}
            log.info("the archive was not told of a conversation", extra=facts)
            return False
        await self._store.system_linked(link)
        return True
