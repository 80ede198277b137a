"""What the auth service says of a token, where it is to be asked (`AUTH_VERIFY_REMOTE`).

It is asked only of tokens that are sound here, and its word is kept for a moment: a user's requests come in
bursts. While it is away nobody is let in on an old word.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable

from server.assessments.accounts import Accounts, TokenVerdict
from server.assessments.neighbours import NeighbourFailure
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.conversations.refusal import unavailable

log = logging.getLogger(__name__)

_GOOD_SECONDS = 15.0
_BAD_SECONDS = 5.0
_MOST = 10_000


class RemoteVerification:
    """Asks once for all who bring the same token at the same time. `now` is monotonic seconds."""

    def __init__(self, accounts: Accounts, now: Callable[[], float]) -> None:
        self._accounts = accounts
        self._now = now
        self._known: OrderedDict[bytes, tuple[float, TokenVerdict]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[TokenVerdict]] = {}

    async def confirm(self, token: str, principal: Principal) -> None:
        """See that the auth service accepts the token as this user's.

        Raises:
            BadToken, ExpiredToken
            Refusal: unavailable, while it cannot be asked.
        """
        # a dump of the memory holds no token
        key = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        held = self._known.get(key)
        if held is not None and self._now() < held[0]:
            verdict = held[1]
        else:
            verdict = await self._ask(key, token)
        if verdict.expired:
            raise ExpiredToken
        if not verdict.valid or verdict.user != principal.user:
            raise BadToken

    async def _ask(self, key: bytes, token: str) -> TokenVerdict:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._accounts.verify(token))
            task.add_done_callback(lambda done: self._heard(key, done))
        try:
            # who leaves early takes nothing from the others
            return await asyncio.shield(task)
        except NeighbourFailure as error:
            raise unavailable() from error

    def _heard(self, key: bytes, task: asyncio.Task[TokenVerdict]) -> None:
        self._asking.pop(key, None)
        if task.cancelled():
            return
        if task.exception() is not None:
            log.warning("the auth service cannot be asked", extra={"error": type(task.exception()).__name__})
            return
        verdict = task.result()
        self._known[key] = (self._now() + (_GOOD_SECONDS if verdict.valid else _BAD_SECONDS), verdict)
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
