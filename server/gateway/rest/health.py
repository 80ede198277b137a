"""Health (REST contract, "The rest"): for people, for containers, for load balancers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.conversations.wire import iso_time
from server.gateway.answers import answer
from server.gateway.front import Front

_PROBE_SECONDS = 3.0


async def health(front: Front, request: Request) -> Response:
    """`GET /health`: every dependency, asked now; 503 when one is unhealthy."""
    probes = dict(front.health.probes)
    if request.query_params.get("full") == "true":
        probes |= front.health.full
    results = await asyncio.gather(*(_probe(probe) for probe in probes.values()))
    dependencies = dict(zip(probes, results, strict=True))
    sick = any(result["status"] == "unhealthy" for result in results)
    body = {
        "status": "unhealthy" if sick else "healthy",
        "timestamp": iso_time(datetime.now(UTC)),
        "service": "chatbot-service",
        "version": front.version,
        "dependencies": dependencies,
    }
    return answer(body, status=503 if sick else 200)


async def live(front: Front, request: Request) -> Response:  # noqa: ARG001 - a handler's signature
    """`GET /health/live`: the process answers."""
    return answer({"status": "alive", "timestamp": iso_time(datetime.now(UTC))})


async def ready(front: Front, request: Request) -> Response:  # noqa: ARG001
    """`GET /health/ready`: whether the node takes sessions."""
    reason = front.ready()
    if reason is not None:
        return answer({"status": "not ready", "reason": reason}, status=503)
    return answer({"status": "ready"})


async def _probe(probe: Callable[[], Awaitable[bool | None]]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            healthy = await probe()
    except Exception:  # noqa: BLE001 - whatever it is, the dependency does not answer
        healthy = False
    if healthy is None:
        return {"status": "disabled"}
    latency = round((time.monotonic() - began) * 1000, 1)
    return {"status": "healthy" if healthy else "unhealthy", "latency_ms": latency}
