"""One node: every part made and connected, here and nowhere else.

`build_node` is the composition root; its keyword arguments are the seams of tests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import structlog

from protocol.frames import Limits
from server.adapters.atma.auth import AuthService
from server.adapters.atma.demo import DemoAssessments
from server.adapters.openrouter.listing import watch_listing
from server.adapters.openrouter.upstream import OpenRouter
from server.adapters.postgres.assessments import PostgresAssessments
from server.adapters.postgres.audit import PostgresAuditLog
from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database, PoolLimits
from server.adapters.postgres.retention import PostgresHousekeeping
from server.adapters.postgres.sealing import ContentCipher
from server.adapters.postgres.user_data import PostgresUserData
from server.adapters.rabbitmq.consumer import RabbitConsumer
from server.adapters.rabbitmq.publisher import RabbitPublisher
from server.adapters.redis.adapter import RedisAdapter
from server.adapters.redis.quota import QuotaLimits, RedisQuota
from server.adapters.redis.scripts import LogWindow
from server.assembly_assessments import FlowLimits, Neighbours, assemble
from server.channels.broker import BrokerUnavailable
from server.channels.hub import Hub, HubLimits
from server.conversations.arrears import Arrears
from server.conversations.custodian import Custodian, CustodyPace
from server.conversations.ends import Ends
from server.conversations.models import ModelChains
from server.conversations.openings import Openings
from server.conversations.prompts import Prompts
from server.conversations.relay import BrokerRelay
from server.conversations.removal import Removal
from server.conversations.tokens import Calibration, estimate_text
from server.conversations.turns import TurnLimits, Turns
from server.gateway.auth import Authenticator, mint
from server.gateway.front import DoorLimits, Front, Health
from server.gateway.routes import PREFIXES, build_app
from server.gateway.verification import RemoteVerification
from server.generations.durations import Durations
from server.generations.effects import GenerationLimits
from server.generations.house import Cooldowns, House, LoopWatch
from server.generations.runner import Generations
from server.metrics import Metrics
from server.node import Node, Readiness
from server.session.desk import Desk, Sessions, sound_is_enough
from server.session.machine import SessionLimits, token_time
from server.settings import Settings
from server.tracing import Tracing

log = logging.getLogger(__name__)

VERSION = "1.0.0"

_BEAT_SECONDS = 3.0
_DEMO_TOKEN_SECONDS = 30 * 24 * 3600

Observe = Callable[[str, dict[str, str], float], None]
"""How the rooms tell what an operator watches: a name, labels, a value."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a node's dependencies are, and its secrets: from the settings, or embedded."""

    database_url: str
    redis_url: str
    openrouter_base_url: str
    openrouter_keys: tuple[str, ...]
    jwt_secret: str
    internal_key: str


