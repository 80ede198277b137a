"""The event streams: the whole channel, one turn, one generation (protocol README, "SSE binding")."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.responses import Response

from protocol.codec import encode, with_position
from protocol.frames import GenerationFinished, TextCursor, Welcome
from protocol.position import Position
from server.channels.broker import BrokerUnavailable
from server.channels.channel import Channel
from server.conversations.principal import Principal
from server.conversations.refusal import unavailable
from server.conversations.store import Accepted, GenerationRow, StoreRefused, StoreUnavailable
from server.gateway.auth import canonical_uuid
from server.gateway.front import Front
from server.gateway.problems import Problem, invalid, not_found, problem_of
from server.gateway.stream import EventStream
from server.generations.sealed import decode_end
from server.session.cursors import Outgoing, TurnFilter
from server.session.machine import token_time
from server.session.pump import Pump
from server.session.resume import continue_from

_MAX_TEXTS = 64


async def channel_events(
    front: Front, principal: Principal, presented: str | None, held: str | None
) -> Response:
    """`GET /events`: a session without commands. `presented` is a position, `held` the texts.

    Raises:
        Problem
    """
    texts = _texts(held)
    desk = front.desk
    session = desk.new_id()
    try:
        place = await desk.presence.take(
            principal.user, session, limit=desk.announced.max_sessions, replaces=None
        )
        if not place.granted:
            raise Problem(429, "TOO_MANY_SESSIONS", "Too many sessions are open.", retry_after_ms=30_000)
        stream = EventStream(front, principal)
        pump = _pump(front, stream, principal, session)
        try:
            channel, snapshot = await desk.hub.attach(principal.user, pump)
        except BaseException:
            await desk.presence.leave(principal.user, session)
            raise
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error

    # before the next await: the channel keeps what its readers have not read
    where = continue_from(presented, snapshot)
    pump.cursors.epoch, pump.cursors.offset = where.held
    pump.cursors.present(texts if where.resume in {"live", "replay"} else None)
    desk.observe("resume", {"result": where.resume}, 1.0)
    welcome = Welcome(
        protocol=1,
        session=session,
        user=principal.user,
        resume=where.resume,
        position=str(snapshot.head),
        heartbeat_ms=int(desk.limits.heartbeat_seconds * 1000),
        token_expires_at=token_time(principal.expires_at),
        limits=desk.announced,
    )

    async def work() -> None:
        # its id is what was held before any replay: a client cut here loses nothing
        await stream.outlet.tell(welcome, str(where.held))
        await pump.catch_up(channel, channel.position)
        await pump.run(channel)

    async def release() -> None:
        desk.hub.detach(principal.user, pump)
        await desk.presence.leave(principal.user, session)

    return stream.response(work, release, retry=True)


class TurnStream:
    """The frames of one turn, attached before the turn is accepted so that none is missed."""

    def __init__(self, front: Front, principal: Principal) -> None:
        self._front = front
        self._principal = principal
        self._stream = EventStream(front, principal)
        self._pump = _pump(front, self._stream, principal)
        self._channel: Channel | None = None

    async def attach(self) -> None:
        """Begin to listen.

        Raises:
            Problem
        """
        try:
            self._channel, snapshot = await self._front.desk.hub.attach(self._principal.user, self._pump)
        except BrokerUnavailable as error:
            raise problem_of(unavailable()) from error
        self._pump.cursors.epoch, self._pump.cursors.offset = snapshot.head

    def detach(self) -> None:
        """There will be no turn."""
        self._front.desk.hub.detach(self._principal.user, self._pump)

    def response(self, accepted: Accepted) -> Response:
        """The turn's stream, to its end."""
        self._pump.cursors.only = TurnFilter(accepted.generation.id, accepted.message.id)
        return self._stream.response(partial(self._work, accepted), self._release)

    async def _release(self) -> None:
        self.detach()

    async def _work(self, accepted: Accepted) -> None:
        assert self._channel is not None
        if accepted.duplicate:
            ended = await finished_event(self._front, self._principal, accepted.generation.id)
            if ended is not None:
                await self._stream.outlet.send(ended)
                return
            await self._pump.show_states(self._channel)
        await self._pump.run(self._channel)


