"""Events in, to a handler: each message is let go of only after its effect, or after it was put elsewhere.

A message that could not be handled goes into a retry queue, then the original is acknowledged; one that
never can be goes to the dead-letter exchange with the reason. Both are confirmed by the broker first, so a
crash between the two steps makes a duplicate, never a loss. Whatever fails on the way ends the connection:
the broker then delivers again what was not acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from server.adapters.rabbitmq.copying import copy_of
from server.adapters.rabbitmq.envelope import Envelope, read_envelope
from server.adapters.rabbitmq.lanes import Lanes
from server.adapters.rabbitmq.link import Attachment, Link, LinkLimits, close_quietly, describe
from server.adapters.rabbitmq.retries import next_delay
from server.adapters.rabbitmq.topology import Topology, declare
from server.assessments.events import AnalysisEvent, Ignored, MalformedEvent, parse_event
from server.assessments.handling import EventHandler, Reject, Retry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """Numbers of the consumer; times in seconds.

    `handle` is for one attempt, `drain` for what is being handled when it closes.
    """

    prefetch: int = 10
    max_attempts: int = 5
    handle: float = 60.0
    drain: float = 10.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where messages come from and go to, on one connection."""

    attachment: Attachment
    queue: AbstractQueue
    tag: str
    out: AbstractChannel


