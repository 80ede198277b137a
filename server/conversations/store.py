"""The store port: what the database promises for conversations, messages and ends.

Sans-I/O. Ids are UUIDv7 as canonical lower-case strings; times are aware datetimes in UTC; costs are
`Decimal`. Every method acts for one user and sees only that user's rows (row level security); methods
named `system_*` act for the house with the house's own narrow role. All raise `StoreUnavailable`
when the database cannot be reached in time; then nothing is known of the outcome, and asking again is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

from protocol.frames import ContentType, SenderType
from server.conversations.audit import BY_USER, Caller
from server.conversations.usage import ConversationUsage, Period, TokenUsage, UsageSummary

GenerationStatus = Literal["accepted", "completed", "cancelled", "failed", "interrupted"]
Destination = Literal["channel", "broker", "webhook"]


class StoreUnavailable(Exception):  # noqa: N818 - a state of the world, named as one
    """The database cannot be reached."""


class StoreRefused(Exception):  # noqa: N818
    """The database's rules refuse the order."""


class NotFound(StoreRefused):
    """No such thing, or not this user's. `what` is `conversation`, `message`, `parent` or `generation`."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no such {what}")
        self.what = what


class GenerationInProgress(StoreRefused):
    """The conversation has a running generation."""


class TooManyGenerations(StoreRefused):
    """The user has as many running generations as allowed."""


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation."""

    id: str
    user_id: str
    title: str
    context_type: str
    context_data: dict[str, Any] | None
    status: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message. `token_count` is the estimate made when it was written.

    Content that cannot be opened any more (see `cipher.py`) is `[unavailable]`, as text, and the metadata
    say `unavailable: true`.
    """

    id: str
    conversation_id: str
    sender_type: SenderType
    content: str
    content_type: ContentType
    parent_message_id: str | None
    created_at: datetime
    metadata: dict[str, Any]
    token_count: int


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A generation: the question it answers, what it may do, and, once ended, how.

    `reply_to` is `None` where it answers nothing: the welcome of an assessment's conversation.

    `request` is the command as it was given (target, parent, content type, model, fallback), for the
    comparison of a repeated `client_message_id`. `plan` is the opaque plan for a successor. `finished` is
    the sealed record's public part (`generation.finished` without position) once it ended.
    """

    id: str
    user_id: str
    conversation_id: str
    reply_to: str | None
    message_id: str
    client_message_id: str
    status: GenerationStatus
    request: dict[str, Any]
    plan: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None
    finished: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SendOrder:
    """A message to accept. `conversation_id` absent: create one, with `title`.

    `title` is used when the conversation is new or still has the default title. `history_tokens` bounds
    the history returned for the prompt (the newest branch messages whose counts fit, the new one always in).
    `request` is stored with the generation; see `GenerationRow`.
    """

    user_id: str
    conversation_id: str | None
    client_message_id: str
    content: str
    content_type: ContentType
    parent_message_id: str | None
    token_count: int
    title: str
    default_title: str
    plan: dict[str, Any]
    request: dict[str, Any]
    max_generations: int
    history_tokens: int
    history_messages: int = 200
    caller: Caller = BY_USER


@dataclass(frozen=True, slots=True)
class RegenerateOrder:
    """A message to answer again: an assistant message's question, or the user message itself."""

    user_id: str
    message_id: str
    conversation_id: str | None
    client_message_id: str
    plan: dict[str, Any]
    request: dict[str, Any]
    max_generations: int
    history_tokens: int
    history_messages: int = 200
    caller: Caller = BY_USER


