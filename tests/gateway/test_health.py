"""A dependency that hangs is unhealthy in time, however long it takes to give the question up."""

from __future__ import annotations

import asyncio

import pytest

from server.gateway.rest import health


def test_a_probe_that_cannot_be_given_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_PROBE_SECONDS", 0.05)

    async def scenario() -> None:
        released, given_up = asyncio.Event(), asyncio.Event()

        async def stubborn() -> bool:
            try:
                await released.wait()
            except asyncio.CancelledError:
                given_up.set()
                await released.wait()
            return True

        async with asyncio.timeout(30):
            assert (await health._probe(stubborn))["status"] == "unhealthy"
            await given_up.wait()
        released.set()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("told", "status"),
    [(True, "healthy"), (False, "unhealthy"), (None, "disabled"), (OSError(), "unhealthy")],
)
def test_what_a_probe_tells(told: bool | OSError | None, status: str):
    async def probe() -> bool | None:
        if isinstance(told, OSError):
            raise told
        return told

    assert asyncio.run(health._probe(probe))["status"] == status
