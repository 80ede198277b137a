"""The doors of the platform by which the chat service hears of an assessment: its REST, and the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from server.embedded.neighbours.worker import WorkerMessage

_ATTEMPTS = 6
_FIRST_WAIT_SECONDS = 0.25
_ATTEMPT_SECONDS = 20.0
_UNAVAILABLE = 500


class NotHeard(Exception):  # noqa: N818 - a state of the world, named as one
    """The chat service did not take what it was told."""


class ChatService:
    """The chat service's internal REST, at `url` (`http://host:port`), as an async context manager."""

    def __init__(self, url: str, *, service_key: str) -> None:
        # a part of a second to import, and a server's start waits for ours
        import httpx  # noqa: PLC0415

        self._errors = httpx.HTTPError
        self._client = httpx.AsyncClient(
            base_url=f"{url}/api/chat",
            headers={"X-Internal-Service": "true", "X-Service-Key": service_key},
            timeout=_ATTEMPT_SECONDS,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Nothing is connected before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._client.aclose()

    async def notify(self, user: str, stage: str, *, assessment: str) -> None:
        """Tell a user how far their assessment is.

        Raises:
            NotHeard
        """
        body = {"user_id": user, "stage": stage, "assessment_id": assessment}
        await self._post("/internal/notifications", body)

    async def initialize(self, user: str, *, assessment: str) -> None:
        """Ask for the conversation about a result.

        Raises:
            NotHeard
        """
        body = {"user_id": user, "assessment_id": assessment, "trigger_source": "assessment_complete"}
        await self._post("/conversations/auto-initialize", body)

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        said = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
            try:
                response = await self._client.post(path, json=body)
            except self._errors as error:
                said = f"{type(error).__name__}: {error}"
                continue
            if response.is_success:
                return
            said = f"{response.status_code} {response.text[:200]}"
            if response.status_code < _UNAVAILABLE:
                break
        raise NotHeard(f"POST {path}: {said}")


class Broker:
    """The events exchange. The worker waits for no confirmation; here one is waited for, to tell failures."""

    def __init__(self, url: str, *, exchange: str) -> None:
        self._url = url
        self._exchange = exchange

    async def publish(self, message: WorkerMessage) -> None:
        """Publish, on a connection of its own: assessments are rare.

        Raises:
            NotHeard
        """
        # half a second to import, and most runs have no broker
        import aio_pika  # noqa: PLC0415

        try:
            connection = await aio_pika.connect(self._url, timeout=_ATTEMPT_SECONDS)
            async with connection:
                channel = await connection.channel()
                exchange = await channel.declare_exchange(
                    self._exchange, aio_pika.ExchangeType.TOPIC, durable=True
                )
                await exchange.publish(
                    aio_pika.Message(
                        message.body,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        message_id=message.message_id,
                        timestamp=message.timestamp_ms / 1000,
                    ),
                    routing_key=message.routing_key,
                )
        except (aio_pika.exceptions.AMQPError, OSError, TimeoutError) as error:
            raise NotHeard(f"publish {message.routing_key}: {type(error).__name__}: {error}") from error
