from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from protocol.frames import Limits
from server.conversations.principal import Principal
from server.session.desk import Desk, Sessions
from server.session.machine import SessionLimits
from tests.scripted.clock import ManualClock
from tests.scripted.waiting import eventually
from tests.session.support import ends

USER = "00000000-0000-4000-8000-000000000001"


class SessionThatNotes:
    """Notes what the registry tells it, and goes when it is drained if it is told to."""

    def __init__(self, sessions: Sessions, *, goes: bool = True) -> None:
        self.ticks: list[tuple[float, float]] = []
        self.drained: list[tuple[int, str]] = []
        self._sessions = sessions
        self._goes = goes
        sessions.add(self)

    def tick(self, now: float, wall: float) -> None:
        self.ticks.append((now, wall))

    def drain(self, reconnect_in_ms: int, reason: str) -> None:
        self.drained.append((reconnect_in_ms, reason))
        if self._goes:
            self._sessions.remove(self)


def some_sessions() -> Sessions:
    return Sessions(ManualClock(5.0), ManualClock(1_700_000_000.0))


def test_sessions_are_counted() -> None:
    sessions = some_sessions()
    first, second = SessionThatNotes(sessions), SessionThatNotes(sessions)
    assert len(sessions) == 2

    sessions.remove(first)
    sessions.remove(first)
    assert len(sessions) == 1
    sessions.remove(second)
    assert len(sessions) == 0


def test_in_a_look_everybody_is_ticked_with_both_clocks_and_a_thousand_may_ask_the_store() -> None:
    async def go() -> None:
        sessions = some_sessions()
        assert not sessions.may_ask()
        present = [SessionThatNotes(sessions) for _ in range(1200)]
        looking = asyncio.create_task(sessions.look())

        await eventually(lambda: all(each.ticks for each in present))

        assert {tuple(each.ticks) for each in present} == {((5.0, 1_700_000_000.0),)}
        assert [sessions.may_ask() for _ in range(1001)] == [True] * 1000 + [False]
        await ends(looking)

    asyncio.run(go())


def test_one_may_be_looked_at_at_a_time_of_their_own() -> None:
    async def go() -> None:
        sessions = some_sessions()
        present, gone = SessionThatNotes(sessions), SessionThatNotes(sessions)
        sessions.add(present, look_in=0.02)
        sessions.add(gone, look_in=0.0)
        sessions.remove(gone)

        await eventually(lambda: present.ticks)

        assert present.ticks == [(5.0, 1_700_000_000.0)]
        assert gone.ticks == []

    asyncio.run(go())


def test_looks_come_as_often_as_the_shortest_clock_wants() -> None:
    async def go() -> None:
        sessions = Sessions(ManualClock(5.0), ManualClock(1_700_000_000.0), look_seconds=0.01)
        present = SessionThatNotes(sessions)
        looking = asyncio.create_task(sessions.look())

        await eventually(lambda: len(present.ticks) >= 3)

        assert [sessions.may_ask() for _ in range(11)] == [True] * 10 + [False]
        await ends(looking)

    asyncio.run(go())


def test_drain_is_spread_over_the_time_and_over_when_all_are_gone() -> None:
    async def go() -> None:
        sessions = some_sessions()
        present = [SessionThatNotes(sessions) for _ in range(200)]

        async with asyncio.timeout(5):
            await sessions.drain(60.0, "deploy")

        times = [reconnect for each in present for reconnect, _ in each.drained]
        assert len(times) == 200
        # from when a load balancer has noticed
        assert all(1_000 <= each <= 60_000 for each in times)
        assert len(set(times)) > 150
        assert {reason for each in present for _, reason in each.drained} == {"deploy"}

    asyncio.run(go())


def test_drain_does_not_wait_longer_than_its_time() -> None:
    async def go() -> None:
        sessions = some_sessions()
        SessionThatNotes(sessions, goes=False)

        async with asyncio.timeout(10):
            await sessions.drain(0.01, "deploy")

        assert len(sessions) == 1

    asyncio.run(go())


def test_a_node_without_sessions_is_drained_at_once() -> None:
    async def go() -> None:
        async with asyncio.timeout(5):
            await some_sessions().drain(60.0, "deploy")

    asyncio.run(go())


class RevocationsAt:
    """Every user was revoked at one time, or nobody was."""

    def __init__(self, moment_ms: int | None) -> None:
        self._moment_ms = moment_ms

    async def revoked_at_ms(self, user: str) -> int | None:
        assert user == USER
        return self._moment_ms


def a_desk(moment_ms: int | None) -> Desk:
    nobody = cast("object", None)
    return Desk(
        hub=nobody,  # type: ignore[arg-type]
        broker=nobody,  # type: ignore[arg-type]
        presence=nobody,  # type: ignore[arg-type]
        revocations=RevocationsAt(moment_ms),
        turns=nobody,  # type: ignore[arg-type]
        sessions=some_sessions(),
        verify=lambda _: Principal(USER),
        limits=SessionLimits(),
        announced=Limits(max_frame_bytes=1, max_message_length=1, max_sessions=1, max_generations=1),
        now=time.monotonic,
        wall=lambda: 1_700_000_000.1234,
        new_id=lambda: USER,
    )


@pytest.mark.parametrize(
    ("moment_ms", "issued_at", "revoked"),
    [
        pytest.param(None, 100.0, False, id="nobody was revoked"),
        pytest.param(None, None, False, id="nobody was revoked, no time of issue"),
        pytest.param(99_999, 100.0, False, id="issued later"),
        pytest.param(100_000, 100.0, True, id="issued at that moment"),
        pytest.param(100_999, 100.0, True, id="issued in that second, or so it says"),
        pytest.param(200_000, 100.0, True, id="issued before"),
        pytest.param(1, None, True, id="no time of issue"),
    ],
)
def test_a_token_is_revoked_by_its_time_of_issue(
    moment_ms: int | None, issued_at: float | None, *, revoked: bool
) -> None:
    principal = Principal(USER, issued_at=issued_at)

    assert asyncio.run(a_desk(moment_ms).is_revoked(principal)) is revoked


def test_the_nodes_clock_is_read_in_milliseconds() -> None:
    assert a_desk(None).wall_ms() == 1_700_000_000_123


def test_where_nobody_observes_nothing_happens() -> None:
    a_desk(None).observe("close", {"code": "1000"}, 1.0)
