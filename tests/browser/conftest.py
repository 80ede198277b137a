"""A Chromium for the whole run, and a scripted server for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.stage import Stage, running_stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One Chromium for the run, not one per worker (--dist loadgroup)."""
    for item in items:
        if "stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def stage(chromium: Path) -> Iterator[Stage]:
    with running_stage(chromium) as running:
        yield running
