"""Ways in for clients that cannot send a header: tickets, and the event stream they open."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from starlette.responses import Response

from server.channels.broker import BrokerUnavailable
from server.conversations.refusal import unavailable
from server.gateway import schemas, sse
from server.gateway.answers import answer
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.identity import HeldTicket
from server.gateway.problems import Problem, problem_of

_TAG = "events"
_COME_BACK_MS = 2000


class Place(msgspec.Struct, frozen=True):
    """Where the client was; `Last-Event-ID` goes before `position`.

    `texts` is a list of `<generation>:<attempt>:<at>` with commas between. `ticket` stands for a token.
    """

    position: str | None = None
    texts: str | None = None
    ticket: str | None = None


async def issue(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`POST /tickets`."""
    user = asked.principal
    # who a service vouches for has no end, which is no number in JSON
    expires_at = user.expires_at if math.isfinite(user.expires_at) else None
    held = HeldTicket(user.user, user.tier, expires_at, user.issued_at)
    try:
        ticket = await front.tickets.issue(msgspec.json.encode(held), front.limits.ticket_seconds)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    return answer({"ticket": ticket, "expires_in": int(front.limits.ticket_seconds)}, status=201)


async def events(front: Front, asked: Asked[Nothing, Place]) -> Response:
    """`GET /events`, with a bearer token or a ticket."""
    reason = front.ready()
    if reason is not None:
        code = "DRAINING" if front.drained.is_set() else "UNAVAILABLE"
        detail = f"This node takes no sessions now: {reason}."
        raise Problem(503, code, detail, retry_after_ms=_COME_BACK_MS)
    presented = asked.request.headers.get("last-event-id") or asked.query.position
    return await sse.channel_events(front, asked.principal, presented, asked.query.texts)


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="POST",
        path="/tickets",
        handler=issue,
        summary="A ticket that opens one event stream within 30 seconds",
        tag=_TAG,
        answers={201: Answer("It.", schemas.Ticket)},
    ),
    Endpoint(
        method="GET",
        path="/events",
        handler=events,
        summary="Everything of the user, as it happens",
        tag=_TAG,
        ticket=True,
        query=Place,
        answers={200: Answer("Frames (see the description of the wire).", str, "text/event-stream")},
        headers={"Last-Event-ID": "The position of the last event seen."},
        streams=True,
    ),
)
