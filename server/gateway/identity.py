"""Who is asking (REST contract, "Who is asking"): a bearer token, a ticket, a service with its key.

A service is one that says `X-Internal-Service: true` and has the key. `X-User-ID` counts only with the key,
and never against a bearer token. Who claims what needs the key and has a wrong one, or none, is refused
whatever else comes along.
"""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Sequence

import msgspec
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request

from server.channels.broker import BrokerUnavailable
from server.conversations.principal import LEEWAY_SECONDS, BadToken, ExpiredToken, Principal
from server.conversations.refusal import Refusal, unavailable
from server.gateway.addresses import Network, client_address, subject_of
from server.gateway.auth import canonical_uuid
from server.gateway.endpoint import Asker, Endpoint, Who
from server.gateway.front import Front
from server.gateway.problems import Problem, problem_of, unauthenticated

_MAX_TICKET_CHARS = 128


class HeldTicket(msgspec.Struct, frozen=True):
    """What a ticket stands for; without `expires_at` its user's right has no end."""

    user: str
    tier: str
    expires_at: float | None
    issued_at: float | None


async def let_in(front: Front, request: Request, endpoint: Endpoint[msgspec.Struct, msgspec.Struct]) -> Asker:
    """Find out who asks, count the request, and see that the endpoint is for them.

    Raises:
        Problem: 401, 403, 429 or 503.
    """
    address = address_of(request, front.proxies)
    if endpoint.who == "anyone":
        if endpoint.limited:
            await _count(front, subject_of(address))
        return Asker(address)
    try:
        asker = await _identify(front, request, address, ticket=endpoint.ticket)
        _permit(endpoint.who, asker)
    except Problem:
        # nobody is signed in, so what counts is where it came from
        await _count(front, subject_of(address))
        raise
    if asker.user is not None:
        known = await asyncio.gather(
            _count(front, asker.user.user),
            _refuse_revoked(front, request, asker.user),
            return_exceptions=True,
        )
        for outcome in known:
            if outcome is not None:
                raise outcome
    return asker


def address_of(connection: HTTPConnection, proxies: Sequence[Network]) -> str:
    """Where a request comes from."""
    peer = connection.client.host if connection.client else None
    return client_address(peer, connection.headers.getlist("x-forwarded-for"), proxies)


async def _identify(front: Front, request: Request, address: str, *, ticket: bool) -> Asker:
    headers = request.headers
    trusted = _has_key(front, headers)
    internal = trusted and _claims_internal(headers)
    given = request.query_params.get("ticket") if ticket else None
    if given is not None and "authorization" not in headers:
        return Asker(address, user=await _redeem(front, given))
    token, user = await _bearer(front, headers)
    claimed = headers.get("x-user-id")
    if trusted and claimed is not None:
        named = canonical_uuid(claimed.strip())
        if named is None or (user is not None and user.user != named):
            raise unauthenticated()
        # without a token the gateway answers for the user, anew with every request
        user = user or Principal(named, issued_at=front.desk.wall())
    return Asker(address, user=user, internal=internal, token=token)


def _permit(who: Who, asker: Asker) -> None:
    if who == "internal" and not asker.internal:
        raise Problem(403, "FORBIDDEN", "This is for other services, with their key.")
    if (who == "user" and asker.user is None) or (asker.user is None and not asker.internal):
        raise unauthenticated()


def _claims_internal(headers: Headers) -> bool:
    return headers.get("x-internal-service", "").strip().lower() == "true"


def _has_key(front: Front, headers: Headers) -> bool:
    """Whether the service key came along, where something here needs it.

    Raises:
        Problem: 403 where it is wrong, or missing although the request says it is a service's.
    """
    key = headers.get("x-service-key")
    if not _claims_internal(headers) and (key is None or "x-user-id" not in headers):
        return False
    given = (key or "").encode("latin-1")
    if not front.internal_key or not hmac.compare_digest(given, front.internal_key.encode()):
        raise Problem(403, "FORBIDDEN", "The service key is missing or wrong.")
    return True


async def _bearer(front: Front, headers: Headers) -> tuple[str | None, Principal | None]:
    header = headers.get("authorization")
    if header is None:
        return None, None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise unauthenticated()
    token = token.strip()
    try:
        principal = front.desk.verify(token)
        await front.desk.confirm(token, principal)
    except ExpiredToken as error:
        raise unauthenticated(expired=True) from error
    except BadToken as error:
        raise unauthenticated() from error
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    return token, principal


async def _redeem(front: Front, ticket: str) -> Principal:
    if not 0 < len(ticket) <= _MAX_TICKET_CHARS:
        raise unauthenticated()
    try:
        payload = await front.tickets.redeem(ticket)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    if payload is None:
        raise unauthenticated()
    held = msgspec.json.decode(payload, type=HeldTicket)
    expires_at = math.inf if held.expires_at is None else held.expires_at
    if expires_at + LEEWAY_SECONDS <= front.desk.wall():
        raise unauthenticated(expired=True)
    return Principal(held.user, held.tier, expires_at, held.issued_at)


async def _refuse_revoked(front: Front, request: Request, user: Principal) -> None:
    try:
        revoked = await front.desk.is_revoked(user)
    except BrokerUnavailable as error:
        if request.method in {"GET", "HEAD"}:
            return  # reading goes on without that store
        raise problem_of(unavailable()) from error
    if revoked:
        raise unauthenticated()


async def _count(front: Front, subject: str) -> None:
    try:
        await front.quota.admit(subject)
    except BrokerUnavailable:
        # reads are not limited then, and sends are refused further on
        return
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
