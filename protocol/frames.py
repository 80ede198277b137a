"""Every frame of the wire, as a typed struct.

Sans-I/O. Client frames (commands) come first, then server frames: events of the log, texts
and states, and control. `codec.py` turns them into bytes and back. A field with a default is
left out of the bytes when it holds that default; a field without one is always there, `null`
included.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from protocol.codes import ErrorCode

SenderType = Literal["user", "assistant", "system"]
ContentType = Literal["text", "image", "file"]
Fallback = Literal["continue", "restart", "off"]
Resume = Literal["fresh", "live", "replay", "reset"]
Phase = Literal["waiting", "thinking", "stalled", "switching", "recovering"]
EndStatus = Literal["completed", "cancelled", "failed", "interrupted"]
UsageState = Literal["settled", "estimated", "unknown"]
SwitchMode = Literal["continue", "restart"]
SwitchCause = Literal[
    "connect_timeout",
    "first_token_timeout",
    "stall_timeout",
    "upstream_status",
    "upstream_error",
    "upstream_truncated",
    "malformed",
    "empty_answer",
    "rate_limited",
    "node_lost",
    "node_drained",
]
Stage = Literal[
    "assessment_submitted", "analysis_started", "analysis_complete", "chatbot_ready", "analysis_failed"
]

# What a client may send is held to these when it is decoded; the JSON Schema shows them too.
CommandId = Annotated[str, msgspec.Meta(max_length=64)]
Uuid = Annotated[
    str,
    msgspec.Meta(
        # msgspec searches with Python's `$`, which also matches before a last newline: hence max_length
        pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        max_length=36,
        description="A UUID; the server answers in lower case.",
    ),
]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A number JavaScript can hold exactly."""


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a frame."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One JSON object on the wire; `type` says which."""


def type_of(frame: Frame | type[Frame]) -> str:
    """The `type` a frame, or a class of frames, has on the wire."""
    return str(frame.__struct_config__.tag)


# --- client frames -----------------------------------------------------------------------


class Command(Frame, kw_only=True, frozen=True):
    """A client frame. `id` comes back as `re` in the answer."""

    id: CommandId | None = None


class TextCursor(Body, kw_only=True, frozen=True):
    """How much of a generation's text the client holds, and whose."""

    attempt: Count
    at: Count


class ResumePoint(Body, kw_only=True, frozen=True):
    """Where a client was."""

    session: Uuid | None = None
    position: str | None = None
    texts: dict[Uuid, TextCursor] | None = None


class ClientInfo(Body, kw_only=True, frozen=True):
    """What the client calls itself; only logged."""

    name: str | None = None
    version: str | None = None


class Hello(Command, tag="hello", kw_only=True, frozen=True):
    """The first frame of a session."""

    token: str | None = None
    resume: ResumePoint | None = None
    client: ClientInfo | None = None


class Auth(Command, tag="auth", kw_only=True, frozen=True):
    """A newer token of the same user."""

    token: str


class MessageSend(Command, tag="message.send", kw_only=True, frozen=True):
    """A user's message; acked when it is durable."""

    content: str
    client_message_id: Uuid
    conversation: Uuid | None = None
    parent_message_id: Uuid | None = None
    content_type: ContentType = "text"
    model: str | None = None
    fallback: Fallback = "continue"


class MessageRegenerate(Command, tag="message.regenerate", kw_only=True, frozen=True):
    """Answer again: `message` is an assistant message, or a user message."""

    message: Uuid
    client_message_id: Uuid


class GenerationStop(Command, tag="generation.stop", kw_only=True, frozen=True):
    """End a generation; what was shown is what is kept."""

    generation: Uuid


class Sync(Command, tag="sync", kw_only=True, frozen=True):
    """For a client that sees a hole: states and texts again."""

    texts: dict[Uuid, TextCursor] | None = None


class Ping(Command, tag="ping", kw_only=True, frozen=True):
    """Answered by `pong`."""


AnyCommand = Hello | Auth | MessageSend | MessageRegenerate | GenerationStop | Sync | Ping


# --- parts of server frames --------------------------------------------------------------


class Limits(Body, kw_only=True, frozen=True):
    """What a session must keep to."""

    max_frame_bytes: int
    max_message_length: int
    max_sessions: int
    max_generations: int


class Conversation(Body, kw_only=True, frozen=True):
    """A conversation as events and REST show it. Times are ISO 8601 UTC with milliseconds and `Z`."""

    id: str
    title: str
    context_type: str
    status: str
    created_at: str
    updated_at: str


class ConversationRef(Body, kw_only=True, frozen=True):
    """A conversation of which only the id is left."""

    id: str


class Message(Body, kw_only=True, frozen=True):
    """A message as events and REST show it; `content` is null in an event where it is omitted."""

    id: str
    sender_type: SenderType
    content: str | None
    content_type: ContentType
    parent_message_id: str | None
    created_at: str
    metadata: dict[str, Any]
    content_omitted: bool = False


class Usage(Body, kw_only=True, frozen=True):
    """Tokens and cost; `cost` is a plain decimal string in US dollars."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: str
    state: UsageState


class Segment(Body, kw_only=True, frozen=True):
    """What one attempt added: code points `[from, to)` of the text."""

    attempt: int
    model: str
    served_model: str | None
    start: int = msgspec.field(name="from")
    to: int
    usage: Usage


class Failure(Body, kw_only=True, frozen=True):
    """Why a generation did not complete."""

    code: ErrorCode
    message: str


class Action(Body, kw_only=True, frozen=True):
    """What a page may do about a notification."""

    type: str
    url: str


class NotificationBody(Body, kw_only=True, frozen=True):
    """One stage of the assessment flow. Camel case `assessmentId` is the ecosystem's."""

    title: str
    message: str
    progress: int
    stage: Stage
    assessment_id: str = msgspec.field(name="assessmentId")
    timestamp: str
    action: Action | None = None