def build_node(
    settings: Settings,
    around: Surroundings,
    *,
    now: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    pace: CustodyPace | None = None,
    hub_limits: HubLimits | None = None,
    flow_limits: FlowLimits | None = None,
) -> Node:
    """Make a node; nothing is connected yet.

    Raises:
        ValueError: an address or a key cannot be used.
    """
    process = f"{settings.node_id or 'node'}-{new_id()}"
    metrics = Metrics()
    tracing: Tracing | None = None
    observe: Observe = metrics.observe
    if settings.otel_exporter_otlp_endpoint:
        tracing = Tracing(
            settings.otel_exporter_otlp_endpoint,
            node=process,
            version=VERSION,
            request_id=_request_id,
            wall=wall,
        )
        observe = _both(metrics.observe, tracing.observe)

    # adapters
    database = Database(
        around.database_url,
        schema=settings.db_schema,
        limits=PoolLimits(min_size=settings.db_pool_min, max_size=settings.db_pool_max),
        read_url=settings.database_read_url.get_secret_value() if settings.database_read_url else None,
    )
    redis = RedisAdapter(
        around.redis_url,
        process=process,
        window=LogWindow(
            events=settings.log_window_events,
            seconds=settings.log_window_hours * 3600,
            text_seconds=settings.text_window_minutes * 60,
        ),
    )
    cipher = content_cipher(settings)
    store = PostgresConversationStore(database, cipher, marks=redis.write_marks)
    flow_limits = flow_limits or FlowLimits()
    neighbours = Neighbours(
        settings, key=around.internal_key, request_id=_request_id, limits=flow_limits.neighbours
    )
    openrouter = OpenRouter(
        base_url=around.openrouter_base_url,
        keys=around.openrouter_keys,
        referer=settings.http_referer,
        title=settings.x_title,
    )
    catalogue = openrouter.catalogue
    publisher = (
        RabbitPublisher(
            settings.rabbitmq_url.get_secret_value(),
            exchange=settings.events_exchange_name,
            limits=flow_limits.link,
        )
        if settings.rabbitmq_url
        else None
    )

    # channels and generations
    hub = Hub(
        redis.broker, redis.subscription, now=now, wall_ms=lambda: int(wall() * 1000), limits=hub_limits
    )
    durations = Durations(catalogue.is_free)
    calibration = Calibration()
    prompts = Prompts(store, catalogue, calibration, history_tokens=settings.max_conversation_history_tokens)
    ends = Ends(store)
    house = House(
        owner=process,
        store=redis.generations,
        leases=redis.leases,
        upstream=openrouter,
        prompts=prompts,
        ends=ends,
        broker=redis.broker,
        limits=_generation_limits(settings),
        cooldowns=Cooldowns(settings.model_cooldown_seconds),
        watch=LoopWatch(now()),
        now=now,
        wall_ms=lambda: int(wall() * 1000),
        estimate_ms=durations.estimate_ms,
        took=durations.took,
        count=estimate_text,
        learn=lambda model, estimated, reported: calibration.observe(
            model, estimated=estimated, reported=reported
        ),
        # a welcome that is there is told at once; other ends have nothing that waits
        ended=lambda end: custodian.kick() if end.reply_to is None else None,
        observe=observe,
    )
    generations = Generations(house)
    redis.subscription.on_stop(generations.stop)
    redis.subscription.on_wake(generations.wake)

    # conversations
    quota = RedisQuota(
        redis.limits,
        QuotaLimits(
            messages_per_hour=settings.rate_limit_messages_per_hour,
            conversations_per_day=settings.rate_limit_conversations_per_day,
            free_model_per_minute=settings.free_model_rate_limit_per_minute,
            requests_per_15_minutes=settings.api_rate_limit_per_15_minutes,
        ),
        observe=observe,
    )
    user_data = PostgresUserData(database, cipher or ContentCipher())
    chains = model_chains(settings)
    turns = Turns(
        store,
        generations,
        redis.generations,
        prompts,
        chains,
        catalogue,
        quota,
        TurnLimits(
            max_message_length=settings.max_message_length,
            max_generations=settings.max_generations_per_user,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            content_filter=settings.content_filter,
        ),
        Arrears(redis.generations, ends),
    )
    openings = Openings(
        store,
        generations,
        prompts,
        chains,
        catalogue,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        draining=lambda: turns.draining,
    )
    custodian = Custodian(
        store,
        redis.broker,
        redis.generations,
        redis.leases,
        turns,
        openings,
        openrouter,
        PostgresHousekeeping(database, retention_days=settings.retention_days),
        relay=BrokerRelay(publisher) if publisher is not None else None,
        webhook=neighbours.webhook,
        pace=pace or CustodyPace(patience_seconds=settings.lease_seconds),
    )
    assessments = assemble(
        settings,
        neighbours,
        PostgresAssessments(database, cipher, marks=redis.write_marks),
        store,
        openings,
        redis.user_cache,
        wall=wall,
        kick=custodian.kick,
        limits=flow_limits,
    )

    # sessions and doors
    session_limits = SessionLimits(
        heartbeat_seconds=settings.heartbeat_seconds,
        auth_grace_seconds=settings.auth_grace_seconds,
        slow_reader_seconds=settings.slow_reader_seconds,
    )
    sessions = Sessions(now, wall, look_seconds=session_limits.look_seconds)
    desk = Desk(
        hub=hub,
        broker=redis.broker,
        presence=redis.presence,
        revocations=redis.users,
        turns=turns,
        sessions=sessions,
        verify=Authenticator(around.jwt_secret).verify,
        limits=session_limits,
        announced=Limits(
            max_frame_bytes=session_limits.max_frame_bytes,
            max_message_length=settings.max_message_length,
            max_sessions=settings.max_sessions_per_user,
            max_generations=settings.max_generations_per_user,
        ),
        now=now,
        wall=wall,
        new_id=new_id,
        observe=observe,
        confirm=RemoteVerification(AuthService(neighbours.auth), now).confirm
        if settings.auth_verify_remote and neighbours.auth
        else sound_is_enough,
    )
    readiness = Readiness(lambda: redis.subscription.connected)
    front = Front(
        desk=desk,
        store=store,
        removal=Removal(store, user_data, redis.generations, redis.broker, redis.users),
        user_data=user_data,
        assessments=assessments.desk,
        audit=PostgresAuditLog(database),
        revoker=redis.users,
        quota=quota,
        generations=generations,
        generation_store=redis.generations,
        tickets=redis.tickets,
        limits=DoorLimits(
            rest_wait_seconds=settings.rest_wait_seconds, slow_reader_seconds=settings.slow_reader_seconds
        ),
        origins=frozenset({*settings.allowed_origins, *_origin_of(settings.public_url)}),
        proxies=tuple(ipaddress.ip_network(each, strict=False) for each in settings.trusted_proxies),
        internal_key=around.internal_key,
        health=Health(
            probes={
                "database": store.healthy,
                "redis": redis.reachable,
                "rabbitmq": lambda: _connected(publisher, assessments.consumer),
            },
            full={"openrouter": openrouter.reachable},
        ),
        ready=readiness.reason,
        kick_outbox=custodian.kick,
        version=VERSION,
        estimate_ms=durations.estimate_ms,
        is_free=openrouter.catalogue.is_free,
        public_url=_base_of(settings.public_url),
        metrics=metrics.render if settings.enable_metrics else None,
        demo_token=None
        if settings.app_env == "production"
        else lambda user: _demo_token(around.jwt_secret, user or new_id(), wall()),
        demo_assessment=DemoAssessments(neighbours.assessment).finish
        if neighbours.assessment and settings.app_env == "development"
        else None,
    )
    metrics.watch("chat_sessions", "Open sessions, sockets and event streams.", lambda: len(sessions))
    metrics.watch("chat_generations", "Answers being written here.", lambda: len(generations))
    metrics.watch("conversations_active_total", "Channels somebody reads here.", lambda: len(hub))
    configured = tuple(dict.fromkeys((*chains.free, *chains.premium, *chains.emergency)))
    return Node(
        app=build_app(front),
        front=front,
        database=database,
        redis=redis,
        openrouter=openrouter,
        generations=generations,
        publisher=publisher,
        consumer=assessments.consumer,
        neighbours=neighbours,
        tasks={
            "hub": hub.run,
            "generation deadlines": generations.tick,
            "leases": generations.keep_leases,
            "sweep": generations.sweep,
            "sessions": sessions.look,
            "custodian": custodian.run,
            "presence": lambda: _beat(redis),
            **({"traces": tracing.run} if tracing is not None else {}),
            **assessments.tasks,
            "model listing": lambda: watch_listing(openrouter, configured, _warn_of_model),
        },
        readiness=readiness,
    )


