"""The generations of this node: begin, stop, keep their leases, take over those of dead nodes, let go.

One ticker looks at all deadlines, so no token ever creates a timer. One lease renewal covers all.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from server.channels.broker import BrokerUnavailable
from server.generations.attempts import decode_note
from server.generations.capabilities import capability
from server.generations.effects import HandOver, Plan
from server.generations.ending import complete, known_end, tell_again
from server.generations.house import House
from server.generations.machine import Machine
from server.generations.order import GenerationOrder, decode_plan
from server.generations.policy import NODE_DRAINED
from server.generations.run import Run
from server.generations.sealed import decode_end
from server.generations.store import GenerationRecord

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_SWEEP_SECONDS = 1.0
_SWEEP_LIMIT = 16
_LEFT_WHERE_OVERDUE = 7 / 12
"""Of a lease, which is renewed when two thirds of it are left: the renewal is late."""
_ORPHANS_LIMIT = 512
_SURE_SECONDS = 0.7
"""An owner that is not heard may connect again; one that is not heard so much later has not."""
_HAND_OVER_SECONDS = 2.0
_HAND_OVER_PACE = 0.02
_HAND_OVER_AT_ONCE = 4
_HAND_OVER_STEPS = 64


class Generations:
    """Every generation this node owns, by id."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._runs: dict[str, Run] = {}
        self._ends: dict[
            str, str
        ] = {}  # users, by generations whose decided ends are carried out for the dead
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._orphans: dict[tuple[str, str], float] = {}  # leases of owners not heard, and since when
        self._away_until = 0.0
        self._sweeping = True
        self._woken = asyncio.Event()
        self.on_idle: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def owner(self) -> str:
        """This process, as leases and fences name it."""
        return self._house.owner

    def first_model(self, plan: Plan) -> str:
        """The model a fresh generation with this plan would ask first, now."""
        return self._machine(plan).model

    # --- begin, stop ------------------------------------------------------------------------

    def begin(self, order: GenerationOrder) -> None:
        """Answer an accepted turn. Idempotent while it runs here."""
        if order.generation not in self._tasks:
            self._spawn(Run(order, self._machine(order.plan), self._house))

    def stop(self, user: str, generation: str) -> None:
        """The owner's ear: a stop was asked for a generation, perhaps one of this node's."""
        run = self._runs.get(generation)
        if run is not None and run.order.user == user:
            run.stop()

    def _machine(self, plan: Plan) -> Machine:
        house = self._house
        return Machine(
            plan,
            house.limits,
            now=house.now(),
            capabilities=capability,
            cooling=lambda model, now: house.cooldowns.is_cooling(model, now, free=model in plan.free),
        )

    def _spawn(self, run: Run) -> None:
        generation = run.order.generation
        self._runs[generation] = run
        task = asyncio.create_task(run.go(), name=f"generation {generation}")
        self._tasks[generation] = task
        task.add_done_callback(lambda _: self._forget(generation))

    def _forget(self, generation: str) -> None:
        self._runs.pop(generation, None)
        self._ends.pop(generation, None)
        task = self._tasks.pop(generation, None)
        if task is not None and not task.cancelled() and task.exception() is not None:
            log.error("a generation's task died", exc_info=task.exception())

    # --- loops ------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Look at every deadline, for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._house.now()
            self._house.watch.beat(now)
            for run in list(self._runs.values()):
                run.tick(now)

    async def keep_leases(self) -> None:
        """Renew the leases of everything that runs or ends here, for ever.

        A third of a lease between renewals, half of one for the answer, a tenth until the next try: together
        less than a lease, so a renewal over a connection that says nothing costs none.
        """
        seconds = self._house.limits.lease_seconds
        pause = seconds / 3
        while True:
            await asyncio.sleep(pause)
            runs = [run for run in self._runs.values() if not run.yielded]
            held = [(run.order.user, run.order.generation) for run in runs]
            held += [(user, generation) for generation, user in self._ends.items()]
            pause = seconds / 10
            try:
                await self._house.leases.hold(held, seconds=seconds, within=seconds / 2)
                for looked in await asyncio.gather(
                    *(run.look(seconds / 3) for run in runs), return_exceptions=True
                ):
                    if isinstance(looked, BrokerUnavailable):
                        raise looked
                    if isinstance(looked, Exception):
                        log.error("a generation cannot be looked at", exc_info=looked)
            except BrokerUnavailable:
                # nobody died while the store was away: owners come first when it is back
                self._away_until = self._house.now() + seconds
            else:
                pause = seconds / 3

    async def sweep(self) -> None:
        """Take over what lost its owner, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await self._woken.wait()
            self._woken.clear()
            if not self._sweeping or self._house.now() < self._away_until:
                continue
            try:
                while await self._take_some() and self._sweeping:
                    pass
                await self._take_orphans()
            except BrokerUnavailable:
                self._away_until = self._house.now() + self._house.limits.lease_seconds

    async def _take_some(self) -> bool:
        """Take over a few of what lost its owner; whether there may be more.

        A few, so that nodes that sweep at the same time share them.
        """
        expired = await self._house.leases.expired(limit=_SWEEP_LIMIT)
        await self._take(expired)
        return len(expired) == _SWEEP_LIMIT

    async def _take_orphans(self) -> None:
        """Take over from owners that are gone, without waiting for their leases to run out.

        Gone is who does not renew in time and is not heard, now and a while ago. Whoever is taken for gone
        and is not finds its attempt over, as after a lease that ran out.
        """
        house = self._house
        left = house.limits.lease_seconds * _LEFT_WHERE_OVERDUE
        found = await house.leases.orphaned(left=left, limit=_ORPHANS_LIMIT)
        now = house.now()
        since = {lease: self._orphans.get(lease, now) for lease in found if lease[1] not in self._tasks}
        sure = [lease for lease, seen in since.items() if now - seen >= _SURE_SECONDS]
        self._orphans = {lease: seen for lease, seen in since.items() if now - seen < _SURE_SECONDS}
        for start in range(0, len(sure), _SWEEP_LIMIT):
            if self._sweeping:
                await self._take(sure[start : start + _SWEEP_LIMIT], left=left)

    async def _take(self, leases: list[tuple[str, str]], *, left: float = 0.0) -> None:
        taken = await asyncio.gather(
            *(self._take_over(*lease, left=left) for lease in leases), return_exceptions=True
        )
        for (_, generation), error in zip(leases, taken, strict=True):
            if isinstance(error, BrokerUnavailable):
                raise error
            if isinstance(error, Exception):
                # one that cannot be read must not keep the others from going on; its lease is the pause
                log.error(
                    "a generation cannot be taken over", exc_info=error, extra={"generation": generation}
                )

    def wake(self) -> None:
        """Sweep now: somebody left leases to take."""
        self._woken.set()

    async def _take_over(self, user: str, generation: str, *, left: float) -> None:
        house = self._house
        if generation in self._tasks:
            # this node's own lease ran out under load: it is renewed, not taken over
            await house.leases.hold([(user, generation)], seconds=house.limits.lease_seconds)
            return
        if not await house.leases.claim(user, generation, seconds=house.limits.lease_seconds, left=left):
            return
        record = await house.store.read(user, generation)
        if record is None or (record.status == "concluded" and record.persisted):
            await house.leases.drop(user, generation)
        elif record.status in {"sealed", "concluded"}:
            end = decode_end(record.record)
            self._carry_out(user, generation, complete(house, end))
        elif (known := await known_end(house, user, generation)) is not None:
            log.warning("the store has lost an end", extra={"generation": generation})
            self._carry_out(user, generation, tell_again(house, known, attempt=record.attempt))
        else:
            log.warning(
                "taking a generation over",
                extra={"generation": generation, "owner": record.owner, "attempt": record.attempt},
            )
            self._spawn(self._successor(record))

    def _carry_out(self, user: str, generation: str, ending: Coroutine[Any, Any, None]) -> None:
        """Carry out an end that is decided; its lease is kept meanwhile."""
        self._ends[generation] = user
        task = asyncio.create_task(ending, name=f"finish {generation}")
        self._tasks[generation] = task
        task.add_done_callback(lambda _: self._forget(generation))

    def _successor(self, record: GenerationRecord) -> Run:
        house = self._house
        plan = decode_plan(record.plan)
        notes = tuple(decode_note(note) for note in record.notes)
        drained = any(note.attempt == record.attempt and note.failure == NODE_DRAINED for note in notes)
        elapsed = max(0.0, (house.wall_ms() - record.started_ms) / 1000)
        machine = Machine.resume(
            plan,
            house.limits,
            now=house.now(),
            started_at=house.now() - elapsed,
            text=record.text,
            attempt=record.attempt,
            model=record.model,
            notes=notes,
            losses=record.losses,
            begins=record.begins,
            cause="node_drained" if drained else "node_lost",
            capabilities=capability,
            cooling=lambda model, now: house.cooldowns.is_cooling(model, now, free=model in plan.free),
        )
        order = GenerationOrder(
            user=record.user,
            generation=record.generation,
            conversation=record.conversation,
            message=record.message,
            reply_to=record.reply_to,
            plan=plan,
            events=(),
            prompt=None,
            request_id=record.generation,
        )
        run = Run(order, machine, house, resumed=record)
        if record.stop:
            run.stop()
        return run

    # --- leaving ----------------------------------------------------------------------------

    async def abandon(self) -> None:
        """Let go of everything at once, as a crash would; what ran is swept by other nodes."""
        self._sweeping = False
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """Let generations finish for `seconds`, handing the rest over towards the end; nothing new is taken.

        A few at a time: those who take them build prompts and call models, and readers wait meanwhile.
        """
        self._sweeping = False
        spread = min(seconds / 4, len(self._runs) * _HAND_OVER_PACE)
        if self._tasks and seconds > 0:
            await asyncio.wait(self._tasks.values(), timeout=seconds - spread)
        rest = list(self._runs.values())
        pause = spread / len(rest) if rest else 0.0
        at_once = max(_HAND_OVER_AT_ONCE, len(rest) // _HAND_OVER_STEPS)  # each step is a call of the store
        handing: list[Run] = []
        for start in range(0, len(rest), at_once):
            few = rest[start : start + at_once]
            for run in few:
                run.feed(HandOver())
            await asyncio.sleep(pause * len(few))
            handing = await self._let_go([*handing, *few])
        late = set(self._tasks.values())
        until = self._house.now() + _HAND_OVER_SECONDS
        while late and (left := until - self._house.now()) > 0:
            _, late = await asyncio.wait(late, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            # those that are ready do not wait for the last
            handing = await self._let_go(handing)
        await self._let_go(handing)
        for task in late:
            task.cancel()

    async def _let_go(self, runs: list[Run]) -> list[Run]:
        """Give up the leases of those that are ready, and say which are not.

        Leases that are over are the hand-over: whoever sweeps first goes on.
        """
        ready = [(run.order.user, run.order.generation) for run in runs if run.yielded]
        others = [run for run in runs if not run.yielded]
        with suppress(BrokerUnavailable):
            await self._house.leases.hold(ready, seconds=0)
        return others
