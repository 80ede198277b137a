"""What the house's own answers look like: health, erasure, problems. See `schemas.py`."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.gateway.schemas import Id, MessageView, Shape, Time


class ErasedView(Shape, kw_only=True, frozen=True):
    """How many rows of a user were removed."""

    user_id: Id
    conversations: int
    messages: int
    generations: int
    usage: int
    outbox: int


class DependencyHealth(Shape, kw_only=True, frozen=True):
    """One dependency; `latency_ms` is there where it was asked."""

    status: Literal["healthy", "unhealthy", "disabled"]
    latency_ms: float | msgspec.UnsetType = msgspec.UNSET


class HealthView(Shape, kw_only=True, frozen=True):
    """Every dependency, asked now."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Time
    service: str
    version: str
    dependencies: dict[str, DependencyHealth]


class Alive(Shape, kw_only=True, frozen=True):
    """The process answers."""

    status: Literal["alive"]
    timestamp: Time


class Ready(Shape, kw_only=True, frozen=True):
    """The node takes sessions."""

    status: Literal["ready"]


class NotReady(Shape, kw_only=True, frozen=True):
    """The node takes no sessions."""

    status: Literal["not ready"]
    reason: str


class FieldError(Shape, kw_only=True, frozen=True):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemView(Shape, kw_only=True, frozen=True):
    """A refusal (RFC 9457). `error` repeats `detail`, for older clients; `retryAfter` is in seconds."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    request_id: str
    retry_after: int | msgspec.UnsetType = msgspec.field(name="retryAfter", default=msgspec.UNSET)
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET


class TurnFailed(ProblemView, kw_only=True, frozen=True):
    """Every model failed before any text; the message is kept. Others have no `generation`."""

    user_message: MessageView | msgspec.UnsetType = msgspec.UNSET
    generation: Id | msgspec.UnsetType = msgspec.UNSET
