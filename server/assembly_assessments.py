"""A node's assessment flow, put together: the neighbours it asks, who hears the broker, what the doors use.

Part of the roof, beside `node.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from server.adapters.atma.archive import ArchiveService
from server.adapters.atma.assessment import AssessmentService
from server.adapters.atma.auth import AuthService
from server.adapters.atma.neighbour import Neighbour, NeighbourLimits
from server.adapters.atma.notification import NotificationService
from server.adapters.rabbitmq.consumer import ConsumerLimits, RabbitConsumer
from server.adapters.rabbitmq.link import LinkLimits
from server.adapters.rabbitmq.topology import Topology
from server.assessments.advisers import Advisers
from server.assessments.archive import NOT_THERE_SECONDS
from server.assessments.cached import Profiles, Results, UserCache
from server.assessments.desk import AssessmentDesk
from server.assessments.flow import AssessmentFlow
from server.assessments.links import ArchiveLinks
from server.assessments.store import AssessmentStore
from server.conversations.openings import Openings
from server.conversations.relay import WebhookRelay
from server.conversations.store import ConversationStore
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """Times of the flow, in seconds, and those of the neighbours and of the way to the broker."""

    not_there_seconds: float = NOT_THERE_SECONDS
    link_seconds: float = 1.0
    neighbours: NeighbourLimits = field(default_factory=NeighbourLimits)
    link: LinkLimits = field(default_factory=LinkLimits)


class Neighbours:
    """ATMA's other services, those that are configured."""

    def __init__(
        self, settings: Settings, *, key: str, request_id: Callable[[], str], limits: NeighbourLimits
    ) -> None:
        def neighbour(name: str, url: str) -> Neighbour | None:
            if not url:
                return None
            return Neighbour(name, url, service_key=key, request_id=request_id, limits=limits)

        self.auth = neighbour("auth service", settings.auth_service_url)
        self.assessment = neighbour("assessment service", settings.assessment_service_url)
        self.archive = neighbour("archive", settings.archive_service_url)
        self.notification = neighbour("notification service", settings.notification_service_url)

    @property
    def webhook(self) -> WebhookRelay | None:
        """Passes notifications on, where there is a service for them."""
        return WebhookRelay(NotificationService(self.notification)) if self.notification else None

    async def aclose(self) -> None:
        """Close all connections."""
        for each in (self.auth, self.assessment, self.archive, self.notification):
            if each is not None:
                await each.aclose()


@dataclass(frozen=True, slots=True)
class AssessmentParts:
    """What of the flow the node runs: a consumer where there is a broker, tasks by name."""

    desk: AssessmentDesk
    consumer: RabbitConsumer | None
    tasks: dict[str, Callable[[], Awaitable[Any]]]


def assemble(
    settings: Settings,
    neighbours: Neighbours,
    store: AssessmentStore,
    conversations: ConversationStore,
    openings: Openings,
    cache: UserCache,
    *,
    wall: Callable[[], float],
    kick: Callable[[], None],
    limits: FlowLimits,
) -> AssessmentParts:
    """Make the flow; nothing is connected yet. `kick` has what is to be told delivered."""
    archive = ArchiveService(neighbours.archive) if neighbours.archive else None
    links = ArchiveLinks(store, archive, seconds=limits.link_seconds) if archive else None

    def begun() -> None:
        kick()
        if links is not None:
            links.kick()

    results = Results(archive, cache)
    profiles = Profiles(AuthService(neighbours.auth) if neighbours.auth else None, cache)
    advisers = Advisers(store, conversations, openings, wall=wall, kick=begun)
    consumer = None
    if settings.rabbitmq_url:
        flow = AssessmentFlow(
            store,
            advisers,
            results,
            profiles,
            AssessmentService(neighbours.assessment) if neighbours.assessment else None,
            wall=wall,
            kick=kick,
            not_there_seconds=limits.not_there_seconds,
        )
        consumer = RabbitConsumer(
            settings.rabbitmq_url.get_secret_value(),
            handler=flow,
            topology=Topology(
                exchange=settings.events_exchange_name,
                queue=settings.chat_queue_name,
                retry_seconds=settings.consumer_retry_seconds,
            ),
            limits=ConsumerLimits(
                prefetch=settings.consumer_prefetch, max_attempts=settings.consumer_max_attempts
            ),
            link=limits.link,
        )
    return AssessmentParts(
        desk=AssessmentDesk(advisers, results, profiles, store, wall),
        consumer=consumer,
        tasks={"archive links": links.run} if links is not None else {},
    )
