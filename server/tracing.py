"""Traces for an operator: spans for an OpenTelemetry collector (OTLP over HTTP, as JSON).

Made of what the rooms observe anyway, so nothing waits for it. A trace is one correlation id: the request or
command that asked, the generation it began on whichever node writes it, and every attempt at a model have the
`X-Request-ID` in common. A collector that is away costs the spans and nothing else. As with metrics, no
attribute holds a user, a text or a token.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx

log = logging.getLogger(__name__)

_EVERY_SECONDS = 1.0
_CALL_SECONDS = 5.0
_KEPT_SPANS = 4096
_SPANS_A_CALL = 512
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3
_ERROR = 2
_SERVER_FAILED = "500"
_QUIET = ("/health", "/metrics")
_SOUND = frozenset({"completed", "cancelled", "ok"})

Span = dict[str, Any]
Labels = dict[str, str]


class Tracing:
    """Collects the spans of one node and sends them.

    Args:
        endpoint: The collector's base URL; spans go to `/v1/traces` below it.
        node: This node's name.
        version: The service's.
        request_id: The correlation id of whatever is going on here; empty where nothing is.
        wall: Seconds since 1970.

    Raises:
        ValueError: the endpoint is no address.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        node: str,
        version: str,
        request_id: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        try:
            self._url = httpx.URL(f"{endpoint.rstrip('/')}/v1/traces")
        except httpx.InvalidURL as error:
            raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT is no address: {error}") from error
        self._resource = _attributes(
            {"service.name": "atma-chat", "service.version": version, "service.instance.id": node}
        )
        self._request_id = request_id
        self._wall = wall
        self._spans: deque[Span] = deque(maxlen=_KEPT_SPANS)
        self._attempts: dict[str, list[tuple[Labels, float]]] = {}
        self._away = False

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Take an observation of the rooms; those that are no stretch of time are passed over."""
        request_id = self._request_id()
        if not request_id:
            return
        match name:
            case "http" if not labels["route"].startswith(_QUIET):
                failed = labels["status"] >= _SERVER_FAILED
                self._add(request_id, f"{labels['method']} {labels['route']}", value, labels, failed, _SERVER)
            case "command" if labels["type"] != "ping":
                failed = labels["outcome"] in {"internal", "unavailable"}
                self._add(request_id, f"command {labels['type']}", value, labels, failed, _SERVER)
            case "attempt":
                # all are told at the end, which comes next
                self._attempts.setdefault(request_id, []).append((labels, value))
            case "end":
                self._end(request_id, labels, value)

    async def run(self) -> None:
        """Send what there is every second, for ever, and once more at the end."""
        # certificates take a while to load, and are for those who speak TLS
        verify = self._url.scheme == "https"
        sending: asyncio.Task[None] | None = None
        async with httpx.AsyncClient(timeout=_CALL_SECONDS, trust_env=False, verify=verify) as client:
            try:
                while True:
                    await asyncio.sleep(_EVERY_SECONDS)
                    sending = asyncio.create_task(self._send(client))
                    # who ends the node takes nothing back that is on its way
                    await asyncio.shield(sending)
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if self._away else _CALL_SECONDS):
                        if sending is not None:
                            await sending
                        await self._send(client)

    def _end(self, request_id: str, labels: Labels, seconds: float) -> None:
        failed = labels["status"] not in _SOUND
        generation = self._add(request_id, "generation", seconds, labels, failed, _INTERNAL)
        ended = self._wall()
        for attempt, took in reversed(self._attempts.pop(request_id, [])):
            # one after the other: each ended where the next began
            self._add(
                request_id,
                f"chat {attempt['model']}",
                took,
                attempt,
                attempt["outcome"] not in _SOUND,
                _CLIENT,
                parent=generation,
                ended=ended,
            )
            ended -= took

    def _add(
        self,
        request_id: str,
        name: str,
        seconds: float,
        labels: Labels,
        failed: bool,  # noqa: FBT001 - a span's status
        kind: int,
        *,
        parent: str | None = None,
        ended: float | None = None,
    ) -> str:
        """Keep a span; its id. Who asked is the root, whose id everybody can tell from the trace's."""
        trace = _trace_of(request_id)
        ended = self._wall() if ended is None else ended
        span = trace[:16] if kind == _SERVER else secrets.token_hex(8)
        self._spans.append(
            {
                "traceId": trace,
                "spanId": span,
                "parentSpanId": "" if kind == _SERVER else parent or trace[:16],
                "name": name,
                "kind": kind,
                "startTimeUnixNano": str(int((ended - seconds) * 1e9)),
                "endTimeUnixNano": str(int(ended * 1e9)),
                "attributes": _attributes(labels),
                "status": {"code": _ERROR} if failed else {},
            }
        )
        return span

    async def _send(self, client: httpx.AsyncClient) -> None:
        while self._spans:
            spans = [self._spans.popleft() for _ in range(min(len(self._spans), _SPANS_A_CALL))]
            scope = {"scope": {"name": "server"}, "spans": spans}
            body = {"resourceSpans": [{"resource": {"attributes": self._resource}, "scopeSpans": [scope]}]}
            try:
                (await client.post(self._url, json=body)).raise_for_status()
            except httpx.HTTPError as error:
                if not self._away:
                    log.warning("the trace collector is away", extra={"error": repr(error)})
                self._away = True
                return
            self._away = False


def _trace_of(request_id: str) -> str:
    """32 hex digits: the correlation id itself where it is a UUID."""
    try:
        return UUID(request_id).hex
    except ValueError:
        return hashlib.sha256(request_id.encode()).hexdigest()[:32]


def _attributes(labels: Labels) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in labels.items()]