# --- events: they are in the log and carry a position -------------------------------------


class Event(Frame, kw_only=True, frozen=True):
    """A fact in the log. `position` is put in when the log gives the event its offset."""

    position: str = ""


class ConversationCreated(Event, tag="conversation.created", kw_only=True, frozen=True):
    """A conversation began."""

    conversation: Conversation


class ConversationUpdated(Event, tag="conversation.updated", kw_only=True, frozen=True):
    """Its title, status or context changed."""

    conversation: Conversation


class ConversationDeleted(Event, tag="conversation.deleted", kw_only=True, frozen=True):
    """It is gone."""

    conversation: ConversationRef


class MessageCreated(Event, tag="message.created", kw_only=True, frozen=True):
    """A message was accepted."""

    conversation: str
    message: Message
    client_message_id: str | None


class GenerationStarted(Event, tag="generation.started", kw_only=True, frozen=True):
    """An answer is being written; `message` is the id of the message it will become.

    `reply_to` is the message it answers, `None` where nobody asked for it: a welcome.
    """

    generation: str
    conversation: str
    message: str
    reply_to: str | None
    model: str
    attempt: int
    estimated_response_ms: int
    is_free_model: bool


class GenerationSwitched(Event, tag="generation.switched", kw_only=True, frozen=True):
    """Another attempt goes on; its text begins at `keep` or lower."""

    generation: str
    attempt: int
    from_model: str
    to_model: str
    cause: SwitchCause
    mode: SwitchMode
    keep: int


class GenerationFinished(Event, tag="generation.finished", kw_only=True, frozen=True):
    """The one end of a generation, with the whole message."""

    generation: str
    conversation: str
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


class UsageSettled(Event, tag="usage.settled", kw_only=True, frozen=True):
    """The upstream's bill arrived later."""

    generation: str
    usage: Usage


class Notification(Event, tag="notification", kw_only=True, frozen=True):
    """A stage of the assessment flow."""

    notification: NotificationBody


# --- texts and states ----------------------------------------------------------------------


class Delta(Frame, tag="delta", kw_only=True, frozen=True):
    """`text = text[:at] + delta.text`; `at` counts Unicode code points."""

    generation: str
    attempt: int
    at: int
    text: str
    kind: Literal["reasoning"] | None = None


class GenerationState(Frame, tag="generation.state", kw_only=True, frozen=True):
    """Where a running generation is."""

    generation: str
    conversation: str
    message: str
    reply_to: str | None
    model: str
    attempt: int
    estimated_response_ms: int
    is_free_model: bool
    length: int
    elapsed_ms: int


class Interim(Frame, tag="interim", kw_only=True, frozen=True):
    """A notice while nothing can be shown; sent at most once, never replayed."""

    generation: str
    phase: Phase
    elapsed_ms: int
    text: str
    model: str
    next_model: str | None = None


# --- control -------------------------------------------------------------------------------


class Welcome(Frame, tag="welcome", kw_only=True, frozen=True):
    """The answer to `hello`."""

    re: str | None = None
    protocol: int
    session: str
    user: str
    resume: Resume
    position: str
    heartbeat_ms: int
    token_expires_at: str
    limits: Limits


class Reset(Frame, tag="reset", kw_only=True, frozen=True):
    """The log lost its epoch: forget the old position."""

    position: str


class Synced(Frame, tag="synced", kw_only=True, frozen=True):
    """Everything up to `position` has been delivered."""

    position: str


class Ack(Frame, tag="ack", kw_only=True, frozen=True):
    """The answer to a command that was carried out; its fields depend on the command."""

    re: str | None = None
    conversation: str | None = None
    message: str | None = None
    generation: str | None = None
    duplicate: bool | None = None
    token_expires_at: str | None = None
    position: str | None = None


class Error(Frame, tag="error", kw_only=True, frozen=True):
    """The answer to a command that was not carried out."""

    re: str | None = None
    code: ErrorCode
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Pong(Frame, tag="pong", kw_only=True, frozen=True):
    """The answer to `ping`."""

    re: str | None = None


class Heartbeat(Frame, tag="heartbeat", kw_only=True, frozen=True):
    """Sent when nothing else was."""


class AuthExpiring(Frame, tag="auth.expiring", kw_only=True, frozen=True):
    """The token ends soon: send `auth`."""

    expires_in_ms: int


class Drain(Frame, tag="drain", kw_only=True, frozen=True):
    """The node goes away: reconnect after the time given, generations go on."""

    reconnect_in_ms: int
    reason: str


AnyEvent = (
    ConversationCreated
    | ConversationUpdated
    | ConversationDeleted
    | MessageCreated
    | GenerationStarted
    | GenerationSwitched
    | GenerationFinished
    | UsageSettled
    | Notification
)
AnyServerFrame = (
    AnyEvent
    | Delta
    | GenerationState
    | Interim
    | Welcome
    | Reset
    | Synced
    | Ack
    | Error
    | Pong
    | Heartbeat
    | AuthExpiring
    | Drain
)
