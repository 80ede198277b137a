"""Usage as clients see it, in REST bodies.

Sans-I/O. Costs become plain decimal strings, dates ISO 8601.
"""

from __future__ import annotations

from typing import Any

from server.conversations.usage import ConversationUsage, ModelUsage, Period, TokenUsage, UsageSummary
from server.conversations.wire import iso_time, plain_decimal


def message_usage_json(usage: TokenUsage) -> dict[str, Any]:
    """The usage of one answer, as in `generation.finished`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cost": plain_decimal(usage.cost),
        "state": usage.state,
    }


def conversation_usage_json(usage: ConversationUsage) -> dict[str, Any]:
    """The body of `GET /conversations/{id}/usage`."""
    return {
        "total_tokens": usage.total_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_cost": plain_decimal(usage.cost),
        "cost_breakdown": [_model(part) for part in usage.by_model],
        "model_usage": {part.model: part.tokens for part in usage.by_model},
    }


def usage_summary_json(period: Period, usage: UsageSummary) -> dict[str, Any]:
    """The body of `GET /usage/summary`."""
    return {
        "period": period.kind,
        "from": iso_time(period.start),
        "to": iso_time(period.end),
        "total_tokens": usage.total_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_cost": plain_decimal(usage.cost),
        "conversations_count": usage.conversations,
        "messages_count": usage.messages,
        "requests": usage.requests,
        "free_requests": usage.free_requests,
        "by_model": [_model(part) for part in usage.by_model],
        "timeline": [
            {
                "date": part.day.isoformat(),
                "tokens": part.tokens,
                "cost": plain_decimal(part.cost),
                "requests": part.requests,
            }
            for part in usage.timeline
        ],
    }


def _model(part: ModelUsage) -> dict[str, Any]:
    return {
        "model": part.model,
        "requests": part.requests,
        "tokens": part.tokens,
        "cost": plain_decimal(part.cost),
    }
