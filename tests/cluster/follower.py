"""A client that does what every real one must: it comes back to any node, resumes, notices silence, sends again
what was not answered, fetches a new token where its own is refused, and asks by REST after a reset.

Everything it hears is in its recording; what it finds wrong itself is in `wrong`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from websockets.exceptions import WebSocketException

from tests.cluster.faulty import FaultyCluster
from tests.cluster.nodes import NodeProcess
from tests.running import new_uuid
from tests.scripted.listening import ConnectionEndedError
from tests.scripted.recording import Frame, Recorded
from tests.scripted.sse_client import SseClient, StreamRefusedError
from tests.scripted.tokens import token_for
from tests.scripted.websocket_client import RecordingClient

Door = Literal["ws", "sse"]

_POLL_SECONDS = 0.02
_FIRST_SECONDS, _LONGEST_SECONDS = 0.05, 0.5
_CONNECT_SECONDS, _ANSWER_SECONDS = 3.0, 6.0
_NEEDS_TOKEN = {4003, 4004, 4005}
_ENDED = {"completed", "cancelled", "failed", "interrupted"}
_GONE = (OSError, WebSocketException, ConnectionEndedError, StreamRefusedError, httpx.HTTPError, TimeoutError)


@dataclass
class Answer:
    """One answer asked for: what it is to be, its generation once acked, and its end where REST told it."""

    text: str
    generation: str = ""
    told: dict[str, Any] | None = None


@dataclass
class Follower:
    """One client. `answers` are what it asked for; `forged` is what it presents instead of its cursors, once."""

    cluster: FaultyCluster
    door: Door
    rng: random.Random
    user: str = field(default_factory=new_uuid)
    name: str = ""
    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    forged: dict[str, Any] | None = None
    connections: int = 0
    node: NodeProcess | None = None
    token_seconds: float = 3600.0
    _connected: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)
    _staying: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.client: RecordingClient | SseClient
        if self.door == "ws":
            self.client = RecordingClient(None, user=self.user, name=self.name)
        else:
            self.client = SseClient("", None, user=self.user, name=self.name)
        self._posts = itertools.count(-1, -1)
        self._looked_at = 0
        self._doubted = -1
        self.renew()

    def renew(self) -> None:
        """Fetch a token, as from the auth service."""
        self.client.token = token_for(self.user, ttl=self.token_seconds)

    # --- staying connected --------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and stay connected until `close`."""
        self._staying = asyncio.create_task(self._stay(), name=f"follower {self.name}")
        async with asyncio.timeout(60):
            await self._connected.wait()

    async def close(self) -> None:
        """Leave for good."""
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.gather(self._staying, return_exceptions=True)
        await self.client.close() if isinstance(self.client, SseClient) else await self.client.cut()

    def cut(self, *, move: bool = False) -> None:
        """End the connection there is; it comes back at once, with `move` to another node if there is one."""
        if move:
            others = [node for node in self.cluster.nodes if node.alive and node is not self.node]
            self.node = self.rng.choice(others) if others else self.node
        self._cut.set()

    async def _stay(self) -> None:
        pause = _FIRST_SECONDS
        while True:
            try:
                await self._connect()
                pause = _FIRST_SECONDS
                await self._until_it_ends()
            except _GONE as error:
                self._after(error)
                await asyncio.sleep(self.rng.uniform(0.01, pause))
                pause = min(pause * 2, _LONGEST_SECONDS)
                self.node = None
            finally:
                self._connected.clear()

    async def _connect(self) -> None:
        alive = [node for node in self.cluster.nodes if node.alive]
        if not alive:
            raise ConnectionRefusedError
        if self.node not in alive:
            self.node = self.rng.choice(alive)
        forged, self.forged = self.forged, None
        if isinstance(self.client, SseClient):
            self.client.base = self.node.base
            if forged is not None:
                self.client.last_event_id = forged["position"]
            async with asyncio.timeout(_CONNECT_SECONDS):
                welcome = await self.client.connect(until=None)
        else:
            resume = forged if forged is not None else True
            welcome = await self.client.connect(
                self.node.ws_url, resume=resume, until=None, within=_CONNECT_SECONDS
            )
        if forged is not None and welcome["resume"] != "reset":
            self.wrong.append(f"{forged} was taken for a position: {welcome}")
        self.connections += 1
        self._silence = 2 * welcome["heartbeat_ms"] / 1000
        self._connected.set()

    async def _until_it_ends(self) -> None:
        reader = self.client._reader
        while reader is not None and not reader.done():
            await asyncio.wait([reader], timeout=_POLL_SECONDS)
            await self._heed()
            silent = time.monotonic() - self.client.recording.heard[-1].at > self._silence
            if silent or self._cut.is_set():
                self._cut.clear()
                await self.client.cut()
        await self._heed()
        if self.client.close_code in _NEEDS_TOKEN:
            self.renew()

    def _after(self, error: BaseException) -> None:
        refused = isinstance(error, StreamRefusedError) and error.status in {401, 403}
        if refused or self.client.close_code in _NEEDS_TOKEN:
            self.renew()

    async def _heed(self) -> None:
        """What a client must act on."""
        heard = self.client.recording.heard
        while self._looked_at < len(heard):
            frame = heard[self._looked_at].frame
            self._looked_at += 1
            if frame["type"] == "reset" or (frame["type"] == "welcome" and frame["resume"] == "reset"):
                self._doubted = self._looked_at
            elif frame["type"] == "auth.expiring" and self.token_seconds < 60:
                self.token_seconds = 3600.0
                self.renew()
                if isinstance(self.client, RecordingClient):
                    await self.client.say("auth", token=self.client.token)
            elif frame["type"] == "error" and frame["code"] == "forbidden" and self.door == "sse":
                self.renew()

    # --- asking ---------------------------------------------------------------------------------------

    async def ask(self, question: str, text: str) -> Answer:
        """Ask until it is acked, under one id."""
        answer = Answer(text)
        self.answers.append(answer)
        key, conversation = new_uuid(), None
        while not answer.generation:
            await self._connected.wait()
            try:
                if isinstance(self.client, RecordingClient):
                    await self._send(self.client, answer, question, key)
                else:
                    conversation = conversation or await self._conversation()
                    if conversation is not None:
                        await self._post(answer, conversation, question, key)
            except (*_GONE, AssertionError):
                pass  # AssertionError: the connection went away under it
            await asyncio.sleep(_POLL_SECONDS)
        return answer

    async def stop(self, answer: Answer) -> None:
        """Ask for its end until that is acked, or it has ended."""
        while not self.has_ended(answer):
            response = await self.rest("POST", f"/generations/{answer.generation}/stop")
            if response is not None and response.status_code == httpx.codes.ACCEPTED:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _send(self, client: RecordingClient, answer: Answer, question: str, key: str) -> None:
        said = await client.send(
            "message.send", within=_ANSWER_SECONDS, content=question, client_message_id=key
        )
        if said["type"] == "ack":
            answer.generation = said["generation"]
        elif said["code"] == "token_expired":
            self.renew()
            await client.say("auth", token=client.token)
        elif not said.get("retryable"):
            self.wrong.append(f"refused for good: {said}")
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(min(said.get("retry_after_ms", 100) / 1000, 0.3))

    async def _conversation(self) -> str | None:
        response = await self.rest("POST", "/conversations", {})
        return str(response.json()["id"]) if response is not None and response.status_code == httpx.codes.CREATED else None  # fmt: skip

    async def _post(self, answer: Answer, conversation: str, question: str, key: str) -> None:
        number = next(self._posts)
        body = {"content": question, "client_message_id": key}
        command: Frame = {"type": "message.send", "id": "post", **body}
        self.client.recording.sent.append(Recorded(number, command, time.monotonic()))
        path = f"/conversations/{conversation}/messages"
        response = await self.rest("POST", path, body, Prefer="respond-async")
        if response is None or response.status_code != httpx.codes.ACCEPTED:
            return
        said = response.json()
        ack: Frame = {
            "type": "ack",
            "re": "post",
            "conversation": conversation,
            "message": said["user_message"]["id"],
            "generation": said["generation"],
        }
        self.client.recording.heard.append(Recorded(number, ack, time.monotonic()))
        answer.generation = said["generation"]

    async def rest(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response | None:
        """One plain request to some node; `None`: none answered, or not now."""
        alive = [node for node in self.cluster.nodes if node.alive]
        if not alive:
            return None
        node = self.node if self.node in alive else self.rng.choice(alive)
        assert node is not None
        try:
            response = await self.cluster.http.request(
                method,
                f"{node.base}/api/chat{path}",
                json=body,
                headers={"Authorization": f"Bearer {self.client.token}", **headers},
            )
        except httpx.HTTPError:
            return None
        if response.status_code in {401, 403}:
            self.renew()
        elif not response.is_success and response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.wrong.append(f"{method} {path}: {response.status_code} {response.text}")
        return response

    # --- the ends -------------------------------------------------------------------------------------

    def has_ended(self, answer: Answer) -> bool:
        """Whether its end was heard, or told by REST."""
        return answer.told is not None or answer.generation in self.client.held.finished

    async def until_ended(self, answer: Answer) -> None:
        """Wait for its end; after a reset ask for it by REST, as the protocol says."""
        asked = -1
        while not self.has_ended(answer):
            if self._doubted > asked:
                before = self._doubted
                response = await self.rest("GET", f"/generations/{answer.generation}")
                if response is not None and response.is_success:
                    asked = before
                    said = response.json()
                    answer.told = said if said["status"] in _ENDED else None
            await asyncio.sleep(_POLL_SECONDS)

    def content(self, answer: Answer) -> tuple[str, str]:
        """How it ended, and the text shown."""
        end = answer.told or self.client.held.finished[answer.generation]
        return str(end["status"]), str((end["message"] or {}).get("content") or "")

    def moves(self, answer: Answer) -> list[float]:
        """When its text moved, or ended."""
        kinds = {"delta", "generation.finished"}
        return [
            heard.at
            for heard in self.client.recording.heard
            if heard.frame.get("generation") == answer.generation and heard.frame["type"] in kinds
        ]
