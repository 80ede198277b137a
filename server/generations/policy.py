"""What follows from a failed attempt: the same model again, another one, or the end.

Sans-I/O. `RULES` is the one table: a fallback rule is a line in it. Everything is decided from the notes of
the attempts so far, so a successor on another node decides as the first owner would have.

Theory of operation. A failure's row names a remedy, one for an attempt that had said nothing and one for
an attempt that had. `AGAIN` asks the same model, `again` times at most per model and kind, after a small
pause, then falls to `otherwise`. `NEXT` walks the chain: models not asked yet come first, then the walk
begins again with those whose failures may pass. Of either, a model that is cooling down is passed over
while another is left. `max_attempts` counts failures of upstreams; lost nodes are counted apart. With
fallback `off` the first failure is the end: the user asked for this model alone, and every new attempt would
be announced. Only where this house asked wrongly (`ours`) the same model is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.codes import ErrorCode
from protocol.frames import SwitchCause
from server.generations.effects import AttemptNote, Plan
from server.generations.upstream import FailureKind

FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a failure, not a secret
STALL_TIMEOUT = "stall_timeout"
NODE_LOST = "node_lost"
NODE_DRAINED = "node_drained"

SHORT_WAIT_SECONDS = 5.0
"""A rate limit that passes within this time is waited for when no other model is left."""

WALK_AGAIN_SECONDS = 0.5
"""The pause before a model that failed is asked once more."""


class Remedy(Enum):
    """What a failure calls for."""

    AGAIN = "the same model again"
    NEXT = "the next model"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: the cause clients are told, the remedies, and the code if everything failed like this.

    `silent` is for an attempt that had said nothing, `spoken` for one that had. `lasting`: this model will
    fail again in the same way, so once its `again` are used up it is left out. `ours`: the way it was asked
    was at fault, so it is asked another way whatever the fallback mode.
    """

    cause: SwitchCause
    silent: Remedy
    spoken: Remedy
    code: ErrorCode = ErrorCode.ALL_MODELS_FAILED
    again: int = 0
    pause_seconds: float = 0.0
    otherwise: Remedy = Remedy.NEXT
    lasting: bool = False
    ours: bool = False


_AGAIN, _NEXT, _END = Remedy.AGAIN, Remedy.NEXT, Remedy.END