class RabbitConsumer:
    """Takes events from the queue and has them handled.

    Args:
        url: where the broker is.
        handler: acts on them.
        topology: names and delays.
        limits: numbers.
        link: times of the connection.
        clock: wall time in seconds.
        rng: jitter, in [0, 1).
    """

    def __init__(
        self,
        url: str,
        *,
        handler: EventHandler,
        topology: Topology,
        limits: ConsumerLimits | None = None,
        link: LinkLimits | None = None,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._handler = handler
        self._topology = topology
        self._limits = limits or ConsumerLimits()
        self._close_seconds = (link or LinkLimits()).close
        self._clock = clock
        self._link = Link(url, name="chatbot consumer", attach=self._attach, limits=link, rng=rng)
        self._lanes = Lanes()
        self._moving = asyncio.Lock()
        self._place: _Place | None = None
        self._closing = False
        self._working: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[str] = Counter()
        """How many messages were `handled`, `ignored`, `retried`, and put aside (`dead`)."""

    def start(self) -> None:
        """Begin to connect, and consume from then on."""
        self._link.start()

    async def aclose(self) -> None:
        """Take no more, finish what is being handled if that is soon, and close.

        What is not finished goes back to the queue.
        """
        self._closing = True
        place = self._place
        if place is not None and place.attachment.alive:
            await close_quietly(place.queue.cancel(place.tag), self._close_seconds)
        if self._working:
            await asyncio.wait(self._working, timeout=self._limits.drain)
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        await self._link.aclose()

    @property
    def connected(self) -> bool:
        """Whether events flow."""
        return self._link.connected

    @property
    def problem(self) -> str | None:
        """Why they do not, for logs."""
        return self._link.problem

    async def _attach(self, attachment: Attachment) -> None:
        connection = attachment.connection
        await declare(connection, self._topology)
        # unroutable messages come back as errors, so that nothing is handed to a queue that was deleted
        out = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel = await connection.channel(publisher_confirms=False)
        for each in (out, channel):
            each.close_callbacks.add(lambda _, reason=None: attachment.lose(reason or "a channel was closed"))
        under = await channel.get_underlay_channel()
        under.on_consumer_cancel_callbacks.add(
            lambda _: attachment.lose("the broker cancelled the consumer: its queue is gone")
        )
        await channel.set_qos(prefetch_count=self._limits.prefetch)
        queue = await channel.get_queue(self._topology.queue, ensure=False)
        tag = f"chatbot-{uuid.uuid4()}"
        self._place = place = _Place(attachment, queue, tag, out)

        async def receive(message: AbstractIncomingMessage) -> None:
            self._received(place, message)

        await queue.consume(receive, consumer_tag=tag)

    def _received(self, place: _Place, message: AbstractIncomingMessage) -> None:
        if self._closing:
            return  # it was on its way when the consumer was cancelled, and goes back with the connection
        # A task of our own: the library ends its tasks with the channel, in the middle of an effect.
        task = asyncio.get_running_loop().create_task(self._work(place, message))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, place: _Place, message: AbstractIncomingMessage) -> None:
        try:
            outcome = await self._deal_with(place, message)
            await message.ack()
            self.outcomes[outcome] += 1
        except Exception as error:  # noqa: BLE001 - the broker has the message, and gives it again
            log.warning("a message was not settled", extra={"error": describe(error)})
            place.attachment.lose(error)

    async def _deal_with(self, place: _Place, message: AbstractIncomingMessage) -> str:
        """Have its effect, or put it elsewhere; the name of what was done."""
        envelope = read_envelope(
            message.headers,
            exchange=message.exchange or "",
            routing_key=message.routing_key or "",
            now_ms=round(self._clock() * 1000),
        )
        event = parse_event(
            envelope.routing_key, message.body, correlation=message.correlation_id or message.message_id or ""
        )
        match event:
            case Ignored(routing_key):
                log.info("an event means nothing here", extra={"routing_key": routing_key})
                return "ignored"
            case MalformedEvent(reason):
                return await self._put_aside(place, message, envelope, f"malformed: {reason}")
            case AnalysisEvent():
                return await self._handle(place, message, envelope, event)
            case _:
                assert_never(event)

    async def _handle(
        self, place: _Place, message: AbstractIncomingMessage, envelope: Envelope, event: AnalysisEvent
    ) -> str:
        try:
            # One after the other: after an outage several stages of one assessment wait in the queue.
            async with self._lanes.turn(event.user), asyncio.timeout(self._limits.handle):
                await self._handler.handle(event)
        except Reject as verdict:
            return await self._put_aside(place, message, envelope, verdict.reason)
        except Retry as verdict:
            return await self._put_off(place, message, envelope, verdict)
        except TimeoutError:
            return await self._put_off(place, message, envelope, Retry("it took too long"))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something it waited for was cancelled, and we were not: that must not keep the message here.
            return await self._put_off(place, message, envelope, Retry("something in it was cancelled"))
        except Exception as error:
            log.exception("a handler failed", extra={"stage": event.stage, "assessment": event.assessment})
            return await self._put_off(place, message, envelope, Retry(describe(error)))
        return "handled"

    async def _put_off(
        self, place: _Place, message: AbstractIncomingMessage, envelope: Envelope, verdict: Retry
    ) -> str:
        delay = next_delay(
            attempt=envelope.attempt,
            age_seconds=envelope.age_seconds(round(self._clock() * 1000)),
            delays=self._topology.retry_seconds,
            max_attempts=self._limits.max_attempts,
            window_seconds=verdict.window_seconds,
        )
        if delay is None:
            reason = f"given up after {envelope.attempt} attempts: {verdict.reason}"
            return await self._put_aside(place, message, envelope, reason)
        facts = {"reason": verdict.reason, "attempt": envelope.attempt, "delay_seconds": delay}
        log.info("an event is put off", extra=facts)
        await self._move(
            place,
            copy_of(message, envelope.again(verdict.reason)),
            exchange="",
            routing_key=self._topology.retry_queue(delay),
        )
        return "retried"

    async def _put_aside(
        self, place: _Place, message: AbstractIncomingMessage, envelope: Envelope, reason: str
    ) -> str:
        facts = {"reason": reason, "routing_key": envelope.routing_key, "attempt": envelope.attempt}
        log.error("an event is put aside", extra=facts)
        await self._move(
            place,
            copy_of(message, envelope.aside(reason)),
            exchange=self._topology.dead_exchange,
            routing_key=self._topology.queue,
        )
        return "dead"

    async def _move(self, place: _Place, copy: Message, *, exchange: str, routing_key: str) -> None:
        """Publish, and wait for the confirmation as long as the connection lives.

        Giving up on one earlier would only make a second copy.
        """
        # One at a time: the library tells returned messages apart by ids, and duplicates share theirs.
        async with self._moving:
            target = await place.out.get_exchange(exchange, ensure=False)
            await target.publish(copy, routing_key, mandatory=True)