@dataclass(frozen=True, slots=True)
class ConversationChange:
    """What of a conversation is to be another; `None` leaves a field as it is.

    `metadata` and `context_data` replace what was there. `status` is `active` or `archived`.
    """

    title: str | None = None
    status: str | None = None
    metadata: dict[str, Any] | None = None
    context_type: str | None = None
    context_data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted order. `message` is the question; `message_id` the id the answer will have.

    `duplicate`: the `client_message_id` was known; nothing was written, `generation` is the first one's
    row and `history` is empty. `created`: the conversation is new. `retitled`: its title changed.
    `history` is oldest first and ends with the question.
    """

    duplicate: bool
    created: bool
    retitled: bool
    conversation: ConversationRow
    message: MessageRow
    generation: GenerationRow
    history: tuple[MessageRow, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The bill of one attempt. `state` is `settled`, `estimated` or `unknown`.

    `due` marks one to be settled later through `upstream_id` and `key`. `reached`: the request may have
    reached the upstream.
    """

    attempt: int
    model: str
    served_model: str | None
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    state: str
    is_free_model: bool
    processing_time_ms: int
    upstream_id: str | None
    key: str | None
    reached: bool
    failure: str | None
    due: bool


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The sealed end of a generation, to be written in one transaction; idempotent by `generation_id`.

    `message` is the answer, or `None` when nothing was produced. `finished` is the public event body.
    """

    user_id: str
    generation_id: str
    conversation_id: str
    status: GenerationStatus
    message: MessageRow | None
    usage: tuple[UsageRow, ...]
    finished: dict[str, Any]
    finished_at: datetime
    free_model: bool


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, ascending, and whether there are more in the direction asked.

    `usage`, where it was asked for, has the answers among them that were billed, by their ids.
    """

    messages: tuple[MessageRow, ...]
    has_more: bool
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """Something to tell, written in the transaction it tells of. `id` is the idempotency key.

    `destination` is `channel` (then `kind` and `payload` are an event without position), `broker`, or
    `webhook` (a copy of a notification, with its once-key as `key`).
    """

    id: str
    destination: str
    user_id: str
    conversation_id: str | None
    kind: str
    payload: dict[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class DueUsage:
    """A usage row to settle."""

    id: str
    user_id: str
    generation_id: str
    attempt: int
    upstream_id: str
    key: str
    tries: int
    created_at: datetime


class ConversationStore(Protocol):
    """Conversations in the database."""

    async def accept(self, order: SendOrder) -> Accepted:
        """Accept a message, in one transaction and one round trip.

        Raises:
            NotFound, GenerationInProgress, TooManyGenerations, StoreUnavailable
        """
        ...

    async def accept_again(self, order: RegenerateOrder) -> Accepted:
        """Accept a regenerate. The answer will be a sibling of the old one (same parent).

        Raises:
            NotFound, GenerationInProgress, TooManyGenerations, StoreUnavailable
        """
        ...

    async def history(
        self, user_id: str, message_id: str, *, tokens: int, messages: int = 200
    ) -> tuple[MessageRow, ...]:
        """The branch that ends with `message_id`, oldest first, the newest that fit the budget.

        Raises:
            NotFound, StoreUnavailable
        """
        ...

    async def finish(self, record: EndRecord) -> bool:
        """Write the end. `False`: the conversation is gone and only the bill was kept."""
        ...

    async def create(
        self,
        user_id: str,
        *,
        title: str,
        context_type: str,
        context_data: dict[str, Any] | None,
        caller: Caller = BY_USER,
    ) -> ConversationRow:
        """Create a conversation (and its outbox row)."""
        ...

    async def update(
        self, user_id: str, conversation_id: str, change: ConversationChange, *, caller: Caller = BY_USER
    ) -> ConversationRow:
        """Change a conversation (and tell `conversation.updated`). A change of nothing reads it.

        Raises:
            NotFound, StoreUnavailable
            ValueError: a status or context type that is none.
        """
        ...

    async def delete(
        self, user_id: str, conversation_id: str, *, caller: Caller = BY_USER
    ) -> tuple[str, ...]:
        """Delete a conversation softly (and tell `conversation.deleted`): from now on it is `NotFound`.

        The ids of its running generations are the answer: they are the caller's to stop. Of their ends only
        the bill will be kept.

        Raises:
            NotFound: also the second time.
            StoreUnavailable
        """
        ...

    async def conversations(
        self, user_id: str, *, status: str, limit: int, offset: int
    ) -> tuple[tuple[ConversationRow, ...], int]:
        """Conversations with the newest activity first, and how many there are in all."""
        ...

    async def conversation(self, user_id: str, conversation_id: str) -> ConversationRow:
        """One conversation; a deleted one is `NotFound`."""
        ...

    async def messages(
        self,
        user_id: str,
        conversation_id: str,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        with_usage: bool = False,
    ) -> MessagePage:
        """A page of messages. `NotFound("message")` for a cursor that is not of this conversation."""
        ...

    async def generation(self, user_id: str, generation_id: str) -> GenerationRow:
        """One generation."""
        ...

    async def by_client_message_id(self, user_id: str, client_message_id: str) -> Accepted | None:
        """What an earlier order with this id became (as a duplicate), or `None`."""
        ...

    async def conversation_usage(self, user_id: str, conversation_id: str) -> ConversationUsage:
        """What a conversation came to.

        Raises:
            NotFound, StoreUnavailable
        """
        ...

    async def usage_summary(self, user_id: str, period: Period) -> UsageSummary:
        """What the user used in a period."""
        ...

    # --- the house's own work ---------------------------------------------------------------

    async def system_unstarted(self, *, older_than_seconds: float, limit: int) -> list[GenerationRow]:
        """Claim rows that are `accepted` and were not looked at lately (SKIP LOCKED; the look is noted)."""
        ...

    async def system_outbox(self, destination: Destination, *, limit: int) -> list[OutboxRow]:
        """Claim due outbox rows, in order per conversation."""
        ...

    async def system_outbox_done(self, ids: list[str]) -> None:
        """They are delivered."""
        ...

    async def system_due_usage(self, *, limit: int) -> list[DueUsage]:
        """Claim usage rows to settle; each claim moves the next try further away, until an hour is over."""
        ...

    async def system_settle(
        self,
        usage: DueUsage,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        cost: Decimal,
        served_model: str | None,
    ) -> dict[str, Any] | None:
        """Write the bill of one attempt; the generation's new sum as the wire's `usage`.

        `None` if unknown. Also writes the outbox row that tells `usage.settled`.
        """
        ...

    async def system_give_up_usage(self, usage: DueUsage) -> None:
        """It will never be known: `unknown`."""
        ...

    async def healthy(self) -> bool:
        """Whether the database answers."""
        ...
