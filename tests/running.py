"""A node in this process, on real services, with a scripted OpenRouter: what node tests drive.

async with running_node(services, database, interim_after_seconds=0.2) as running:
    running.simulator.script(Behaviour(text="Hello"))
    client = await running.client()
    ack = await client.send("message.send", content="hi", client_message_id=new_uuid())
    finished = await client.wait_for(lambda f: f["type"] == "generation.finished")
    await running.assert_holds(client)
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg
import httpx

from server.app import ChatServer, http_server, listen
from server.assembly import Surroundings, build_node
from server.assembly_assessments import FlowLimits
from server.conversations.custodian import CustodyPace
from server.embedded.openrouter.simulator import Simulator
from server.embedded.services import EmbeddedServices
from server.node import Node
from server.settings import Settings, load
from tests import oracle
from tests.scripted.recording import Frame
from tests.scripted.sse_client import SseClient
from tests.scripted.tokens import SECRET, token_for
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

INTERNAL_KEY = "an-internal-key-of-the-tests-that-is-long-enough"
MODELS = (
    "qwen/qwen3-235b-a22b-07-25:free",
    "meta-llama/llama-3.2-3b-instruct:free",
    "openrouter/free",
)
"""The configured chain, in order."""

SETTLED_SECONDS = 45.0
"""A bill asked for in vain (its claimant died, the upstream was slow) is asked for again 5, 15 and 35 s later."""

# limits that tests of other things must not meet, and clocks that do not keep them waiting
_SETTINGS: dict[str, Any] = {
    "jwt_secret": SECRET,
    "internal_service_key": INTERNAL_KEY,
    "rate_limit_messages_per_hour": 0,
    "rate_limit_conversations_per_day": 0,
    "free_model_rate_limit_per_minute": 0,
    "api_rate_limit_per_15_minutes": 0,
    "max_generations_per_user": 0,
    "max_sessions_per_user": 0,
    "model_cooldown_seconds": 0,
    "seam_hold_seconds": 0.05,
    "db_pool_min": 1,
    "db_pool_max": 8,
    "drain_seconds": 0.2,
}
_PACE = CustodyPace(patience_seconds=0.5, unstarted_seconds=0.3, outbox_seconds=0.2, settlement_seconds=0.2)


def new_uuid() -> str:
    """A random id in canonical form."""
    return str(uuid.uuid4())


class _QuietServer(ChatServer):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Truth:
    """What the oracle holds recordings against: the database's rows and the upstream's calls."""

    database: Database
    simulator: Simulator

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What PostgreSQL holds, as the oracle reads it, of all users."""
        async with self.admin() as connection:
            messages = await connection.fetch("SELECT * FROM chat.messages ORDER BY id")
            generations = await connection.fetch("SELECT * FROM chat.generations ORDER BY id")
            usage = await connection.fetch("SELECT * FROM chat.usage_tracking ORDER BY id")
        return {
            "messages": [_plain(row) for row in messages],
            "generations": [_plain(row) for row in generations],
            "usage": [{**_plain(row), "cost": Decimal(row["cost_credits"])} for row in usage],
        }

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A superuser's connection to the node's database."""
        connection = await asyncpg.connect(self.database.admin_url, timeout=10, command_timeout=30)
        try:
            yield connection
        finally:
            await connection.close()

    def upstream(self, intended: dict[str, str] | None = None) -> dict[str, Any]:
        """What the simulator really sent and bills, as the oracle reads it."""
        calls = []
        for call in self.simulator.calls():
            bill = call.bill
            calls.append(
                {
                    "id": call.generation_id if call.headers_at is not None else None,
                    "text": call.seen,
                    "bill": None
                    if bill is None
                    else {
                        "prompt_tokens": bill.prompt_tokens,
                        "completion_tokens": bill.completion_tokens,
                        "cost": bill.cost,
                    },
                }
            )
        return {"calls": calls, "intended": intended or {}}

    async def settled(self, within: float = SETTLED_SECONDS) -> None:
        """Wait until no generation is open, nothing is to be settled and nothing waits to be told."""

        async def quiet() -> bool:
            async with self.admin() as connection:
                return not await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM chat.generations WHERE status = 'accepted')"
                    " OR EXISTS (SELECT FROM chat.usage_tracking WHERE settle_due_at IS NOT NULL)"
                    " OR EXISTS (SELECT FROM chat.outbox"
                    " WHERE destination = 'channel' AND delivered_at IS NULL)"
                )

        assert await eventually(quiet, within, what="everything settles")

    async def assert_holds(
        self,
        *clients: RecordingClient | SseClient,
        intended: dict[str, str] | None = None,
        settle: bool = True,
        **options: Any,
    ) -> None:
        """Every invariant of the oracle, for every client given, against upstream and database."""
        if settle:
            await self.settled()
        rows, upstream = await self.rows(), self.upstream(intended)
        for client in clients:
            oracle.assert_holds(client.recording, upstream, rows, **options)
            if isinstance(client, SseClient):
                assert client.faults == []


@dataclass
class RunningNode(Truth):
    """A node, its address and its upstream."""

    node: Node
    simulator: Simulator
    port: int
    settings: Settings
    database: Database
    server: ChatServer
    clients: list[RecordingClient | SseClient] = field(default_factory=list)

    @property
    def base(self) -> str:
        """`http://host:port`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """The socket's address."""
        return f"ws://127.0.0.1:{self.port}/api/chat/ws"

    # --- clients ------------------------------------------------------------------------------

    async def client(
        self, user: str | None = None, *, connect: bool = True, **claims: Any
    ) -> RecordingClient:
        """A WebSocket client of a user (a new one, where none is given), connected and synced."""
        user = user or new_uuid()
        client = RecordingClient(token_for(user, **claims), user=user)
        self.clients.append(client)
        if connect:
            await client.connect(self.ws_url)
        return client

    def sse(self, user: str | None = None, **claims: Any) -> SseClient:
        """An SSE client, which also makes plain requests; not connected."""
        user = user or new_uuid()
        client = SseClient(self.base, token_for(user, **claims), user=user)
        self.clients.append(client)
        return client

    @contextlib.asynccontextmanager
    async def http(self, user: str | None = None, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """A plain HTTP client; with a user it sends a bearer token."""
        if user is not None:
            headers["Authorization"] = f"Bearer {token_for(user)}"
        async with httpx.AsyncClient(
            base_url=self.base, headers=headers, timeout=30, trust_env=False
        ) as client:
            yield client


@contextlib.asynccontextmanager
async def running_node(
    services: EmbeddedServices,
    database: Database,
    *,
    simulator: Simulator | None = None,
    redis_url: str | None = None,
    database_url: str | None = None,
    openrouter_url: str | None = None,
    pace: CustodyPace = _PACE,
    flow_limits: FlowLimits | None = None,
    **settings: Any,
) -> AsyncIterator[RunningNode]:
    """A node with settings of its own; several may share services, database and simulator.

    `redis_url`, `database_url` and `openrouter_url` put something between the node and what it needs.
    """
    configured = load(_env_file=None, **{**_SETTINGS, **settings})
    async with contextlib.AsyncExitStack() as stack:
        if simulator is None:
            simulator = await stack.enter_async_context(Simulator(human_speed=False))
        around = Surroundings(
            database_url=database_url or database.app_url,
            redis_url=redis_url or services.urls.redis_url or "",
            openrouter_base_url=openrouter_url or simulator.base_url,
            openrouter_keys=(simulator.key,),
            jwt_secret=SECRET,
            internal_key=INTERNAL_KEY,
        )
        sock = listen("127.0.0.1", 0)
        node = await stack.enter_async_context(
            build_node(configured, around, pace=pace, flow_limits=flow_limits)
        )
        quiet = _QuietServer(http_server(node, drain_seconds=configured.drain_seconds).config, node, 0.0)
        serving = asyncio.create_task(quiet.serve(sockets=[sock]))
        running = RunningNode(
            node=node,
            simulator=simulator,
            port=sock.getsockname()[1],
            settings=configured,
            database=database,
            server=quiet,
        )
        try:
            await eventually(lambda: node.front.ready() is None and quiet.started, what="the node is ready")
            yield running
        finally:
            for client in running.clients:
                await client.close() if isinstance(client, SseClient) else await client.cut()
            quiet.should_exit = True
            await serving


def of_type(kind: str, **fields: Any) -> Any:
    """A predicate for `wait_for`: a frame of this type with these fields."""

    def matches(frame: Frame) -> bool:
        return frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items())

    return matches


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in row.items()}
