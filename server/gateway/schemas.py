"""What answers look like: the shapes of REST bodies, for the OpenAPI document and the tests.

Answers are written by the rooms' own `…_json` functions; the tests hold every answer to these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from protocol.frames import (
    ContentType,
    EndStatus,
    Failure,
    Message,
    Segment,
    SenderType,
    Usage,
)

Id = Annotated[str, msgspec.Meta(description="A UUID in lower case.", extra_json_schema={"format": "uuid"})]
Time = Annotated[
    str,
    msgspec.Meta(
        description="ISO 8601, UTC, milliseconds, `Z`.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    ),
]
Cost = Annotated[
    str,
    msgspec.Meta(description="US dollars, exact, without exponent.", pattern=r"^-?\d+(\.\d{1,12})?$"),
]
ContextType = Literal["general", "assessment", "career_guidance"]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object."""


# --- conversations ----------------------------------------------------------------------------


class ConversationMade(Shape, kw_only=True, frozen=True):
    """A new conversation."""

    id: Id
    title: str
    context_type: ContextType
    created_at: Time


class ConversationView(Shape, kw_only=True, frozen=True):
    """A conversation."""

    id: Id
    user_id: Id
    title: str
    context_type: ContextType
    context_data: dict[str, Any] | None
    status: Literal["active", "archived"]
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class OffsetPagination(Shape, kw_only=True, frozen=True):
    """Which part of a list this is."""

    limit: int
    offset: int
    has_next: bool


class ConversationList(Shape, kw_only=True, frozen=True):
    """Conversations, the newest activity first."""

    conversations: list[ConversationView]
    total: int
    pagination: OffsetPagination


class ConversationChanged(Shape, kw_only=True, frozen=True):
    """A conversation after a change."""

    conversation: ConversationView


class Suggestions(Shape, kw_only=True, frozen=True):
    """What could be asked next."""

    suggestions: Annotated[list[str], msgspec.Meta(min_length=6, max_length=8)]


# --- messages ---------------------------------------------------------------------------------


class MessageView(Shape, kw_only=True, frozen=True):
    """A message. `usage` is there where it was asked for, null where nothing was billed."""

    id: Id
    conversation_id: Id
    sender_type: SenderType
    content: str
    content_type: ContentType
    parent_message_id: Id | None
    created_at: Time
    metadata: dict[str, Any]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class ConversationWithMessages(Shape, kw_only=True, frozen=True):
    """A conversation and its newest 50 messages, oldest first."""

    conversation: ConversationView
    messages: list[MessageView]


class CursorPagination(Shape, kw_only=True, frozen=True):
    """Where to read on; null where nothing more is known to be."""

    has_more: bool
    next_before_id: Id | None
    next_after_id: Id | None


class MessageList(Shape, kw_only=True, frozen=True):
    """Messages, oldest first."""

    messages: list[MessageView]
    pagination: CursorPagination


class Answered(Shape, kw_only=True, frozen=True):
    """A turn that has ended. `assistant_message` is null where it was cancelled before any text."""

    user_message: MessageView
    assistant_message: MessageView | None
    usage: Usage
    status: EndStatus
    generation: Id
    processing_time_ms: int
    is_free_model: bool
    model: str
    estimated_response_time: int


class AnsweredAgain(Shape, kw_only=True, frozen=True):
    """A regenerated answer that has ended."""

    new_message: MessageView | None
    usage: Usage
    status: EndStatus
    generation: Id
    processing_time_ms: int
    is_free_model: bool
    model: str
    estimated_response_time: int


class StillStreaming(Shape, kw_only=True, frozen=True):
    """The answer is being written; `events` is where to follow it."""

    user_message: MessageView
    generation: Id
    status: Literal["streaming"]
    events: str


# --- generations ------------------------------------------------------------------------------


class GenerationAccepted(Shape, kw_only=True, frozen=True):
    """A generation that has not begun. While the database is away nothing else is known of it."""

    generation: Id
    conversation: Id | msgspec.UnsetType = msgspec.UNSET
    message: Id | msgspec.UnsetType = msgspec.UNSET
    reply_to: Id | msgspec.UnsetType | None = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    attempt: int | msgspec.UnsetType = msgspec.UNSET
    estimated_response_ms: int | msgspec.UnsetType = msgspec.UNSET
    is_free_model: bool | msgspec.UnsetType = msgspec.UNSET
    length: int | msgspec.UnsetType = msgspec.UNSET
    elapsed_ms: int | msgspec.UnsetType = msgspec.UNSET
    status: Literal["accepted"]


class GenerationRunning(Shape, kw_only=True, frozen=True):
    """A generation that is being written. `reply_to` is null where it answers nothing: a welcome."""

    generation: Id
    conversation: Id
    message: Id
    reply_to: Id | None
    model: str
    attempt: int
    estimated_response_ms: int
    is_free_model: bool
    length: int
    elapsed_ms: int
    status: Literal["running"]


class GenerationEnded(Shape, kw_only=True, frozen=True):
    """A generation that has ended; as the event `generation.finished`."""

    generation: Id
    conversation: Id
    status: EndStatus
    finish_reason: str | None
    message: Message | None
    usage: Usage
    model: str
    served_model: str | None
    segments: list[Segment]
    length: int
    sha256: str
    processing_time_ms: int
    persisted: bool
    error: Failure | None


class StopStored(Shape, kw_only=True, frozen=True):
    """The intent to stop is kept."""

    generation: Id


class Ticket(Shape, kw_only=True, frozen=True):
    """A ticket for one event stream; `expires_in` is in seconds."""

    ticket: str
    expires_in: int


# --- usage ------------------------------------------------------------------------------------


class ModelPart(Shape, kw_only=True, frozen=True):
    """One model's part; a request is one attempt at an upstream."""

    model: str
    requests: int
    tokens: int
    cost: Cost


class ConversationUsageView(Shape, kw_only=True, frozen=True):
    """What a conversation came to."""

    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    total_cost: Cost
    cost_breakdown: list[ModelPart]
    model_usage: dict[str, int]


class DayPart(Shape, kw_only=True, frozen=True):
    """One day's part."""

    date: str
    tokens: int
    cost: Cost
    requests: int


class UsageSummaryView(Shape, kw_only=True, frozen=True, rename={"start": "from"}):
    """What a user used in a period; `to` is exclusive."""

    period: Literal["day", "week", "month", "year"]
    start: Time
    to: Time
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    total_cost: Cost
    conversations_count: int
    messages_count: int
    requests: int
    free_requests: int
    by_model: list[ModelPart]
    timeline: list[DayPart]
