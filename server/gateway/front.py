"""What the doors share: the rooms below, who may come in, the limits of a request."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.assessments.desk import AssessmentDesk
from server.conversations.audit import AuditLog
from server.conversations.removal import Removal
from server.conversations.store import ConversationStore
from server.conversations.turns import Reservation
from server.conversations.user_data import UserData
from server.generations.runner import Generations
from server.generations.store import GenerationStore
from server.session.desk import Desk


class Tickets(Protocol):
    """Single-use tickets that stand in for a token where a browser cannot send one."""

    async def issue(self, payload: bytes, seconds: float) -> str:
        """A ticket that redeems to `payload`, once, within `seconds`."""
        ...

    async def redeem(self, ticket: str) -> bytes | None:
        """What was issued, or `None`."""
        ...


class DoorQuota(Protocol):
    """The limits the doors keep themselves, counted over all nodes; they note where the asker stands."""

    async def admit(self, subject: str) -> None:
        """Count a request of a user, or of an address where nobody is signed in.

        Raises:
            Refusal: rate_limited, with `retry_after_ms`.
            BrokerUnavailable
        """
        ...

    async def reserve_conversation(self, user: str) -> Reservation:
        """Reserve a new conversation.

        Raises:
            Refusal: rate_limited, with `retry_after_ms`.
            BrokerUnavailable
        """
        ...


class TokenRevoker(Protocol):
    """Voids tokens, on every node."""

    async def revoke(self, user: str) -> int:
        """Refuse the user's tokens issued until now; that moment in milliseconds since 1970.

        Raises:
            BrokerUnavailable
        """
        ...


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Bounds of the doors; seconds and bytes."""

    rest_wait_seconds: float = 50.0
    ticket_seconds: float = 30.0
    max_body_bytes: int = 256 * 1024
    body_seconds: float = 30.0
    slow_reader_seconds: float = 30.0
    sse_ping_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Health:
    """Probes by dependency name; a probe returns whether it is healthy, `None` when not configured."""

    probes: dict[str, Callable[[], Awaitable[bool | None]]]
    full: dict[str, Callable[[], Awaitable[bool | None]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Front:
    """Everything a door needs. `ready` says why the node takes no sessions, or `None`.

    `drained` is set once the node goes away: who waits for an answer is sent on.
    `public_url` is where clients reach the service, for links; empty: where the request came to.
    `demo_token`, where there is a demo page, makes `{token, user, expires_at}`: another token for the user
    it is given, or one for a user of its own choice. `demo_assessment(user, address, language)` has a user
    finish an assessment, told to the node at that address; it gives `{assessment_id}`, or raises a
    `NeighbourFailure`.
    """

    desk: Desk
    store: ConversationStore
    removal: Removal
    user_data: UserData
    assessments: AssessmentDesk
    audit: AuditLog
    revoker: TokenRevoker
    quota: DoorQuota
    generations: Generations
    generation_store: GenerationStore
    tickets: Tickets
    limits: DoorLimits
    origins: frozenset[str]
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    internal_key: str
    health: Health
    ready: Callable[[], str | None]
    kick_outbox: Callable[[], None]
    version: str
    estimate_ms: Callable[[str], int]
    is_free: Callable[[str], bool]
    public_url: str = ""
    metrics: Callable[[], bytes] | None = None
    demo_token: Callable[[str | None], dict[str, Any]] | None = None
    demo_assessment: Callable[[str, str, str], Awaitable[dict[str, str]]] | None = None
    drained: asyncio.Event = field(default_factory=asyncio.Event)
