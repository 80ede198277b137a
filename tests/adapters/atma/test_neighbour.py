"""Asking a neighbour that misbehaves (neighbour.py): what is asked again, what is given up, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.adapters.atma.neighbour import Neighbour
from server.assessments.neighbours import NeighbourRefused, NeighbourUnavailable
from server.embedded.neighbours.faults import Fault, FaultKind, Service
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.ports import free_port
from tests.adapters.atma.support import a_neighbour, new_id, running_neighbours


def scene(act: Callable[[Neighbours, Neighbour], Coroutine[Any, Any, None]], **limits: Any) -> None:
    """One neighbour that has a result, and somebody who asks it."""

    async def played() -> None:
        async with running_neighbours() as neighbours, a_neighbour(neighbours, **limits) as neighbour:
            neighbours.add_result(new_id(), result_id=RESULT)
            await act(neighbours, neighbour)

    asyncio.run(played())


RESULT = "22222222-2222-4222-8222-222222222222"
PATH = f"/archive/results/{RESULT}"
PASSING = [kind for kind in FaultKind if kind not in {FaultKind.NOT_FOUND, FaultKind.SLOW, FaultKind.SILENT}]


def a_fault(kind: FaultKind, **other: Any) -> Fault:
    return Fault(service=Service.ARCHIVE, kind=kind, **other)


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_asked_again(kind: FaultKind):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(kind, times=2))
        answer = await neighbour.ask("GET", PATH)
        assert answer.document["data"]["id"] == RESULT
        assert len(neighbours.calls(Service.ARCHIVE)) == 3

    scene(act)


@pytest.mark.parametrize("kind", PASSING)
def test_what_does_not_pass_is_given_up_after_the_last_attempt(kind: FaultKind):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(kind))
        with pytest.raises(NeighbourUnavailable, match="a neighbour: "):
            await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == 3

    scene(act)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_an_overloaded_or_broken_service_is_asked_again(status: int):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR, status=status, times=1))
        assert (await neighbour.ask("GET", PATH)).status == 200

    scene(act)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 422])
def test_a_refusal_is_not_repeated_and_says_the_services_code(status: int):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR, status=status))
        with pytest.raises(NeighbourRefused, match=f"a neighbour: {status} INTERNAL_ERROR"):
            await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == 1

    scene(act)


def test_a_status_that_means_something_to_the_caller_is_an_answer():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.NOT_FOUND))
        answer = await neighbour.ask("GET", PATH, expected={404})
        assert (answer.status, answer.document["error"]["code"]) == (404, "NOT_FOUND")

    scene(act)


def test_a_silent_attempt_ends_and_the_next_one_is_made():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.SILENT, times=1))
        assert (await neighbour.ask("GET", PATH)).status == 200

    scene(act, attempt=0.2)


def test_a_slow_answer_within_its_time_is_waited_for():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.SLOW, delay_seconds=0.3))
        await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == 1

    scene(act)


def test_the_deadline_bounds_all_attempts_together():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.SILENT))
        async with asyncio.timeout(5):
            with pytest.raises(NeighbourUnavailable, match=r"no answer within 0\.3 s"):
                await neighbour.ask("GET", PATH)

    scene(act, attempt=60.0, call=0.3)


def test_nobody_there_is_unavailable():
    async def act(_: Neighbours, neighbour: Neighbour) -> None:
        with pytest.raises(NeighbourUnavailable, match="ConnectError"):
            await neighbour.ask("GET", PATH)

    scene(act, url=f"http://127.0.0.1:{free_port()}")


def test_an_answer_that_is_too_large_is_no_answer():
    async def act(_: Neighbours, neighbour: Neighbour) -> None:
        with pytest.raises(NeighbourUnavailable, match="more than 100 bytes"):
            await neighbour.ask("GET", PATH)

    scene(act, answer_bytes=100)


@pytest.mark.parametrize(("wish", "asked"), [("0", 2), ("60", 1), ("soon", 2)])
def test_a_wish_to_wait_longer_than_we_ever_do_ends_the_attempts(wish: str, asked: int):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR, status=503, retry_after=wish))
        with pytest.raises(NeighbourUnavailable, match="503 INTERNAL_ERROR"):
            await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == asked

    scene(act, attempts=2)


def test_a_sick_neighbour_is_left_alone_and_then_asked_once():
    now = [1000.0]

    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR, status=500))
        for _ in range(3):
            with pytest.raises(NeighbourUnavailable):
                await neighbour.ask("GET", PATH)
        # three failures in a row have opened the breaker
        assert len(neighbours.calls(Service.ARCHIVE)) == 3
        with pytest.raises(NeighbourUnavailable, match="left alone"):
            await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == 3

        now[0] += 10
        with pytest.raises(NeighbourUnavailable, match="500"):
            await neighbour.ask("GET", PATH)
        with pytest.raises(NeighbourUnavailable, match="left alone"):
            await neighbour.ask("GET", PATH)
        assert len(neighbours.calls(Service.ARCHIVE)) == 4

        now[0] += 10
        neighbours.mend()
        await neighbour.ask("GET", PATH)
        await neighbour.ask("GET", PATH)

    scene(act, attempts=1, breaker_failures=3, breaker_rest=10.0, clock=lambda: now[0])


def test_a_limit_or_a_refusal_is_no_sickness():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        for status in (429, 403, 404) * 3:
            neighbours.fault(a_fault(FaultKind.ERROR, status=status, times=1))
            with pytest.raises((NeighbourUnavailable, NeighbourRefused)):
                await neighbour.ask("GET", PATH)
        await neighbour.ask("GET", PATH)

    scene(act, attempts=1, breaker_failures=2)


def test_a_probe_that_nobody_waited_for_leaves_the_way_open_for_the_next():
    now = [0.0]

    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR, times=1))
        with pytest.raises(NeighbourUnavailable):
            await neighbour.ask("GET", PATH)
        now[0] = 100.0
        neighbours.fault(a_fault(FaultKind.SILENT, times=1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await neighbour.ask("GET", PATH)
        await neighbour.ask("GET", PATH)

    scene(act, attempts=1, breaker_failures=1, clock=lambda: now[0])


def test_our_key_and_the_correlation_id_go_with_it_and_nothing_else_of_ours():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        await neighbour.ask("GET", PATH)
        headers = neighbours.calls(Service.ARCHIVE)[0].headers
        assert headers["x-internal-service"] == "true"
        assert headers["x-service-key"] == neighbours.service_key
        assert headers["x-request-id"] == "request-7"
        assert "cookie" not in headers
        assert "authorization" not in headers

    scene(act, request_id=lambda: "request-7")


def test_many_may_ask_at_once():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        answers = await asyncio.gather(*(neighbour.ask("GET", PATH) for _ in range(60)))
        assert {answer.status for answer in answers} == {200}

    scene(act)


def test_a_wait_between_attempts_can_be_cancelled():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(a_fault(FaultKind.ERROR))
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await neighbour.ask("GET", PATH)

    scene(act, first_wait=30.0, longest_wait=30.0, call=60.0)
