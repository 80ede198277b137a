"""Clients that come back by themselves, as real ones do: told to move they move, cut they back off.

A client of either door stays with the balancer's address until told to leave; what it asks is asked again until
it is answered, under the same id.

    guests = [Returning.at(cluster, number) for number in range(10)]
    async with asyncio.TaskGroup() as talking:
        for guest in guests:
            talking.create_task(guest.converse(enough, within=60))
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from websockets.exceptions import WebSocketException

from tests.cluster.balanced import BalancedCluster
from tests.running import new_uuid
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.tokens import token_for
from tests.scripted.websocket_client import RecordingClient

_POLL_SECONDS = 0.05
_HEALTHY_SECONDS = 30.0
LONGEST_SECONDS = 20.0
"""The longest back-off of a client that is cut again and again."""
_FIRST_SECONDS = 0.5
_LIFE_SECONDS = 12 * 3600.0
_CUT = (OSError, WebSocketException, ConnectionEndedError, StreamRefusedError, httpx.TransportError)


class RefusedError(AssertionError):
    """The server said no to what it must accept; the message is its answer."""


@dataclass
class Returning:
    """One client that is connected for as long as it can be; run `stay` beside what it asks.

    `ws_url` is where sockets go; an SSE client has its address itself. `answers` are the generations it asked
    for, `asked` when it began to ask for each and when that was accepted.
    """

    client: RecordingClient | SseClient
    ws_url: str
    rng: random.Random
    answers: list[str] = field(default_factory=list)
    asked: list[tuple[float, float]] = field(default_factory=list)
    _conversation: str | None = None

    @classmethod
    def at(cls, cluster: BalancedCluster, number: int, seed: int) -> Self:
        """A new user's client, every other one by SSE."""
        user = new_uuid()
        client: RecordingClient | SseClient
        if number % 2:
            client = SseClient(cluster.base, _token(user), user=user, name=f"sse {number}")
        else:
            client = RecordingClient(_token(user), user=user, name=f"socket {number}")
        cluster.clients.append(client)
        return cls(client, cluster.ws_url, random.Random(seed * 10_000 + number))

    async def converse(self, enough: asyncio.Event, within: float) -> None:
        """Ask one thing after the other until it is enough; the last answer is heard to its end.

        Raises:
            RefusedError, TimeoutError: an answer did not end within so many seconds.
        """
        staying = asyncio.create_task(self.stay())
        try:
            while not enough.is_set():
                await self.until_ended(await self.ask("Tell me all"), within)
        finally:
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)

    # --- staying connected --------------------------------------------------------------------

    async def stay(self) -> None:
        """Connect, and connect again, for ever."""
        tries = 0
        while True:
            mark, began = self.client.mark(), time.monotonic()
            try:
                await self._connect()
                await self.client.wait_end(_LIFE_SECONDS)
            except _CUT:
                pass
            if time.monotonic() - began > _HEALTHY_SECONDS:
                tries = 0
            told = self._told_to_move(mark)
            if told is None:
                await asyncio.sleep(self.rng.uniform(0, min(LONGEST_SECONDS, _FIRST_SECONDS * 2**tries)))
                tries += 1
            else:
                await asyncio.sleep(max(0.0, told - time.monotonic()))

    async def _connect(self) -> None:
        if isinstance(self.client, SseClient):
            await self.client.connect(until=None)
        else:
            await self.client.connect(self.ws_url, until=None)

    def _told_to_move(self, mark: int) -> float | None:
        """When to come back, as the server last said on the connection that began at `mark`, if it did."""
        for heard in reversed(self.client.recording.heard[mark:]):
            if heard.frame["type"] == "drain":
                return float(heard.at + heard.frame["reconnect_in_ms"] / 1000)
        return None

    # --- asking -------------------------------------------------------------------------------

    async def ask(self, question: str, within: float = 60.0) -> str:
        """Ask until it is accepted; the generation.

        Raises:
            RefusedError, TimeoutError
        """
        key, began = new_uuid(), time.monotonic()
        async with asyncio.timeout(within):
            while True:
                try:
                    generation = await self._ask(question, key)
                except _CUT:
                    generation = None
                if generation is not None:
                    self.answers.append(generation)
                    self.asked.append((began, time.monotonic()))
                    return generation
                await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, question: str, key: str) -> str | None:
        if isinstance(self.client, SseClient):
            return await self._post(self.client, question, key)
        if not self.client.connected:
            return None
        fields: dict[str, Any] = {"conversation": self._conversation} if self._conversation else {}
        answer = await self.client.send("message.send", content=question, client_message_id=key, **fields)
        if answer["type"] == "error":
            if not answer["retryable"]:
                raise RefusedError(str(answer))
            await asyncio.sleep(answer.get("retry_after_ms", 1000) / 1000)
            return None
        self._conversation = answer["conversation"]
        return str(answer["generation"])

    async def _post(self, client: SseClient, question: str, key: str) -> str | None:
        if self._conversation is None:
            made = await client.rest("POST", "/api/chat/conversations", {})
            if made.status_code != httpx.codes.CREATED:
                _only_unavailable(made)
                return None
            self._conversation = made.json()["id"]
        answer = await client.rest(
            "POST",
            f"/api/chat/conversations/{self._conversation}/messages",
            {"content": question, "client_message_id": key},
            Prefer="respond-async",
        )
        if answer.status_code != httpx.codes.ACCEPTED:
            _only_unavailable(answer)
            return None
        return str(answer.json()["generation"])

    async def until_ended(self, generation: str, within: float) -> None:
        """Wait until its end is heard, over however many connections.

        Raises:
            TimeoutError: with what was heard last.
        """
        deadline = time.monotonic() + within
        while generation not in self.client.held.finished:
            if time.monotonic() > deadline:
                recording = self.client.recording
                raise TimeoutError(f"{recording.name}: {generation} has no end; {recording.heard[-3:]}")
            await asyncio.sleep(_POLL_SECONDS)


def _token(user: str) -> str:
    return token_for(user, ttl=_LIFE_SECONDS)


def _only_unavailable(answer: httpx.Response) -> None:
    # of the node, or of the balancer while it has none, or whose node died before it answered
    if answer.status_code not in {503, 502, 504}:
        raise RefusedError(f"{answer.status_code}: {answer.text}")
