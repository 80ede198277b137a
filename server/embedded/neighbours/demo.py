"""`POST /demo/assessments`, for development: somebody finishes an assessment. No real service has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

import msgspec

from server.embedded.neighbours.doors import Broker, ChatService, NotHeard
from server.embedded.neighbours.finishing import Finished, play
from server.embedded.neighbours.http import Request, Response, answer, refusal
from server.embedded.neighbours.keys import UUID, has_key
from server.embedded.neighbours.world import World

log = logging.getLogger(__name__)

_MOST = 100


class _Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whose assessment, in which language its result is written, and where the chat service listens."""

    user: str
    chat_url: str
    language: Literal["id", "en"] = "id"


class Demo:
    """Assessments being finished. `pause_seconds` is how long a step takes; `changed` is told of ends."""

    def __init__(
        self, world: World, broker: Broker | None, *, pause_seconds: float, changed: Callable[[], None]
    ) -> None:
        self._world = world
        self._broker = broker
        self._pause_seconds = pause_seconds
        self._changed = changed
        self._playing: set[asyncio.Task[None]] = set()

    def respond(self, request: Request) -> Response:
        """Begin one, and answer at once: 202 with the ids its steps will name."""
        if not has_key(request, self._world):
            return refusal(401, "UNAUTHORIZED", "Service authentication required")
        if (request.method, request.path) != ("POST", "/demo/assessments"):
            return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")
        try:
            asked = msgspec.convert(request.json(), _Asked)
        except msgspec.ValidationError as error:
            return refusal(400, "VALIDATION_ERROR", str(error))
        if not UUID.fullmatch(asked.user) or not asked.chat_url.startswith(("http://", "https://")):
            return refusal(400, "VALIDATION_ERROR", "user must be a UUID and chat_url an http URL")
        if len(self._playing) >= _MOST:
            return refusal(429, "TOO_MANY_REQUESTS", "Too many assessments are being analysed")
        finished = Finished(asked.user.lower(), asked.language)
        task = asyncio.create_task(self._play(finished, asked.chat_url))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)
        data = {"jobId": finished.job, "resultId": finished.result, "status": "queued"}
        return answer({"success": True, "message": "Assessment submitted successfully", "data": data}, 202)

    async def aclose(self) -> None:
        """Leave off; what is half done stays so."""
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def _play(self, finished: Finished, chat_url: str) -> None:
        async with ChatService(chat_url, service_key=self._world.service_key) as chat:
            try:
                await play(finished, self._world, chat, self._broker, pause_seconds=self._pause_seconds)
            except NotHeard as error:
                log.warning("an assessment's flow broke off: %s", error)
            finally:
                self._changed()
