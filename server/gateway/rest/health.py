"""Health (REST contract, "The rest"): for people, for containers, for load balancers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from server.conversations.wire import iso_time
from server.gateway import house_schemas
from server.gateway.answers import answer
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import not_found

_PROBE_SECONDS = 3.0
_TAG = "health"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Depth(msgspec.Struct, frozen=True):
    """How far to ask: `full` asks the upstream too."""

    full: bool = False


async def health(front: Front, asked: Asked[Nothing, Depth]) -> Response:
    """`GET /health`: every dependency, asked now; 503 when one is unhealthy."""
    probes = dict(front.health.probes)
    if asked.query.full:
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


async def live(front: Front, asked: Asked[Nothing, Nothing]) -> Response:  # noqa: ARG001 - a handler's signature
    """`GET /health/live`: the process answers."""
    return answer({"status": "alive", "timestamp": iso_time(datetime.now(UTC))})


async def ready(front: Front, asked: Asked[Nothing, Nothing]) -> Response:  # noqa: ARG001
    """`GET /health/ready`: whether the node takes sessions."""
    reason = front.ready()
    if reason is not None:
        return answer({"status": "not ready", "reason": reason}, status=503)
    return answer({"status": "ready"})


async def metrics(front: Front, asked: Asked[Nothing, Nothing]) -> Response:  # noqa: ARG001
    """`GET /metrics`."""
    if front.metrics is None:
        raise not_found("resource")
    return Response(front.metrics(), media_type=_METRICS, headers={"Cache-Control": "no-store"})


async def _probe(probe: Callable[[], Awaitable[bool | None]]) -> dict[str, Any]:
    began = time.monotonic()
    asking = asyncio.ensure_future(_answer(probe))
    # not awaited when it is late: to give a call up may take a client library as long again
    done, _ = await asyncio.wait([asking], timeout=_PROBE_SECONDS)
    asking.cancel()
    healthy = asking.result() if done else False
    if healthy is None:
        return {"status": "disabled"}
    latency = round((time.monotonic() - began) * 1000, 1)
    return {"status": "healthy" if healthy else "unhealthy", "latency_ms": latency}


async def _answer(probe: Callable[[], Awaitable[bool | None]]) -> bool | None:
    try:
        return await probe()
    except Exception:  # noqa: BLE001 - whatever it is, the dependency does not answer
        return False


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="GET",
        path="/health",
        handler=health,
        summary="Every dependency, asked now",
        tag=_TAG,
        who="anyone",
        limited=False,
        query=Depth,
        answers={
            200: Answer("All are healthy, or not configured.", house_schemas.HealthView),
            503: Answer("One is not.", house_schemas.HealthView),
        },
    ),
    Endpoint(
        method="GET",
        path="/health/live",
        handler=live,
        summary="Whether the process answers",
        tag=_TAG,
        who="anyone",
        limited=False,
        answers={200: Answer("It does.", house_schemas.Alive)},
    ),
    Endpoint(
        method="GET",
        path="/health/ready",
        handler=ready,
        summary="Whether the node takes sessions",
        tag=_TAG,
        who="anyone",
        limited=False,
        answers={
            200: Answer("It does.", house_schemas.Ready),
            503: Answer("It does not.", house_schemas.NotReady),
        },
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Figures for Prometheus",
        tag=_TAG,
        who="anyone",
        limited=False,
        answers={200: Answer("Prometheus' text format.", str, "text/plain")},
    ),
)
