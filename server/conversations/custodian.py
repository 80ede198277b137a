"""What must happen although somebody died: one loop per node over everything that is due.

Each job claims its work so that no two nodes hold the same item for long, and every item is idempotent: a
double claim costs work, never truth. A job that meets an outage comes back with its next turn.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import orjson

from server.channels.broker import Broker, BrokerUnavailable
from server.conversations.openings import Openings
from server.conversations.store import (
    ConversationStore,
    Destination,
    DueUsage,
    GenerationRow,
    NotFound,
    OutboxRow,
    StoreRefused,
    StoreUnavailable,
)
from server.conversations.turns import Turns
from server.generations.order import decode_plan
from server.generations.store import GenerationStore, LeaseStore
from server.generations.upstream import SettlementUnavailable, Upstream

log = logging.getLogger(__name__)

_UNSTARTED_AFTER_SECONDS = 3.0
_BATCH = 50


class Relay(Protocol):
    """Where outbox rows for other services go."""

    async def publish(self, row: OutboxRow) -> bool:
        """Deliver one; `False`: not now. Never raises."""
        ...


class Housekeeping(Protocol):
    """What the database wants done now and then, by one node at a time."""

    async def keep(self) -> None:
        """Do it.

        Raises:
            StoreUnavailable: later, then.
        """
        ...


@dataclass(frozen=True, slots=True)
class CustodyPace:
    """How often each job looks, in seconds.

    `patience_seconds` is how long owners get to write again what the store lost: a lease's time.
    """

    patience_seconds: float = 6.0
    unstarted_seconds: float = 1.0
    outbox_seconds: float = 1.0
    settlement_seconds: float = 2.0
    housekeeping_seconds: float = 24 * 3600.0


class Custodian:
    """The jobs. `relay` is `None` where there is no broker: what it would be told is told to nobody.

    So is `webhook`, where no service is told of notifications.
    """

    def __init__(
        self,
        store: ConversationStore,
        broker: Broker,
        generation_store: GenerationStore,
        leases: LeaseStore,
        turns: Turns,
        openings: Openings,
        upstream: Upstream,
        housekeeping: Housekeeping,
        *,
        relay: Relay | None = None,
        webhook: Relay | None = None,
        pace: CustodyPace | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._generation_store = generation_store
        self._leases = leases
        self._turns = turns
        self._openings = openings
        self._upstream = upstream
        self._housekeeping = housekeeping
        self._relay = relay
        self._webhook = webhook
        self._pace = pace or CustodyPace()
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """An outbox row was written here: deliver it now."""
        self._kicked.set()

    async def run(self) -> None:
        """All jobs, for ever."""
        pace = self._pace
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._every(pace.unstarted_seconds, self._begin_unstarted))
            jobs.create_task(self._every(pace.outbox_seconds, self.deliver, self._kicked))
            jobs.create_task(self._every(pace.settlement_seconds, self._settle))
            jobs.create_task(self._every(pace.housekeeping_seconds, self._housekeeping.keep))

    async def _every(
        self, seconds: float, job: Callable[[], Awaitable[Any]], kicked: asyncio.Event | None = None
    ) -> None:
        kicked = kicked or asyncio.Event()
        while True:
            pause = seconds * random.uniform(0.8, 1.2)  # noqa: S311 - so that nodes do not look together
            try:
                await job()
            except (StoreUnavailable, BrokerUnavailable):
                pause = min(seconds, 5.0)
            except Exception:
                log.exception("a job of the custodian failed")
            try:
                async with asyncio.timeout(pause):
                    await kicked.wait()
            except TimeoutError:
                pass
            kicked.clear()

    # --- accepted, and never begun ------------------------------------------------------------

    async def _begin_unstarted(self) -> None:
        rows = await self._store.system_unstarted(older_than_seconds=_UNSTARTED_AFTER_SECONDS, limit=_BATCH)
        for row in rows:
            await self._begin(row)

    async def _begin(self, row: GenerationRow) -> None:
        if self._turns.draining:
            return
        if await self._generation_store.read(row.user_id, row.id) is not None:
            # it has an owner, who holds a lease, or one that died, whose lease is swept; none at all was lost
            if await self._leases.miss(row.user_id, row.id):
                log.warning("a generation had no lease", extra={"generation": row.id})
            return
        if await self._leases.held(row.user_id, row.id, seconds=self._pace.patience_seconds):
            # its owner lives and writes its state again, or the lease runs out and is swept
            return
        if row.reply_to is None:
            log.warning("beginning what was accepted and never begun", extra={"generation": row.id})
            await self._openings.resume(row, decode_plan(msgspec.json.encode(row.plan)))
            return
        try:
            accepted = await self._store.by_client_message_id(row.user_id, row.client_message_id)
        except NotFound:
            self._turns.resume_orphan(row, decode_plan(msgspec.json.encode(row.plan)))
            return
        if accepted is None or accepted.generation.status != "accepted":
            return
        log.warning("beginning what was accepted and never begun", extra={"generation": row.id})
        plan = decode_plan(msgspec.json.encode(accepted.generation.plan))
        self._turns.resume(accepted, plan, request_id=row.id)

    # --- the outbox ---------------------------------------------------------------------------

    async def deliver(self) -> None:
        """Deliver what is due to channels and to other services."""
        while rows := await self._store.system_outbox("channel", limit=_BATCH):
            await self._deliver_to_channels(rows)
        await self._relay_all("broker", self._relay)
        await self._relay_all("webhook", self._webhook)

    async def _relay_all(self, destination: Destination, relay: Relay | None) -> None:
        while rows := await self._store.system_outbox(destination, limit=_BATCH):
            if not await self._deliver_to(relay, rows):
                break

    async def _deliver_to_channels(self, rows: list[OutboxRow]) -> None:
        done = []
        try:
            for row in rows:
                body = orjson.dumps({"type": row.kind, **row.payload})
                generation = str(row.payload.get("generation", ""))
                await self._broker.publish_event(
                    row.user_id, body, kind=row.kind, generation=generation, key=row.id
                )
                done.append(row.id)
        finally:
            if done:
                await self._store.system_outbox_done(done)

    async def _deliver_to(self, relay: Relay | None, rows: list[OutboxRow]) -> bool:
        done, held = [], set()
        for row in rows:
            if row.conversation_id in held:
                continue
            if relay is None or await relay.publish(row):
                done.append(row.id)
            elif row.conversation_id is not None:
                # the order within a conversation is kept
                held.add(row.conversation_id)
        if done:
            await self._store.system_outbox_done(done)
        return bool(done)

    # --- bills --------------------------------------------------------------------------------

    async def _settle(self) -> None:
        due = await self._store.system_due_usage(limit=_BATCH)
        settled = await asyncio.gather(*(self._settle_one(usage) for usage in due))
        if any(settled):
            self.kick()

    async def _settle_one(self, usage: DueUsage) -> bool:
        try:
            bill = await self._upstream.settle(usage.upstream_id, usage.key)
        except SettlementUnavailable as unavailable:
            if unavailable.final:
                await self._store.system_give_up_usage(usage)
            return False
        if bill is None:
            return False
        try:
            total = await self._store.system_settle(
                usage,
                prompt_tokens=bill.prompt_tokens,
                completion_tokens=bill.completion_tokens,
                cost=bill.cost,
                served_model=bill.served_model,
            )
        except StoreRefused:
            log.exception("a bill does not fit", extra={"generation": usage.generation_id})
            return False
        return total is not None
