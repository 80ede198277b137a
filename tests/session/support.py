"""A desk on a real store, and clients at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from protocol.frames import Limits
from server.adapters.openrouter.models import Catalogue
from server.adapters.postgres.conversation_store import PostgresConversationStore
from server.adapters.postgres.pool import Database
from server.adapters.redis.quota import QuotaLimits, RedisQuota
from server.conversations.models import ModelChains
from server.conversations.principal import Principal
from server.conversations.turns import TurnLimits, Turns
from server.gateway.auth import Authenticator
from server.session.desk import Desk, Sessions, sound_is_enough
from server.session.machine import SessionLimits
from server.session.session import Session
from tests.adapters.redis.support import new_id
from tests.channels.author import Author
from tests.channels.node import Node, a_node
from tests.scripted.clock import ManualClock
from tests.scripted.memory_transport import MemoryTransport
from tests.scripted.tokens import SECRET, token_for


@dataclass
class Office:
    """A node's sessions. Their clocks stand still; the wall clock is the real one plus what was advanced."""

    node: Node
    clock: ManualClock
    desk: Desk
    observed: list[tuple[str, dict[str, str]]]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def client(
        self,
        *,
        principal: Principal | None = None,
        transport: MemoryTransport | None = None,
    ) -> Visitor:
        """A connection that has not said hello."""
        transport = transport or MemoryTransport()
        session = Session(transport, self.desk, principal=principal)
        task = asyncio.create_task(session.run())
        self.tasks.append(task)
        return Visitor(self, session, transport, task)

    async def greeted(self, author: Author, **hello: Any) -> Visitor:
        """A connection that is open and synced."""
        visitor = self.client()
        await visitor.hello(author.user, **hello)
        await visitor.transport.frame("synced")
        return visitor

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes, and everybody looks at the clocks."""
        self.clock.advance(seconds)
        self.desk.sessions._asks = 1000
        for session in tuple(self.desk.sessions._present):
            session.tick(self.desk.now(), self.desk.wall())


@dataclass
class Visitor:
    """A client, its session, and the task that serves it."""

    office: Office
    session: Session
    transport: MemoryTransport
    task: asyncio.Task[None]

    async def hello(self, user: str, **fields: Any) -> dict[str, Any]:
        """Say hello and give the answer."""
        self.transport.say("hello", id="h", **{"token": token_for(user), **fields})
        return await self.transport.answer("h")

    async def command(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Say a command and give its answer."""
        name = new_id()
        self.transport.say(kind, id=name, **fields)
        return await self.transport.answer(name)

    async def gone(self) -> int | None:
        """Wait until the session is over; the code it was closed with, if it was."""
        async with asyncio.timeout(15):
            await self.task
        return self.transport.close_code


@asynccontextmanager
async def an_office(
    url: str,
    *,
    limits: SessionLimits | None = None,
    max_sessions: int = 10,
    confirm: Callable[[str, Principal], Awaitable[None]] = sound_is_enough,
    **node: Any,
) -> AsyncIterator[Office]:
    async with a_node(url, **node) as at:
        clock, begun = ManualClock(), ManualClock().now
        started = time.time()
        observed: list[tuple[str, dict[str, str]]] = []

        def wall() -> float:
            return started + clock.now - begun

        desk = Desk(
            hub=at.hub,
            broker=at.adapter.broker,
            presence=at.adapter.presence,
            revocations=at.adapter.users,
            turns=turns_without_a_database(at),
            sessions=Sessions(clock, wall),
            verify=Authenticator(SECRET).verify,
            confirm=confirm,
            limits=limits or SessionLimits(),
            announced=Limits(
                max_frame_bytes=65536, max_message_length=4000, max_sessions=max_sessions, max_generations=3
            ),
            now=clock,
            wall=wall,
            new_id=new_id,
            observe=lambda name, labels, _: observed.append((name, labels)),
        )
        office = Office(at, clock, desk, observed)
        try:
            yield office
        finally:
            for task in office.tasks:
                task.cancel()
            await asyncio.gather(*office.tasks, return_exceptions=True)


def turns_without_a_database(node: Node) -> Turns:
    """The real use cases where PostgreSQL is away and this node answers nothing by itself."""
    absent = cast("Any", None)
    return Turns(
        store=PostgresConversationStore(Database("postgresql://nobody@127.0.0.1:1/none")),
        generations=absent,
        generation_store=node.adapter.generations,
        prompts=absent,
        chains=ModelChains(("model/one",), (), ()),
        catalogue=Catalogue(),
        quota=RedisQuota(node.adapter.limits, QuotaLimits()),
        limits=TurnLimits(max_message_length=4000, max_generations=3, max_tokens=100, temperature=0.7),
        arrears=absent,
    )


def at_an_office(url: str, test: Callable[[Office, Author], Awaitable[None]], **other: Any) -> None:
    """Run a test there."""

    async def go() -> None:
        async with an_office(url, **other) as office:
            await test(office, Author(office.node.adapter))

    asyncio.run(go())


async def ends(task: asyncio.Task[Any]) -> None:
    """Cancel it and wait."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
