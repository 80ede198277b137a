"""What the adapter's tests share: a request, an adapter, and reading a stream to its end."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from server.adapters.openrouter.upstream import OpenRouter
from server.generations.upstream import (
    Opened,
    Reasoning,
    Served,
    Text,
    UpstreamFact,
    UpstreamRequest,
    UsageReported,
)

KEY = "sk-or-sim-1"


def a_request(**changes: Any) -> UpstreamRequest:
    values: dict[str, Any] = {
        "model": "openai/gpt-4o-mini",
        "messages": ({"role": "user", "content": "Which job suits me?"},),
        "max_tokens": 500,
        "temperature": 0.7,
        "user": "u-1",
        "session": "c-1",
        "request_id": "r-1",
        "connect_seconds": 2.0,
    }
    return UpstreamRequest(**{**values, **changes})


def an_adapter(base_url: str, **changes: Any) -> OpenRouter:
    return OpenRouter(
        **{"base_url": base_url, "keys": [KEY], "referer": "https://atma.test", "title": "ATMA", **changes}
    )


async def all_facts(openrouter: OpenRouter, **changes: Any) -> list[UpstreamFact]:
    async with aclosing(openrouter.stream(a_request(**changes))) as stream:
        return [fact async for facts in stream for fact in facts]


def text_of(facts: list[UpstreamFact]) -> str:
    return "".join(fact.text for fact in facts if isinstance(fact, Text))


def reasoning_of(facts: list[UpstreamFact]) -> str:
    return "".join(fact.text for fact in facts if isinstance(fact, Reasoning))


def opened_of(facts: list[UpstreamFact]) -> Opened | None:
    return next((fact for fact in facts if isinstance(fact, Opened)), None)


def served_of(facts: list[UpstreamFact]) -> Served | None:
    return next((fact for fact in facts if isinstance(fact, Served)), None)


def bills_of(facts: list[UpstreamFact]) -> list[UsageReported]:
    return [fact for fact in facts if isinstance(fact, UsageReported)]
