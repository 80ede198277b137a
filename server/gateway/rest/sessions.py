"""Ways in for clients that cannot send a header: tickets, and the event stream they open."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.channels.broker import BrokerUnavailable
from server.conversations.principal import Principal
from server.conversations.refusal import unavailable
from server.gateway import sse
from server.gateway.answers import answer
from server.gateway.front import Front
from server.gateway.problems import Problem, problem_of, unauthenticated
from server.gateway.requests import authenticate

_MAX_TICKET_CHARS = 128


class _Held(msgspec.Struct, frozen=True):
    user: str
    tier: str
    expires_at: float
    issued_at: float | None


async def issue(front: Front, request: Request, principal: Principal) -> Response:  # noqa: ARG001
    """`POST /tickets`."""
    held = _Held(principal.user, principal.tier, principal.expires_at, principal.issued_at)
    try:
        ticket = await front.tickets.issue(msgspec.json.encode(held), front.limits.ticket_seconds)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    return answer({"ticket": ticket, "expires_in": int(front.limits.ticket_seconds)}, status=201)


async def events(front: Front, request: Request) -> Response:
    """`GET /events`, with a bearer token or a ticket."""
    reason = front.ready()
    if reason is not None:
        raise Problem(503, "UNAVAILABLE", reason, retry_after_ms=2000)
    ticket = request.query_params.get("ticket")
    if ticket is not None and "authorization" not in request.headers:
        principal = await _redeem(front, ticket)
    else:
        principal = authenticate(front, request)
    return await sse.channel_events(front, request, principal)


async def _redeem(front: Front, ticket: str) -> Principal:
    if not 0 < len(ticket) <= _MAX_TICKET_CHARS:
        raise unauthenticated()
    try:
        payload = await front.tickets.redeem(ticket)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    if payload is None:
        raise unauthenticated()
    held = msgspec.json.decode(payload, type=_Held)
    return Principal(held.user, held.tier, held.expires_at, held.issued_at)
