"""A machine, a clock, and a reader who believes every effect."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from protocol.frames import SwitchCause
from server.generations.capabilities import Capability
from server.generations.effects import (
    Announce,
    AppendText,
    AttemptNote,
    Effect,
    End,
    Fact,
    GenerationLimits,
    OpenUpstream,
    Plan,
    StopRequested,
    Tick,
    Yield,
)
from server.generations.machine import Machine, State
from tests.generations.notes import a_plan

T = TypeVar("T", bound=Effect)

LIMITS = GenerationLimits(
    first_token_seconds=20,
    stall_seconds=15,
    generation_seconds=180,
    interim_after_seconds=10,
    interim_every_seconds=7,
    seam_hold_seconds=0.7,
    seam_hold_chars=200,
    max_attempts=4,
    max_losses=3,
)


class Driving:
    """Gives a machine facts and holds every list of effects against the rules.

    `text` is what a client has that applied `text[:at] + delta`; `told` are all effects so far.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        limits: GenerationLimits = LIMITS,
        capabilities: Callable[[str], Capability] = lambda _: "user_turn",
        cooling: Collection[str] = (),
        machine: Machine | None = None,
        attempt: int = 0,
    ) -> None:
        self.now = 100.0
        self.machine = machine or Machine(
            plan or a_plan(),
            limits,
            now=self.now,
            capabilities=capabilities,
            cooling=lambda model, _: model in cooling,
        )
        self.text = self.machine.text
        self.told: list[Effect] = []
        self.attempt = attempt
        self._spoke_last = 0  # the attempt whose text came last

    @classmethod
    def resumed(
        cls,
        text: str = "",
        *,
        attempt: int = 1,
        model: str | None = None,
        notes: Sequence[AttemptNote] = (),
        begins: Sequence[tuple[int, int]] | None = None,
        losses: int = 0,
        cause: SwitchCause = "node_lost",
        elapsed: float = 0.0,
        plan: Plan | None = None,
        limits: GenerationLimits = LIMITS,
        capabilities: Callable[[str], Capability] = lambda _: "user_turn",
        cooling: Collection[str] = (),
    ) -> "Driving":
        """A successor's."""
        plan = plan or a_plan()
        machine = Machine.resume(
            plan,
            limits,
            now=100.0,
            started_at=100.0 - elapsed,
            text=text,
            attempt=attempt,
            model=model or plan.chain[0],
            notes=notes,
            losses=losses,
            begins=begins if begins is not None else ([(1, 0)] if text else []),
            cause=cause,
            capabilities=capabilities,
            cooling=lambda model, _: model in cooling,
        )
        return cls(machine=machine, attempt=attempt)

    @property
    def over(self) -> bool:
        return self.machine.state is State.OVER

    @property
    def end(self) -> End:
        ends = [effect for effect in self.told if isinstance(effect, End)]
        assert len(ends) == 1
        return ends[0]

    def begin(self) -> list[Effect]:
        effects = self.machine.begin(self.now)
        if self.attempt == 0 and effects:
            self.attempt = 1
        return self._hold(effects)

    def hear(self, *facts: Fact) -> list[Effect]:
        """Facts at one moment, and what follows from all of them."""
        effects: list[Effect] = []
        for fact in facts:
            was_over = self.over
            told = self.machine.receive(fact, self.now)
            assert not was_over or not told or (isinstance(fact, StopRequested) and fact.unannounced)
            effects += self._hold(told)
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        """Let so much time pass; a `Tick` at every deadline on the way."""
        until, effects = self.now + seconds, list[Effect]()
        while (deadline := self.machine.next_deadline) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            effects += self.hear(Tick())
            later = self.machine.next_deadline
            assert later is None or later > self.now
        self.now = until
        return effects

    def _hold(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Announce):
                assert effect.attempt == self.attempt + 1
                assert 0 <= effect.keep <= len(self.text)
                self.attempt, self._keep = effect.attempt, effect.keep
            elif isinstance(effect, AppendText):
                assert effect.attempt == self.attempt
                first = effect.attempt != self._spoke_last
                if first and effect.attempt > 1 and self._announced_here():
                    assert effect.at <= self._keep
                elif not first:
                    assert effect.at == len(self.text)
                assert effect.text
                assert effect.at <= len(self.text)
                self._spoke_last = effect.attempt
                self.text = self.text[: effect.at] + effect.text
            elif isinstance(effect, OpenUpstream):
                assert effect.attempt == self.attempt
                assert effect.model == self.machine.model
        self.told += effects
        last = [type(effect) for effect in effects if isinstance(effect, End | Yield)]
        assert len(last) <= 1
        assert not last or type(effects[-1]) is last[0]
        assert self.text == self.machine.text
        spans = [(note.start, note.to) for note in self.machine.notes if note.start < note.to]
        assert [start for start, _ in spans] == [0, *(to for _, to in spans)][: len(spans)]
        assert (spans[-1][1] if spans else 0) == len(self.text)
        return effects

    def _announced_here(self) -> bool:
        return any(isinstance(effect, Announce) and effect.attempt == self.attempt for effect in self.told)


def only(kind: type[T], effects: list[Effect]) -> T:
    """The one effect of this kind."""
    found = [effect for effect in effects if isinstance(effect, kind)]
    assert len(found) == 1, effects
    return found[0]


def kinds(effects: list[Effect]) -> list[Any]:
    return [type(effect) for effect in effects]
