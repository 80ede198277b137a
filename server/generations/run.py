"""One generation's driver: brings facts to its machine and carries out the effects, in order.

Facts come from the upstream's reader and from the node (stop, ticks, hand-over) and are given to the machine
at once; effects queue up and are carried out one after the other, so text is written before a switch that
follows it, and the end comes last. Text that waits for the store is merged: the next write takes all of it.
One task carries them out; but text that nothing waits before goes to the store at once, without a turn of
that task for every token.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from protocol.codec import encode
from protocol.codes import ErrorCode
from protocol.frames import GenerationSwitched
from server.channels.broker import BrokerUnavailable
from server.generations import interim
from server.generations.asking import Asking
from server.generations.attempts import encode_note
from server.generations.beginning import start_of
from server.generations.effects import (
    Announce,
    AppendText,
    AttemptNote,
    CloseUpstream,
    CoolDown,
    Effect,
    End,
    Fact,
    KeepNote,
    OpenUpstream,
    ShowInterim,
    ShowReasoning,
    StopRequested,
    StoreAway,
    TakenOver,
    Tick,
    Yield,
)
from server.generations.ending import complete, known_end
from server.generations.house import House
from server.generations.learning import learn
from server.generations.machine import Machine
from server.generations.order import GenerationOrder, PromptImpossible
from server.generations.policy import FIRST_TOKEN_TIMEOUT, STALL_TIMEOUT
from server.generations.record import build_end
from server.generations.restoring import running_state
from server.generations.sealed import SealedEnd, decode_end, encode_end
from server.generations.store import Appended, Fenced, GenerationRecord, Gone, Sealed, StopAsked
from server.generations.upstream import FailureKind

log = logging.getLogger(__name__)

T = TypeVar("T")

# what speaks against a model: neither the question, nor our keys and our network, nor a lost node
_OF_THE_MODEL = frozenset(
    {
        FailureKind.OVERLOADED,
        FailureKind.MODEL_UNAVAILABLE,
        FailureKind.UPSTREAM_ERROR,
        FailureKind.TRUNCATED,
        FailureKind.MALFORMED,
        FailureKind.EMPTY,
        FIRST_TOKEN_TIMEOUT,
        STALL_TIMEOUT,
    }
)
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Run:
    """A generation on this node. `resumed` is what a successor found in the store."""

    def __init__(
        self,
        order: GenerationOrder,
        machine: Machine,
        house: House,
        *,
        resumed: GenerationRecord | None = None,
    ) -> None:
        self.order = order
        self.machine = machine
        self.over = False
        self.yielded = False
        self._house = house
        self._resumed = resumed
        self._asking = Asking(order, house, self.feed)
        self._attempt = resumed.attempt if resumed else 1  # what the store knows
        self._started_at = house.now() - (_elapsed_seconds(resumed, house) if resumed else 0.0)
        self._started_ms = resumed.started_ms if resumed else house.wall_ms()
        self._answered_at = self._started_at
        self._away_since: float | None = None
        self._spoke = resumed is not None and resumed.length > 0
        self._effects: deque[Effect] = deque()
        self._work = asyncio.Event()
        self._idle = False  # the task waits for work
        self._writing: AppendText | None = None  # under way without the task
        self._fault: Exception | None = None
        self._stopping = False
        self._begun = resumed is not None
        self._missed = False  # the store holds nothing of it
        self._rightful = {house.owner, resumed.owner if resumed else house.owner}
        self._estimate = resumed.estimated_response_ms if resumed else house.estimate_ms(machine.model)

    # --- facts ------------------------------------------------------------------------------

    def feed(self, fact: Fact) -> None:
        """Tell the machine something."""
        if not self.over:
            self._take(self.machine.receive(fact, self._house.now()))

    def tick(self, now: float) -> None:
        """Tell the machine that its deadline has passed, if it has; time without the store does not count."""
        if self._away_since is not None:
            return
        deadline = self.machine.next_deadline
        if deadline is not None and now >= deadline:
            self.feed(Tick())

    def stop(self) -> None:
        """Somebody asked for a stop; asking twice is asking once."""
        if not self._stopping:
            self._stopping = True
            self.feed(StopRequested())

    def _take(self, effects: list[Effect]) -> None:
        if not effects:
            return
        for effect in effects:
            if isinstance(effect, AppendText):
                self._asking.queued(len(effect.text))
            elif isinstance(effect, OpenUpstream):
                self._asking.want(effect)
            elif isinstance(effect, CloseUpstream):
                self._asking.want(None)
        self._effects.extend(effects)
        self._go_on()

    async def look(self, silent_seconds: float) -> None:
        """Where the store has told nothing for so long, ask it: of a stop, another owner, or nothing at all.

        The message that tells of a stop may be lost, or everything the store held; another node may have
        taken over; and a model that says nothing gives no other occasion to notice.

        Raises:
            BrokerUnavailable
        """
        house, order = self._house, self.order
        if self.over or house.now() - self._answered_at < silent_seconds:
            return
        record = await house.store.read(order.user, order.generation)
        if record is None:
            # the time of this answer does not count: since when it knew of nothing decides who may restore
            self._missed = self._begun
            self._go_on()
            return
        self._answered_at = house.now()
        if record.owner not in self._rightful:
            self.feed(TakenOver())
        elif record.stop:
            self.stop()

    # --- the driver -------------------------------------------------------------------------

    async def go(self) -> None:
        """Drive it to its end, or until another owner has it; never raises but on cancellation."""
        try:
            await self._drive()
        except Exception:
            # an answer must end, also when this house is at fault
            log.exception("generation failed", extra={"generation": self.order.generation})
            with suppress(Exception):
                await self._end(End("failed", None, ErrorCode.INTERNAL, self.machine.notes))
        finally:
            self.over = True
            await self._asking.close()

    async def _drive(self) -> None:
        if self._resumed is None and not await self._start():
            return
        self._begun = True
        self._take(self.machine.begin(self._house.now()))
        while not self.over:
            if self._writing is None and self._effects:
                await self._carry_out(self._effects.popleft())
            elif self._writing is None and self._missed:
                self._missed = False
                await self._restore(Gone(), None, "")
            else:
                self._work.clear()
                self._idle = True
                await self._work.wait()
            if self._fault is not None:
                raise self._fault

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case AppendText():
                await self._append(effect)
            case OpenUpstream():
                self._asking.open(effect)
            case CloseUpstream():
                await self._asking.close()
            case Announce():
                await self._announce(effect)
            case ShowInterim() | ShowReasoning():
                await self._show(effect)
            case KeepNote(note=note):
                await self._keep(note)
            case CoolDown():
                self._cool(effect)
            case End():
                await self._end(effect)
            case Yield():
                self.over = self.yielded = True

    # --- the store --------------------------------------------------------------------------

    async def _start(self) -> bool:
        order, house = self.order, self._house
        start = start_of(order, house, model=self.machine.model, estimate_ms=self._estimate)
        lease = [(order.user, order.generation)]
        await self._again(lambda: house.leases.hold(lease, seconds=house.limits.lease_seconds))
        answer = await self._again(lambda: house.store.start(start))
        self._started_ms = answer.started_ms
        if not answer.fresh and answer.owner != house.owner:
            log.info("generation has another owner", extra={"generation": order.generation})
            return False
        return True

    def _go_on(self) -> None:
        """Have the next effect carried out: by the task, or now if that waits for work and it is text."""
        if self._writing is not None:
            return
        if self._idle and not self._missed and self._effects and isinstance(self._effects[0], AppendText):
            self._write(self._effects.popleft())
        else:
            self._wake()

    def _wake(self) -> None:
        self._idle = False
        self._work.set()

    def _write(self, effect: Effect) -> None:
        assert isinstance(effect, AppendText)
        order, text = self.order, self._merged(effect)
        if text is not effect.text:
            effect = AppendText(effect.attempt, effect.at, text)
        try:
            written = self._house.store.append(order.user, order.generation, effect.attempt, effect.at, text)
        except Exception as error:  # noqa: BLE001 - the task has the same, and knows what to make of it
            self._leave_to_task(effect, error)
            return
        self._writing = effect
        asyncio.ensure_future(written).add_done_callback(self._wrote)

    def _wrote(self, written: asyncio.Future[Appended]) -> None:
        effect, self._writing = self._writing, None
        error = asyncio.CancelledError() if written.cancelled() else written.exception()
        if self.over or effect is None:
            return
        if error is not None:
            self._leave_to_task(effect, error)
            return
        try:
            self._answered_at = self._house.now()
            self._written(len(effect.text))
            if written.result().stop:
                self.stop()
            if self._effects or self._missed:
                self._go_on()
        except Exception as fault:  # noqa: BLE001 - the task ends the answer with it
            self._fault = fault
            self._wake()

    def _leave_to_task(self, effect: AppendText, error: BaseException) -> None:
        """Have it asked for again by one who can wait, or act on a refusal."""
        if isinstance(error, BrokerUnavailable) and self._away_since is None:
            self._away_since = self._house.now()
        self._effects.appendleft(effect)
        self._wake()

    async def _append(self, effect: AppendText) -> None:
        text = self._merged(effect)
        order, store = self.order, self._house.store
        try:
            appended = await self._again(
                lambda: store.append(order.user, order.generation, effect.attempt, effect.at, text)
            )
        except Fenced as fence:
            self._lost(fence)
            return
        except Sealed:
            self.feed(TakenOver())
            return
        except Gone as gone:
            if await self._restore(gone, effect, text):
                self._written(len(text))
            return
        self._written(len(text))
        if appended.stop:
            self.stop()

    def _merged(self, effect: AppendText) -> str:
        queue = self._effects
        if not queue or not isinstance(queue[0], AppendText):
            return effect.text
        pieces, end = [effect.text], effect.at + len(effect.text)
        while queue:
            following = queue[0]
            if (
                not isinstance(following, AppendText)
                or following.attempt != effect.attempt
                or following.at != end
            ):
                break
            queue.popleft()
            pieces.append(following.text)
            end += len(following.text)
        return "".join(pieces)

    def _written(self, chars: int) -> None:
        self._asking.written(chars)
        if not self._spoke:
            self._spoke = True
            self._house.observe(
                "first_token", {"model": self.machine.model}, self._house.now() - self._started_at
            )

    async def _keep(self, note: AttemptNote) -> None:
        order, store = self.order, self._house.store
        await self._again(lambda: store.note(order.user, order.generation, note.attempt, encode_note(note)))

    async def _announce(self, effect: Announce) -> None:
        order = self.order
        event = encode(
            GenerationSwitched(
                generation=order.generation,
                attempt=effect.attempt,
                from_model=effect.from_model,
                to_model=effect.to_model,
                cause=effect.cause,
                mode=effect.mode,
                keep=effect.keep,
            )
        )
        self._house.observe("switch", {"cause": effect.cause, "mode": effect.mode}, 1.0)
        failure = self.machine.notes[effect.attempt - 2].failure
        if failure in _OF_THE_MODEL:
            self._house.cooldowns.failed(effect.from_model, self._house.now())
        try:
            await self._again(
                lambda: self._house.store.switch(
                    order.user,
                    order.generation,
                    expected=effect.attempt - 1,
                    owner=self._house.owner,
                    model=effect.to_model,
                    is_free_model=effect.to_model in order.plan.free,
                    event=event,
                    lost_node=effect.lost_node,
                )
            )
        except StopAsked:
            # the attempt never was, nor what was to follow it
            self._stopping = True
            self._effects.clear()
            self.feed(StopRequested(unannounced=effect.attempt))
            return
        except Fenced as fence:
            # one's own success whose reply was lost
            if not (fence.owner == self._house.owner and fence.attempt == effect.attempt):
                self._lost(fence)
                return
        except Sealed:
            self.feed(TakenOver())
            return
        except Gone as gone:
            if await self._restore(gone, None, ""):
                await self._announce(effect)
            return
        self._attempt = effect.attempt

    def _lost(self, fence: Fenced) -> None:
        log.info(
            "generation was taken over",
            extra={"generation": self.order.generation, "owner": fence.owner, "attempt": fence.attempt},
        )
        self.feed(TakenOver())

    async def _restore(self, gone: Gone, effect: AppendText | None, text: str) -> bool:
        """Write the state again from memory, if this owner may; text in flight is written with it.

        It may not after a pause as long as a lease, nor where an end is written down: another one went on.
        """
        house, order = self._house, self.order
        paused = house.watch.gap_since(self._answered_at, house.now()) > house.limits.lease_seconds
        if paused or await known_end(house, order.user, order.generation) is not None:
            self.feed(TakenOver())
            return False
        shown = self.machine.text[: effect.at] + text if effect else self.machine.text
        record = running_state(
            order,
            self.machine,
            owner=house.owner,
            attempt=self._attempt,
            text=shown,
            stop=self._stopping,
            started_ms=self._started_ms,
            estimated_response_ms=self._estimate,
            deadline_ms=int(house.limits.generation_seconds * 1000),
        )
        log.warning(
            "store lost a generation, writing it again",
            extra={"generation": order.generation, "held": gone.length, "length": len(shown)},
        )
        await self._again(
            lambda: house.leases.hold([(order.user, order.generation)], seconds=house.limits.lease_seconds)
        )
        if await self._again(lambda: house.store.restore(record)):
            return True
        self.feed(TakenOver())
        return False

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers: every verb is idempotent, and the answer is owed."""
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await call()
            except BrokerUnavailable:
                if self._away_since is None:
                    self._away_since = self._house.now()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._answered_at = now = self._house.now()
                if self._away_since is not None:
                    since, self._away_since = self._away_since, None
                    self.feed(StoreAway(now - since))
                return answer

    # --- notices ----------------------------------------------------------------------------

    def _cool(self, effect: CoolDown) -> None:
        now = self._house.now()
        if effect.pool:
            self._house.cooldowns.cool_pool(effect.seconds, now)
        else:
            self._house.cooldowns.cool(effect.model, effect.seconds, now)

    async def _show(self, effect: ShowInterim | ShowReasoning) -> None:
        """Notices are best effort: they are kept nowhere, and nothing waits for them."""
        frame = interim.frame_of(effect, self.order)
        with suppress(BrokerUnavailable):
            await self._house.broker.publish_frame(self.order.user, encode(frame))

    # --- the end ----------------------------------------------------------------------------

    async def _end(self, effect: End) -> None:
        await self._asking.close()
        house, order = self._house, self.order
        beside = await self._beside()
        end = build_end(
            order,
            effect,
            text=self.machine.text,
            beside=beside,
            model=self.machine.model,
            elapsed_ms=int((house.now() - self._started_at) * 1000),
            now_ms=house.wall_ms(),
            count=house.count,
        )
        standing = await self._seal(end)
        self.over = True
        seconds = house.now() - self._started_at
        if standing is not None:
            try:
                learn(house, order, effect, standing, model=self.machine.model, seconds=seconds)
            except Exception:
                # what is counted holds no end up
                log.exception("an end was not learnt from", extra={"generation": order.generation})
            await complete(house, standing)

    async def _beside(self) -> Mapping[str, Any]:
        """What is noted beside an answer that nobody asked for, whoever wrote it."""
        if self.order.reply_to is not None or not self.machine.text:
            return {}
        try:
            return (await self._asking.opening()).metadata
        except PromptImpossible:
            return {}

    async def _seal(self, end: SealedEnd) -> SealedEnd | None:
        order, store = self.order, self._house.store
        while True:
            try:
                await self._again(
                    lambda: store.seal(
                        order.user, order.generation, expected=self._attempt, record=encode_end(end)
                    )
                )
            except Sealed as sealed:
                return decode_end(sealed.record)
            except Fenced as fence:
                log.info(
                    "another owner ends it", extra={"generation": order.generation, "owner": fence.owner}
                )
                return None
            except Gone as gone:
                if not await self._restore(gone, None, ""):
                    return None
            else:
                return end


def _elapsed_seconds(resumed: GenerationRecord, house: House) -> float:
    return max(0.0, (house.wall_ms() - resumed.started_ms) / 1000)
