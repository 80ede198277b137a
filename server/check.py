"""Whether each dependency can be reached: what `python -m server check` asks."""

from __future__ import annotations

import asyncio
import time

from server.adapters.atma.neighbour import Neighbour
from server.adapters.openrouter.upstream import OpenRouter
from server.adapters.postgres.migration_files import MigrationError
from server.adapters.rabbitmq.publisher import RabbitPublisher
from server.adapters.redis.adapter import RedisAdapter
from server.app import prepare_database
from server.assembly import Surroundings
from server.assessments.neighbours import NeighbourRefused, NeighbourUnavailable
from server.conversations.store import StoreUnavailable
from server.embedded.neighbours.process import URLS
from server.settings import Settings

_BROKER_SECONDS = 10.0
_POLL_SECONDS = 0.05


async def reach_all(settings: Settings, around: Surroundings, admin_url: str) -> dict[str, str]:
    """What is wrong with each dependency, by name; empty where nothing is.

    RabbitMQ and the neighbours are asked only where they are configured: a node goes without them.
    """
    results = {
        "PostgreSQL": await _database(settings, around, admin_url),
        "Redis": await _redis(around),
        "OpenRouter": await _openrouter(settings, around),
    }
    if settings.rabbitmq_url:
        results["RabbitMQ"] = await _broker(settings.rabbitmq_url.get_secret_value(), settings)
    for name in URLS:
        if url := getattr(settings, name.lower()):
            results[name.partition("_")[0].lower()] = await _neighbour(url, around)
    return results


async def _database(settings: Settings, around: Surroundings, admin_url: str) -> str:
    try:
        await prepare_database(settings, around, admin_url)
    except (StoreUnavailable, MigrationError) as error:
        return f"fails: {error}"
    return ""


async def _redis(around: Surroundings) -> str:
    redis = RedisAdapter(around.redis_url, process="check")
    try:
        return "" if await redis.reachable() else "fails: it does not answer"
    finally:
        await redis.aclose()


async def _openrouter(settings: Settings, around: Surroundings) -> str:
    openrouter = OpenRouter(
        base_url=around.openrouter_base_url,
        keys=around.openrouter_keys,
        referer=settings.http_referer,
        title=settings.x_title,
    )
    try:
        return "" if await openrouter.reachable() else "fails: it does not answer, or refuses the key"
    finally:
        await openrouter.aclose()


async def _broker(url: str, settings: Settings) -> str:
    publisher = RabbitPublisher(url, exchange=settings.events_exchange_name)
    publisher.start()
    deadline = time.monotonic() + _BROKER_SECONDS
    try:
        while not publisher.connected and time.monotonic() < deadline:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(_POLL_SECONDS)
        return "" if publisher.connected else f"fails: {publisher.problem or 'it does not answer'}"
    finally:
        await publisher.aclose()


async def _neighbour(url: str, around: Surroundings) -> str:
    neighbour = Neighbour("neighbour", url, service_key=around.internal_key)
    try:
        await neighbour.ask("GET", "/health", attempts=1)
    except NeighbourUnavailable as error:
        return f"fails: {error.reason}"
    except NeighbourRefused:
        return ""  # it answers in the ecosystem's way: which paths it has is another matter
    finally:
        await neighbour.aclose()
    return ""
