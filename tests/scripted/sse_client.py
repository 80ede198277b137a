"""A client of server-sent events that records everything and can be cut like a cable."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import httpx

from tests.oracle_wire import EVENTS
from tests.scripted.event_stream import EventStreamDecoder, StreamEvent
from tests.scripted.held import Held
from tests.scripted.listening import Listener
from tests.scripted.recording import Frame
from tests.scripted.waiting import DEADLINE_SECONDS

WITH_ID = EVENTS | {"welcome", "synced"}


class StreamRefusedError(Exception):
    """The server answered with something else than a stream."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status
        self.body = body

    @property
    def problem(self) -> dict[str, Any]:
        """The problem details in the body."""
        problem: dict[str, Any] = json.loads(self.body)
        return problem


class SseClient(Listener):
    """One client over SSE; its channel streams resume one another by `Last-Event-ID`.

    `faults` collects what breaks the binding itself: an `id` where none belongs, an `event` that is not the
    frame's type. `comments` and `retries` are what came besides frames.

    Args:
        base: `http://host:port`, any node's.
        token: Sent as a bearer token; `None` sends none.
        user: Whose recording it is.
        name: Said when the oracle finds something.
    """

    def __init__(self, base: str, token: str | None, *, user: str, name: str = "sse client") -> None:
        super().__init__(user, name)
        self.base = base
        self.token = token
        self.last_event_id: str | None = None
        self.headers: httpx.Headers = httpx.Headers()
        self.faults: list[str] = []
        self.comments: list[str] = []
        self.retries: list[int] = []
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(DEADLINE_SECONDS, read=60), trust_env=False)
        self._response: httpx.Response | None = None
        self._numbers = itertools.count(1)

    async def connect(
        self,
        *,
        resume: bool = True,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        until: str | None = "synced",
        within: float = DEADLINE_SECONDS,
    ) -> Frame:
        """Open the channel's stream and return `welcome`.

        Args:
            resume: Present `Last-Event-ID` and the texts held; `False` forgets them.
            query: More of the query, such as `ticket` or `position`.
            headers: More headers.
            until: Wait for a frame of this type; `None` does not wait.
            within: Seconds for all of it.

        Raises:
            StreamRefusedError: the answer is no stream.
        """
        if not resume:
            self.held, self.last_event_id = Held(), None
        params, sent = dict(query or {}), dict(headers or {})
        presented: dict[str, Any] = {}
        if self.last_event_id is not None:
            sent.setdefault("Last-Event-ID", self.last_event_id)
            texts = self.held.resume().get("texts", {})
            presented = {"position": self.last_event_id, "texts": texts}
            if texts:
                params["texts"] = ",".join(f"{g}:{c['attempt']}:{c['at']}" for g, c in texts.items())
        elif "position" in params:
            presented = {"position": params["position"]}
        mark = await self.stream("GET", "/api/chat/events", params=params, headers=sent, presented=presented)
        welcome = await self.wait_for(lambda f: f["type"] == "welcome", within, since=mark)
        if until is not None:
            await self.wait_for(lambda f: f["type"] == until, within, since=mark)
        return welcome

    async def stream(
        self,
        method: str,
        path: str,
        *,
        json_body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        presented: Mapping[str, Any] | None = None,
    ) -> int:
        """Open any stream of frames: of one turn, of one generation; the mark where its frames begin.

        `presented` makes it a session of the channel for the oracle.

        Raises:
            StreamRefusedError: the answer is no stream.
        """
        await self.cut()
        everything = {"Accept": "text/event-stream", **self._authorization(), **(headers or {})}
        request = self._http.build_request(
            method, self.base + path, json=json_body, params=params, headers=everything
        )
        response = await self._http.send(request, stream=True)
        self.headers = response.headers
        kind = response.headers.get("content-type", "")
        if response.status_code != httpx.codes.OK or not kind.startswith("text/event-stream"):
            body = await response.aread()
            await response.aclose()
            raise StreamRefusedError(response.status_code, body)
        number = next(self._numbers)
        if presented is not None:
            self.recording.presented[number] = dict(presented)
        mark = self.mark()
        self._response = response
        self._reader = asyncio.create_task(self._read(response, number, of_channel=presented is not None))
        return mark

    async def rest(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One plain request."""
        return await self._http.request(
            method, self.base + path, json=body, headers={**self._authorization(), **headers}
        )

    async def wait_end(self, within: float = DEADLINE_SECONDS) -> None:
        """Wait until the server ends the stream."""
        if self._reader is not None:
            async with asyncio.timeout(within):
                await asyncio.shield(self._reader)

    async def cut(self) -> None:
        """End the TCP connection with a reset."""
        response, reader = self._response, self._reader
        self._response = self._reader = None
        if response is not None and reader is not None:
            stream = response.extensions.get("network_stream")
            sock = stream.get_extra_info("socket") if stream is not None else None
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await response.aclose()

    async def close(self) -> None:
        """Cut, and give everything back."""
        await self.cut()
        await self._http.aclose()

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}

    async def _read(self, response: httpx.Response, number: int, *, of_channel: bool) -> None:
        decoder = EventStreamDecoder()
        try:
            async for chunk in response.aiter_raw():
                for event in decoder.feed(chunk):
                    self._take(event, number, of_channel=of_channel)
        except httpx.TransportError:
            pass  # the server, or what stands between, ended it
        finally:
            self._news.set()

    def _take(self, event: StreamEvent, number: int, *, of_channel: bool) -> None:
        if event.comment is not None:
            self.comments.append(event.comment)
            return
        if event.retry is not None:
            self.retries.append(event.retry)
        if not event.data:
            return
        frame = json.loads(event.data)
        self._hear(number, frame)
        if of_channel:
            self._judge(event, frame)
            self.last_event_id = event.id if event.id is not None else self.last_event_id

    def _judge(self, event: StreamEvent, frame: Frame) -> None:
        kind = frame["type"]
        if event.event != kind:
            self.faults.append(f"event {event.event!r} carries a {kind!r}")
        if (event.id is not None) != (kind in WITH_ID):
            self.faults.append(f"{kind} with id {event.id!r}")
        # with `replay` the id of welcome is the position presented, not the one it names
        if event.id is not None and kind != "welcome" and event.id != frame["position"]:
            self.faults.append(f"{kind} with id {event.id!r} and position {frame['position']!r}")
