"""What the assessment flow's answers look like. See `schemas.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from server.gateway.schemas import ConversationView, Id, MessageView, Shape, Time

Questions = Annotated[list[str], msgspec.Meta(min_length=6, max_length=8)]


class AdviserBegun(Shape, kw_only=True, frozen=True):
    """The conversation about a result.

    `initial_message` is null where there is no welcome, or it is still being written.
    """

    conversation: ConversationView
    initial_message: MessageView | None
    suggestions: Questions


class ContextAdded(Shape, kw_only=True, frozen=True):
    """What the conversation knows now."""

    context_added: Literal[True]
    assessment_data: dict[str, Any]


class AssessmentReady(Shape, kw_only=True, frozen=True):
    """A user's newest result; all is null or false where there is none."""

    has_assessment: bool
    assessment_date: Time | None
    assessment_id: Id | None
    conversation_exists: bool
    conversation_id: Id | None
    ready_for_chatbot: bool


class AutoInitialized(Shape, kw_only=True, frozen=True):
    """The adviser waits; its welcome is there, or being written."""

    conversation_id: Id
    ready: Literal[True]
    initial_suggestions: Questions


class ConversationOfAssessment(Shape, kw_only=True, frozen=True):
    """A conversation and its newest 50 messages, oldest first; both are absent where there is none."""

    exists: bool
    conversation: ConversationView | msgspec.UnsetType = msgspec.UNSET
    messages: list[MessageView] | msgspec.UnsetType = msgspec.UNSET


class Initialized(Shape, kw_only=True, frozen=True):
    """The adviser waits."""

    success: Literal[True]
    message: str


class Notified(Shape, kw_only=True, frozen=True):
    """`told`: by this request; else by an earlier one."""

    told: bool