def content_cipher(settings: Settings) -> ContentCipher | None:
    """What content is sealed with, or `None`: it is kept plain.

    Raises:
        ValueError: a key is not the base64 of 32 bytes.
    """
    keys = [key.get_secret_value() for key in settings.content_encryption_keys]
    return ContentCipher.from_base64(keys) if keys else None


def model_chains(settings: Settings) -> ModelChains:
    """The configured models, in the order they are tried."""
    free = (settings.default_model, settings.fallback_model, *settings.extra_fallback_models)
    emergency = () if settings.use_free_models_only else (settings.emergency_fallback_model,)
    return ModelChains(
        free=tuple(dict.fromkeys(model for model in free if model)),
        premium=settings.premium_models,
        emergency=tuple(model for model in emergency if model),
        premium_for=settings.premium_models_for,
    )


def _generation_limits(settings: Settings) -> GenerationLimits:
    return GenerationLimits(
        connect_seconds=settings.connect_timeout_seconds,
        first_token_seconds=settings.first_token_timeout_seconds,
        stall_seconds=settings.stall_timeout_seconds,
        generation_seconds=settings.generation_timeout_seconds,
        interim_after_seconds=settings.interim_after_seconds,
        interim_every_seconds=settings.interim_every_seconds,
        seam_hold_seconds=settings.seam_hold_seconds,
        seam_hold_chars=settings.seam_hold_chars,
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
    )


def _demo_token(secret: str, user: str, wall: float) -> dict[str, Any]:
    token = mint(secret, user, now=wall, seconds=_DEMO_TOKEN_SECONDS)
    return {"token": token, "user": user, "expires_at": token_time(wall + _DEMO_TOKEN_SECONDS)}


async def _connected(*links: RabbitPublisher | RabbitConsumer | None) -> bool | None:
    there = [link.connected for link in links if link is not None]
    return all(there) if there else None


def _origin_of(url: str) -> tuple[str, ...]:
    """The origin of the pages at a URL."""
    parts = urlsplit(url)
    return (f"{parts.scheme}://{parts.netloc}".lower(),) if url else ()


def _base_of(url: str) -> str:
    """Where the API is below a URL that clients use: there, if it has a path of its own."""
    if not url:
        return ""
    return url.rstrip("/") if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}{PREFIXES[0]}"


def _both(first: Observe, second: Observe) -> Observe:
    def observe(name: str, labels: dict[str, str], value: float) -> None:
        first(name, labels, value)
        second(name, labels, value)

    return observe


def _request_id() -> str:
    """The correlation id of whatever is going on here."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


async def _beat(redis: RedisAdapter) -> None:
    """Say that this process lives, for ever."""
    while True:
        try:
            await redis.presence.beat()
        except BrokerUnavailable:
            log.info("the store is away")
        await asyncio.sleep(_BEAT_SECONDS)


def _warn_of_model(slug: str, problem: str) -> None:
    log.warning("a configured model %s", problem, extra={"model": slug})
