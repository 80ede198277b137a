"""What the machine is told and what it wants done.

Sans-I/O. Facts come from the upstream (`upstream.py`) and from the house (below); effects are carried
out by the runner, in order, and their results come back as facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from protocol.codes import ErrorCode
from protocol.frames import EndStatus, Fallback, Phase, SwitchCause, SwitchMode, UsageState
from server.generations.upstream import UpstreamFact, UsageReported

Continuation = Literal["fresh", "user_turn", "prefill"]
"""How a model is asked: from nothing, by a user turn that asks for the rest, by assistant prefill."""


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """The clocks (seconds) and counts a generation keeps to."""

    connect_seconds: float = 5.0
    first_token_seconds: float = 20.0
    stall_seconds: float = 20.0
    generation_seconds: float = 180.0
    interim_after_seconds: float = 10.0
    interim_every_seconds: float = 10.0
    seam_hold_seconds: float = 0.7
    seam_hold_chars: int = 200
    max_attempts: int = 4
    max_losses: int = 3
    lease_seconds: float = 6.0
    commit_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generation may do, kept with its state so that any node can go on.

    `chain` holds model slugs in the order they are tried. `free` holds those of them that cost nothing.
    `last_resort` stands in a model's place for what the house says itself where none answers (`None`:
    nothing).
    """

    chain: tuple[str, ...]
    free: frozenset[str]
    fallback: Fallback
    max_tokens: int
    temperature: float
    tier: str = "free"
    last_resort: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptNote:
    """What is known of one attempt; also kept in the store, for a successor and for the bill.

    The attempt's surviving text is code points `[start, to)`. `reached` is whether the request may have
    reached the upstream (it was sent), `refused` whether that said no by a status before any model was
    asked: only what was reached and not refused can cost. `usage` is what the upstream reported, if it did.
    `failure` is the failure kind or switch cause that ended it, if one did.
    """

    attempt: int
    model: str
    start: int
    to: int
    served_model: str | None = None
    generation_id: str | None = None
    key: str | None = None
    reached: bool = False
    usage: UsageReported | None = None
    failure: str | None = None
    prompt_tokens_estimate: int = 0
    completion_chars: int = 0  # all text received, shown or not
    finish: str | None = None  # the upstream's finish reason; with `to` = length the answer is whole
    refused: bool = False


# --- facts of the house --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A session asked the generation to stop.

    `unannounced`: the store refused this attempt's `Announce` because of it, so neither it nor one behind it
    ever was; 0: all were announced.
    """

    unannounced: int = 0


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The store refused a write: another owner has the generation. Nothing more may be written."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The node drains and its patience is over: stop here, another node goes on."""


@dataclass(frozen=True, slots=True)
class Tick:
    """`next_deadline` has passed."""


@dataclass(frozen=True, slots=True)
class PromptFailed:
    """The prompt could not be built for good (the conversation is gone, or has no such message)."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class PromptPending:
    """The prompt cannot be built yet (its store is away): the first-token clock does not run."""


@dataclass(frozen=True, slots=True)
class PromptBuilt:
    """The prompt is built and the call begins now; `tokens` estimates its length.

    Optional: without it the first-token clock runs from `OpenUpstream`.
    """

    tokens: int


@dataclass(frozen=True, slots=True)
class StoreAway:
    """The shared store was away for so long; no clock counts that time."""

    seconds: float


Fact = (
    UpstreamFact
    | StopRequested
    | TakenOver
    | HandOver
    | Tick
    | PromptFailed
    | PromptPending
    | PromptBuilt
    | StoreAway
)


# --- effects -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenUpstream:
    """Ask `model`. With a continuation, `partial` is the text to go on from."""

    attempt: int
    model: str
    continuation: Continuation
    partial: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class CloseUpstream:
    """Close the connection of the present call, if any."""


@dataclass(slots=True)
class AppendText:
    """Append `text` at code point `at` as `attempt`; the attempt's first may begin below the length."""

    attempt: int
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class ShowReasoning:
    """Send reasoning text live; `at` counts reasoning alone."""

    attempt: int
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class ShowInterim:
    """Send a notice. The runner adds the sentence."""

    phase: Phase
    elapsed_ms: int
    model: str
    next_model: str | None


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish `generation.switched`; afterwards `attempt` is the fence."""

    attempt: int
    from_model: str
    to_model: str
    cause: SwitchCause
    mode: SwitchMode
    keep: int
    lost_node: bool = False


@dataclass(frozen=True, slots=True)
class KeepNote:
    """Keep what is known of an attempt in the store."""

    note: AttemptNote


@dataclass(frozen=True, slots=True)
class CoolDown:
    """Pass a model over for a while (`seconds` from the upstream's Retry-After, else the configured time).

    `pool` means every free model. Sent for 429s; the runner counts other failures itself.
    """

    model: str
    seconds: float | None
    pool: bool


@dataclass(frozen=True, slots=True)
class End:
    """The end: seal, commit, conclude. Nothing follows it."""

    status: EndStatus
    finish_reason: str | None
    code: ErrorCode | None
    notes: tuple[AttemptNote, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Yield:
    """Let go without an end: another owner has it, or shall have it."""


Effect = (
    OpenUpstream
    | CloseUpstream
    | AppendText
    | ShowReasoning
    | ShowInterim
    | Announce
    | KeepNote
    | CoolDown
    | End
    | Yield
)


@dataclass(frozen=True, slots=True)
class SegmentUsage:
    """The bill of one attempt or of all: tokens, cost as a plain decimal string, and how sure it is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: str
    state: UsageState
