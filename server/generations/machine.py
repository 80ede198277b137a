"""What happens next in one generation, as a function of facts and time.

Sans-I/O. Rule 1: exactly one `End` or `Yield`, and nothing after it. Rule 2: text is appended where the last
left off; only an attempt's first text may begin lower, and it cuts there. Rule 3: every attempt after the
first is announced before its model is asked, and attempts count up by one. Rule 4: what follows from a
failure is `policy.decide`'s, from the notes alone. Rule 5: only data resets the data clock, never a comment.
Rule 6: an answer that the upstream has finished is complete, whatever becomes of the connection afterwards;
but a model that finished without a word has failed, unless the one before it had nothing to add either.
Rule 7: where the plan has a last resort, no failure is the end before that was asked, from the beginning.

    WAITING ──first text──▶ STREAMING ──failure──▶ SWITCHING ──first text, joined──▶ STREAMING
       └──failure──▶ WAITING (another attempt)         └──failure──▶ SWITCHING
    any ──finish, stop, give up──▶ OVER (End)      any ──taken over, handed over──▶ OVER (Yield)

A successor on another node begins in SWITCHING (or WAITING, where there is no text yet) with what the store
holds: the death of a node and the failure of a model are one path and one seam.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto

from protocol.codes import ErrorCode
from protocol.frames import EndStatus, Phase, SwitchCause, SwitchMode
from server.generations import policy
from server.generations.attempts import Answer, inherited
from server.generations.capabilities import Capability
from server.generations.clocks import Awaited, Clocks
from server.generations.continuation import remaining_tokens, rough_tokens
from server.generations.effects import (
    Announce,
    AppendText,
    AttemptNote,
    CloseUpstream,
    Continuation,
    CoolDown,
    Effect,
    End,
    Fact,
    GenerationLimits,
    HandOver,
    KeepNote,
    OpenUpstream,
    Plan,
    PromptBuilt,
    PromptFailed,
    PromptPending,
    ShowInterim,
    ShowReasoning,
    StopRequested,
    StoreAway,
    TakenOver,
    Tick,
    Yield,
)
from server.generations.joining import Joining, Placed
from server.generations.overlap import LEAST_OVERLAP, tells
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Opened,
    Progress,
    Reasoning,
    Served,
    Text,
    UpstreamFact,
    UsageReported,
)

_RATE_LIMITS = frozenset({FailureKind.RATE_LIMITED_MODEL, FailureKind.RATE_LIMITED_POOL})


class State(Enum):
    """Where a generation is."""

    WAITING = auto()
    STREAMING = auto()
    SWITCHING = auto()
    OVER = auto()


class Machine:
    """One generation. `model` is the present one.

    `capabilities` says how a model goes on from a partial answer, `cooling` whether one is to be passed over
    at a time.
    """

    def __init__(
        self,
        plan: Plan,
        limits: GenerationLimits,
        *,
        now: float,
        capabilities: Callable[[str], Capability],
        cooling: Callable[[str, float], bool],
    ) -> None:
        self.state = State.WAITING
        self.model = policy.first_model(plan, cooling=lambda model: cooling(model, now))
        self._plan = plan
        self._limits = limits
        self._capabilities = capabilities
        self._cooling = cooling
        self._clocks = Clocks.starting(limits, now)
        self._answer = Answer()
        self._joining = Joining(self._answer, "fresh", limits, now)
        self._attempt = 0
        self._losses = 0
        self._inherited: SwitchCause | None = None
        self._prompt_pending = False

    @classmethod
    def resume(
        cls,
        plan: Plan,
        limits: GenerationLimits,
        *,
        now: float,
        started_at: float,
        text: str,
        attempt: int,
        model: str,
        notes: Sequence[AttemptNote],
        losses: int,
        begins: Sequence[tuple[int, int]],
        cause: SwitchCause,
        capabilities: Callable[[str], Capability],
        cooling: Callable[[str, float], bool],
    ) -> Machine:
        """A successor; `cause` is why there is one.

        `attempt` of `model` was the last one announced, `losses` is how many nodes died since new text came.
        """
        machine = cls(plan, limits, now=now, capabilities=capabilities, cooling=cooling)
        machine._clocks = Clocks.starting(limits, started_at)
        machine._answer = Answer(text, inherited(text, attempt, model, notes, begins, cause))
        machine._attempt = attempt
        machine._losses = losses
        machine._inherited = cause
        machine.model = model
        return machine

    # --- what the driver may ask ------------------------------------------------------------

    @property
    def text(self) -> str:
        """The answer so far, as it was asked to be appended."""
        return self._answer.text

    @property
    def notes(self) -> tuple[AttemptNote, ...]:
        """What is known of every attempt."""
        return self._answer.notes

    @property
    def begins(self) -> tuple[tuple[int, int], ...]:
        """`(attempt, at)` of every attempt some of whose text remains."""
        return self._answer.begins

    @property
    def next_deadline(self) -> float | None:
        """When to tell a `Tick`; `None` once it is over."""
        return None if self.state is State.OVER else self._clocks.next(self._joining.deadline)

    # --- facts in, effects out --------------------------------------------------------------

    def begin(self, now: float) -> list[Effect]:
        """The generation begins, or a successor goes on with it."""
        if self.state is State.OVER:
            return []
        if self._inherited is not None:
            return self._take_up(self._inherited, now)
        self._clocks = Clocks.starting(self._limits, now)
        self._attempt = 1
        self._answer.open(1, self.model)
        return [self._call(now)]

    def receive(self, fact: Fact, now: float) -> list[Effect]:
        """What follows from a fact."""
        if isinstance(fact, StopRequested):
            return self._stop(fact.unannounced)
        if self.state is State.OVER:
            return []
        match fact:
            case Text(text=text):
                self._clocks.heard(now)
                return self._placed(self._joining.take(text, now), now)
            case Tick():
                return self._tick(now)
            case TakenOver():
                return self._let_go()
            case HandOver():
                return self._hand_over(now)
            case StoreAway(seconds=seconds):
                self._clocks.shift(seconds)
            case PromptFailed() | PromptPending() | PromptBuilt():
                return self._prompt(fact, now)
            case _:
                return self._hear(fact, now)
        return []

    def _hear(self, fact: UpstreamFact, now: float) -> list[Effect]:
        """What the upstream says besides text."""
        draft = self._answer.draft
        match fact:
            case Reasoning(text=text):
                self._clocks.heard(now)
                return [ShowReasoning(self._attempt, self._joining.think(text), text)]
            case Opened(generation_id=identity, key=key):
                draft.opened, draft.generation_id, draft.key = True, identity, key
                return [KeepNote(self._answer.present)]
            case Served(model=model, generation_id=identity):
                draft.served_model = model
                draft.generation_id = draft.generation_id or identity
                return [KeepNote(self._answer.present)]
            case Finish(reason=reason):
                released = self._placed(self._joining.close(), now)
                draft.finish = reason
                self._clocks.finished(now)
                return [*released, KeepNote(self._answer.present)]
            case Done():
                return self._complete(now)
            case Failed():
                return self._failed(fact, now)
            case UsageReported():
                draft.usage = fact
            case Progress() | _:
                pass
        return []

    def _prompt(self, fact: PromptFailed | PromptPending | PromptBuilt, now: float) -> list[Effect]:
        self._prompt_pending = isinstance(fact, PromptPending)
        if isinstance(fact, PromptFailed):
            gone = fact.code is ErrorCode.NOT_FOUND
            resort = [] if gone else self._resort("upstream_error", now)
            return resort or self._end("failed", None, fact.code)
        if isinstance(fact, PromptPending):
            self._clocks.silent()
        elif self._answer.is_open:
            self._answer.draft.prompt_tokens = fact.tokens
            self._answer.draft.sent = True
            self._clocks.called(now)
        return []

    def _placed(self, placed: Placed | None, now: float) -> list[Effect]:
        if placed is None:
            return []
        self._clocks.spoke(now)
        self.state = State.STREAMING
        return [AppendText(self._attempt, *placed)]

    # --- failure, and another attempt -------------------------------------------------------

    def _failed(self, failed: Failed, now: float) -> list[Effect]:
        if self._is_whole():
            return self._complete(now)
        effects: list[Effect] = []
        if failed.kind in _RATE_LIMITS:
            pool = failed.kind is FailureKind.RATE_LIMITED_POOL
            effects.append(CoolDown(self.model, failed.retry_after_seconds, pool))
        return effects + self._fail(failed.kind, now, failed.status, failed.retry_after_seconds)

    def _fail(
        self, failure: str, now: float, status: int | None = None, retry_after_seconds: float | None = None
    ) -> list[Effect]:
        """The present attempt is over; decide what follows."""
        draft = self._answer.draft
        draft.fail(failure, status)
        if self.model == self._plan.last_resort:
            return self._end("failed", None, ErrorCode.ALL_MODELS_FAILED)
        decision = self._decide(spoke=draft.begun, now=now, retry_after_seconds=retry_after_seconds)
        cause = policy.RULES[failure].cause
        if isinstance(decision, policy.GiveUp):
            return self._resort(cause, now) or self._give_up(decision.code, now)
        return [CloseUpstream(), *self._switch(decision.model, cause, now, pause=decision.pause_seconds)]

    def _resort(self, cause: SwitchCause, now: float) -> list[Effect]:
        """No model is left: ask the last resort, where there is one and it was not asked."""
        last_resort = self._plan.last_resort
        if last_resort is None or self.model == last_resort:
            return []
        return [CloseUpstream(), *self._switch(last_resort, cause, now)]

    def _decide(
        self, *, spoke: bool, now: float, retry_after_seconds: float | None = None
    ) -> policy.Decision:
        return policy.decide(
            self._plan,
            self._answer.notes,
            spoke=spoke,
            max_attempts=self._limits.max_attempts,
            cooling=lambda model: self._cooling(model, now),
            retry_after_seconds=retry_after_seconds,
        )

    def _switch(
        self, model: str, cause: SwitchCause, now: float, *, pause: float = 0.0, lost_node: bool = False
    ) -> list[Effect]:
        """Announce another attempt, and ask its model now or after a pause."""
        answer = self._answer
        ended = KeepNote(answer.notes[-1])
        from_model, self.model = self.model, model
        self._attempt += 1
        answer.open(self._attempt, model)
        if model == self._plan.last_resort:
            self._clocks.whole = math.inf  # it is at hand, and nothing else can be done with the time
        how = self._continuation(model)
        self._joining = Joining(answer, how, self._limits, now)
        self.state = State.SWITCHING if answer.length else State.WAITING
        self._clocks.silent()
        self._clocks.noticed(now)
        restarts = how == "fresh" and (answer.length > 0 or self._plan.fallback == "restart")
        mode: SwitchMode = "restart" if restarts else "continue"
        phase: Phase = "recovering" if cause in {"node_lost", "node_drained"} else "switching"
        effects: list[Effect] = [
            ended,
            Announce(self._attempt, from_model, model, cause, mode, self._joining.keep, lost_node),
            ShowInterim(phase, self._elapsed_ms(now), from_model, model),
        ]
        if pause > 0:
            self._clocks.reopen = now + pause
        else:
            effects.append(self._call(now))
        return effects

    def _continuation(self, model: str) -> Continuation:
        if self._plan.fallback == "restart" or model == self._plan.last_resort:
            return "fresh"
        if not _can_be_joined(self._answer.text):
            return "fresh"
        how = self._capabilities(model)
        if how == "none":
            return "fresh"
        if how == "prefill" and policy.refuses_prefill(self._answer.notes, model):
            return "user_turn"
        return how

    def _call(self, now: float) -> OpenUpstream:
        self._clocks.called(now)
        how, max_tokens, partial = self._joining.how, self._plan.max_tokens, ""
        if how != "fresh":
            partial = self._answer.text
            max_tokens = remaining_tokens(max_tokens, partial, rough_tokens)
        return OpenUpstream(self._attempt, self.model, how, partial, max_tokens)

    def _take_up(self, cause: SwitchCause, now: float) -> list[Effect]:
        """A successor goes on with what another owner began."""
        last = self._answer.notes[-1]
        if last.finish is not None and last.completion_chars and last.to == self._answer.length > 0:
            return self._end("completed", last.finish, None)
        lost_node = cause == "node_lost"
        lost_often = lost_node and self._losses + 1 >= self._limits.max_losses
        model = self.model
        if model == self._plan.last_resort and not lost_often:
            return self._switch(model, cause, now, lost_node=lost_node)
        if now >= self._clocks.whole or lost_often:
            return self._resort(cause, now) or self._end("interrupted", None, ErrorCode.NODE_LOST)
        if last.failure in policy.RULES:
            # its owner died between the failure and what follows from it
            decision = self._decide(spoke=last.start < last.to, now=now)
            if isinstance(decision, policy.GiveUp):
                return self._resort(cause, now) or self._end("failed", None, decision.code)
            model = decision.model
        elif self._plan.fallback != "off" and self._cooling(model, now):
            failed = policy.failures(self._answer.notes)
            other = policy.next_model(self._plan, failed, cooling=lambda each: self._cooling(each, now))
            model = other or model
        return self._switch(model, cause, now, lost_node=lost_node)

    # --- time -------------------------------------------------------------------------------

    def _tick(self, now: float) -> list[Effect]:
        clocks = self._clocks
        if now >= clocks.whole:
            if self._is_whole():
                return self._complete(now)
            late: SwitchCause = "stall_timeout" if self._answer.length else "first_token_timeout"
            return self._resort(late, now) or self._give_up(ErrorCode.GENERATION_TIMEOUT, now)
        effects: list[Effect] = []
        if clocks.reopen is not None and now >= clocks.reopen:
            effects.append(self._call(now))
        seam = self._joining.deadline
        if seam is not None and now >= seam:
            effects += self._placed(self._joining.look(now), now)
        if clocks.data is not None and now >= clocks.data:
            return effects + self._late(now)
        if now >= clocks.interim:
            clocks.noticed(now)
            effects.append(ShowInterim(self._phase(), self._elapsed_ms(now), self.model, None))
        return effects

    def _late(self, now: float) -> list[Effect]:
        """The data clock ran out."""
        if self._clocks.awaited is Awaited.END:
            return self._complete(now) if self._is_whole() else self._fail(FailureKind.EMPTY, now)
        first = self._clocks.awaited is Awaited.FIRST_TOKEN
        return self._fail(policy.FIRST_TOKEN_TIMEOUT if first else policy.STALL_TIMEOUT, now)

    def _phase(self) -> Phase:
        if self._prompt_pending:
            return "recovering"
        if self.state is State.STREAMING:
            return "stalled"
        if self._joining.reasoned:
            return "thinking"
        return "switching" if self.state is State.SWITCHING else "waiting"

    def _elapsed_ms(self, now: float) -> int:
        return max(0, round((now - self._clocks.started) * 1000))

    # --- ends -------------------------------------------------------------------------------

    def _stop(self, unannounced: int) -> list[Effect]:
        if 1 < unannounced <= self._attempt and self._answer.is_open:
            # whatever was decided meanwhile is not carried out yet: it stands behind the announcement
            self._answer.withdraw(unannounced)
            self._attempt = unannounced - 1
            self.model = self._answer.notes[-1].model
        elif self.state is State.OVER:
            return []
        return self._end("cancelled", None, None)

    def _is_whole(self) -> bool:
        """Whether the upstream has finished the answer."""
        if not self._answer.is_open or self._answer.draft.finish is None:
            return False
        if self._joining.spoke:
            return True
        # asked for the rest, two models running say that there is none
        before = self._answer.notes[-2:-1]
        return self._joining.how != "fresh" and bool(before) and before[0].failure == FailureKind.EMPTY

    def _complete(self, now: float) -> list[Effect]:
        released = self._placed(self._joining.close(), now)
        return released + self._end("completed", self._answer.draft.finish or "stop", None)

    def _give_up(self, code: ErrorCode, now: float) -> list[Effect]:
        # what the seam still held nobody is going to say again
        released = self._placed(self._joining.relinquish(), now)
        return released + self._end("failed", None, code)

    def _hand_over(self, now: float) -> list[Effect]:
        if not self._answer.is_open:
            return self._let_go()  # nothing was begun here
        if self._is_whole():
            return self._complete(now)
        note = replace(self._answer.present, failure=policy.NODE_DRAINED)
        self.state = State.OVER
        return [CloseUpstream(), KeepNote(note), Yield()]

    def _let_go(self) -> list[Effect]:
        self.state = State.OVER
        return [CloseUpstream(), Yield()]

    def _end(self, status: EndStatus, finish_reason: str | None, code: ErrorCode | None) -> list[Effect]:
        self.state = State.OVER
        return [CloseUpstream(), End(status, finish_reason, code, self._answer.notes)]


def _can_be_joined(text: str) -> bool:
    """Whether there is enough to tell a repetition of it; what has barely begun begins again."""
    return tells(text) and len("".join(text.split())) >= LEAST_OVERLAP