async def generation_events(
    front: Front, principal: Principal, generation: str, *, at: int, attempt: int | None
) -> Response:
    """`GET /generations/{id}/events`: re-attach to one generation, with text from `at`.

    Raises:
        Problem
    """
    stream = EventStream(front, principal)
    pump = _pump(front, stream, principal)
    try:
        channel, snapshot = await front.desk.hub.attach(principal.user, pump)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    try:
        pump.cursors.epoch, pump.cursors.offset = snapshot.head
        ended = None
        if generation not in channel.texts or channel.texts[generation].ended is not None:
            ended = await finished_event(front, principal, generation)
        pump.cursors.only = TurnFilter(generation, generation)
        live = channel.texts.get(generation)
        if at and live is not None:
            pump.cursors.present(
                {generation: TextCursor(attempt=live.text.attempt if attempt is None else attempt, at=at)}
            )
    except BaseException:
        front.desk.hub.detach(principal.user, pump)
        raise

    async def work() -> None:
        if ended is not None:
            await stream.outlet.send(ended)
            return
        await pump.show_states(channel)
        await pump.run(channel)

    async def release() -> None:
        front.desk.hub.detach(principal.user, pump)

    return stream.response(work, release)


async def finished_event(front: Front, principal: Principal, generation: str) -> Outgoing | None:
    """The `generation.finished` of a generation that has ended; `None` while it runs.

    Raises:
        Problem: there is no such generation, or nobody can be asked.
    """
    finished, place = await _end_of(front, principal, generation)
    if finished is None:
        return None
    if place is None:
        return Outgoing("generation.finished", encode(finished))
    return Outgoing("generation.finished", with_position(encode(finished), str(place)), str(place))


async def finished_generation(
    front: Front, principal: Principal, generation: str
) -> GenerationFinished | None:
    """How a generation ended, with its bill as it is known by now; `None` while it runs.

    Raises as `finished_event`.
    """
    finished, _ = await _end_of(front, principal, generation)
    if finished is None or finished.usage.state == "settled":
        return finished
    # this is how it was told, and what was estimated then may be settled
    row = await known_generation(front, principal, generation)
    return (_settled_end(row) if row is not None else None) or finished


async def _end_of(
    front: Front, principal: Principal, generation: str
) -> tuple[GenerationFinished | None, Position | None]:
    """How a generation ended, and where the log has it; past its window the log has it no longer."""
    try:
        record = await front.generation_store.read(principal.user, generation)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    row = await known_generation(front, principal, generation)
    if record is not None and record.status == "running":
        return None, None
    if record is not None and record.record:
        finished = decode_end(record.record).finished
        return msgspec.structs.replace(finished, persisted=record.persisted), record.ended
    if row is None:
        raise problem_of(unavailable())
    return _settled_end(row), None


def _settled_end(row: GenerationRow) -> GenerationFinished | None:
    return msgspec.convert(row.finished, GenerationFinished) if row.finished is not None else None


async def known_generation(front: Front, principal: Principal, generation: str) -> GenerationRow | None:
    """A generation's row; `None` while the database is away, and nothing is known against it.

    Raises:
        Problem: 404; one of a deleted conversation is not found either.
    """
    try:
        return await front.store.generation(principal.user, generation)
    except StoreRefused as error:
        raise not_found("generation") from error
    except StoreUnavailable:
        return None


def _pump(front: Front, stream: EventStream, principal: Principal, session: str = "") -> Pump:
    def replaced(other: str) -> None:
        if other == session:
            stream.replaced()

    return Pump(
        principal.user,
        stream.outlet,
        front.desk.broker,
        on_revoked=stream.revoked,
        on_replaced=replaced,
    )


def _texts(given: str | None) -> dict[str, TextCursor] | None:
    """`?texts=<generation>:<attempt>:<at>,…`."""
    if not given:
        return None
    cursors: dict[str, TextCursor] = {}
    for part in given.split(","):
        pieces = part.split(":")
        generation = canonical_uuid(pieces[0])
        if len(pieces) != 3 or generation is None or len(cursors) >= _MAX_TEXTS:  # noqa: PLR2004
            raise invalid("texts", "must be a list of <generation>:<attempt>:<at>")
        cursors[generation] = TextCursor(attempt=_number(pieces[1], "texts"), at=_number(pieces[2], "texts"))
    return cursors


def _number(given: str, field: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= 15):  # noqa: PLR2004 - fits 2**53
        raise invalid(field, "must be a whole number, 0 or greater")
    return int(given)