RULES: dict[str, Rule] = {
    # another key may work, another model will not
    FailureKind.KEY_REJECTED: Rule(
        "upstream_status", _AGAIN, _AGAIN, ErrorCode.UNAVAILABLE, again=1, otherwise=_END, lasting=True
    ),
    # 402 is of the account: negative balances refuse even free models
    FailureKind.BUDGET_EXHAUSTED: Rule("upstream_status", _END, _END, ErrorCode.BUDGET_EXHAUSTED),
    # another model may hold more; a partial answer that filled one up is as long as it can be
    FailureKind.CONTEXT_TOO_LONG: Rule(
        "upstream_status", _NEXT, _END, ErrorCode.CONTEXT_TOO_LONG, lasting=True
    ),
    # another model may accept it (OpenRouter's own fallback tries); what was half said is not said elsewhere
    FailureKind.CONTENT_FILTERED: Rule(
        "upstream_status", _NEXT, _END, ErrorCode.CONTENT_FILTERED, lasting=True
    ),
    # the machine asks by a user's turn from now on
    FailureKind.PREFILL_REJECTED: Rule("upstream_status", _AGAIN, _AGAIN, again=1, lasting=True, ours=True),
    FailureKind.RATE_LIMITED_MODEL: Rule(
        "rate_limited", _NEXT, _NEXT, ErrorCode.UPSTREAM_RATE_LIMITED, lasting=True
    ),
    # shared by all free models of the account: more keys do not help either
    FailureKind.RATE_LIMITED_POOL: Rule(
        "rate_limited", _NEXT, _NEXT, ErrorCode.UPSTREAM_RATE_LIMITED, lasting=True
    ),
    FailureKind.MODEL_UNAVAILABLE: Rule(
        "upstream_status", _NEXT, _NEXT, ErrorCode.MODEL_UNAVAILABLE, lasting=True
    ),
    FailureKind.BAD_REQUEST: Rule("upstream_status", _NEXT, _NEXT, lasting=True),
    # the way to the upstream is the same for all models, so the best one gets a second try
    FailureKind.CONNECT_TIMEOUT: Rule("connect_timeout", _AGAIN, _AGAIN, again=1, pause_seconds=0.25),
    FailureKind.CONNECT_REFUSED: Rule("upstream_error", _AGAIN, _AGAIN, again=1, pause_seconds=0.25),
    FailureKind.CONNECTION_LOST: Rule("upstream_error", _AGAIN, _AGAIN, again=1, pause_seconds=0.25),
    FailureKind.OVERLOADED: Rule("upstream_status", _NEXT, _NEXT),
    FailureKind.UPSTREAM_ERROR: Rule("upstream_error", _NEXT, _NEXT),
    FailureKind.TRUNCATED: Rule("upstream_truncated", _NEXT, _NEXT),
    FailureKind.MALFORMED: Rule("malformed", _NEXT, _NEXT),
    FailureKind.EMPTY: Rule("empty_answer", _NEXT, _NEXT),
    FIRST_TOKEN_TIMEOUT: Rule("first_token_timeout", _NEXT, _NEXT),
    STALL_TIMEOUT: Rule("stall_timeout", _NEXT, _NEXT),
}
"""Every way an attempt can fail by its upstream. A node that dies is no row: no model failed."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Make another attempt: ask `model` after `pause_seconds`."""

    model: str
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make no other attempt; `code` says why."""

    code: ErrorCode


Decision = Retry | GiveUp


def failures(notes: Sequence[AttemptNote]) -> list[AttemptNote]:
    """The attempts that failed by their upstream."""
    return [note for note in notes if note.failure in RULES]


def decide(
    plan: Plan,
    notes: Sequence[AttemptNote],
    *,
    spoke: bool,
    max_attempts: int,
    cooling: Callable[[str], bool],
    retry_after_seconds: float | None = None,
) -> Decision:
    """What follows from the failure of the last attempt in `notes`.

    `spoke`: that attempt had said something. `cooling` says which models to pass over now.
    """
    failed = failures(notes)
    last = failed[-1]
    rule = RULES[str(last.failure)]
    remedy = rule.spoken if spoke else rule.silent
    if remedy is Remedy.AGAIN and _times(failed, last) > rule.again:
        remedy = rule.otherwise
    if remedy is Remedy.END or (plan.fallback == "off" and not (rule.ours and remedy is Remedy.AGAIN)):
        return GiveUp(rule.code)
    if len(failed) >= max_attempts:
        return GiveUp(telling_code(failed))
    if remedy is Remedy.AGAIN:
        return Retry(last.model, rule.pause_seconds)
    model = next_model(plan, failed, cooling=cooling)
    if model is not None:
        asked = any(note.model == model for note in failed)
        return Retry(model, WALK_AGAIN_SECONDS if asked else 0.0)
    wait = retry_after_seconds if rule.cause == "rate_limited" else None
    if wait is not None and wait <= SHORT_WAIT_SECONDS:
        return Retry(last.model, max(wait, WALK_AGAIN_SECONDS))
    return GiveUp(telling_code(failed))


def next_model(plan: Plan, failed: Sequence[AttemptNote], *, cooling: Callable[[str], bool]) -> str | None:
    """The model to ask next, or `None` when none may help.

    Not asked yet, in the chain's order, then not asked yet though cooling; then those whose failures may
    pass, from behind the one that failed last, then those though cooling.
    """
    pool_is_limited = any(note.failure == FailureKind.RATE_LIMITED_POOL for note in failed)
    asked = {note.model for note in failed}
    barred = {note.model for note in failed if _is_beyond_help(failed, note)}
    if pool_is_limited:
        barred |= plan.free
    fresh = [model for model in plan.chain if model not in asked | barred]
    turn = plan.chain.index(failed[-1].model) + 1 if failed and failed[-1].model in plan.chain else 0
    walked = plan.chain[turn:] + plan.chain[:turn]
    stale = [model for model in walked if model in asked - barred]
    for candidates in (fresh, stale):
        for model in candidates:
            if not cooling(model):
                return model
        if candidates:
            return candidates[0]
    return None


def first_model(plan: Plan, *, cooling: Callable[[str], bool]) -> str:
    """The model a fresh generation asks: the first that is not cooling, else the first."""
    return next((model for model in plan.chain if not cooling(model)), plan.chain[0])


def telling_code(failed: Sequence[AttemptNote]) -> ErrorCode:
    """The code that says most when every model failed: the one all failures share, if they share one."""
    codes = {RULES[str(note.failure)].code for note in failed}
    return codes.pop() if len(codes) == 1 else ErrorCode.ALL_MODELS_FAILED


def refuses_prefill(notes: Sequence[AttemptNote], model: str) -> bool:
    """Whether the model has refused to go on from an assistant message in this generation."""
    return any(note.model == model and note.failure == FailureKind.PREFILL_REJECTED for note in notes)


def _is_beyond_help(failed: Sequence[AttemptNote], note: AttemptNote) -> bool:
    rule = RULES[str(note.failure)]
    return rule.lasting and _times(failed, note) > rule.again


def _times(failed: Sequence[AttemptNote], last: AttemptNote) -> int:
    # a key is of the account, everything else of the model
    of_account = last.failure == FailureKind.KEY_REJECTED
    return sum(note.failure == last.failure and (of_account or note.model == last.model) for note in failed)
