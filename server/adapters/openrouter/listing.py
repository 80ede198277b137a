"""Keeping the listing of models fresh, in the background.

A start never waits for it and never fails by it. A model that the listing does not hold, or that is about
to be retired, is reported once, in time for somebody to change the configuration.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Never

from server.adapters.openrouter.upstream import OpenRouter

Warn = Callable[[str, str], None]
"""Told a slug and what is the matter with it ("is not in OpenRouter's listing")."""


@dataclass(frozen=True, slots=True)
class ListingPace:
    """Seconds between fetches: after a success, and at first and at most after failures."""

    refresh_seconds: float = 3600.0
    retry_seconds: float = 2.0
    longest_retry_seconds: float = 300.0


async def watch_listing(
    openrouter: OpenRouter, configured: Sequence[str], warn: Warn, *, pace: ListingPace | None = None
) -> Never:
    """Fetch the listing now, retry until it is there, and again every `refresh_seconds`.

    Never returns: it is one of the node's tasks.
    """
    pace = pace or ListingPace()
    told: dict[str, str] = {}
    retry = pace.retry_seconds
    while True:
        if await openrouter.refresh_models():
            problems = openrouter.catalogue.problems(configured)
            for slug, problem in problems.items():
                if told.get(slug) != problem:
                    warn(slug, problem)
            told, retry = problems, pace.retry_seconds
            wait = pace.refresh_seconds
        else:
            wait, retry = retry, min(2 * retry, pace.longest_retry_seconds)
        # jittered, so that nodes started together do not ask together for ever
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
