"""A Chromium in a loop of its own, and pages in it.

One browser serves a whole run: it lives in a thread with an event loop, and a test hands it a coroutine.
So the tests stay plain functions, and no loop of Playwright's is in the way of other tests' own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.chromium import ARGUMENTS

SCENARIO_SECONDS = 60.0
WAIT_MS = 15_000

# a page on a busy machine takes its time; five seconds, the library's own patience, are not always enough
expect.set_options(timeout=WAIT_MS)

T = TypeVar("T")


class Stage:
    """A running Chromium."""

    def __init__(self, browser: Browser, loop: asyncio.AbstractEventLoop) -> None:
        self._browser = browser
        self._loop = loop

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the browser's loop, and wait for it."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(scenario, SCENARIO_SECONDS), self._loop)
        return future.result(SCENARIO_SECONDS + 30)

    @contextlib.asynccontextmanager
    async def page(
        self, address: str, path: str = "", *, script: str = "", **options: Any
    ) -> AsyncIterator[Page]:
        """A page of a fresh profile at an address. Whatever it complains of fails the test."""
        async with self.profile(address, script=script, **options) as open_page:
            yield await open_page(path)

    @contextlib.asynccontextmanager
    async def profile(
        self, address: str, *, script: str = "", **options: Any
    ) -> AsyncIterator[Callable[[str], Awaitable[Page]]]:
        """A fresh profile, in which several pages can be opened, each by its path.

        `script` runs in every page before its own; `options` are the browser context's.
        """
        complaints: list[str] = []
        context = await self._browser.new_context(
            **{
                "base_url": address,
                "viewport": {"width": 1200, "height": 800},
                "reduced_motion": "reduce",
                **options,
            }
        )
        context.set_default_timeout(WAIT_MS)
        if script:
            await context.add_init_script(script)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda said: complaints.extend(_complaint(said.type, said.text)))

        async def open_page(path: str = "") -> Page:
            page = await context.new_page()
            await page.goto(f"/{path}")
            return page

        try:
            yield open_page
        finally:
            await context.close()
        assert complaints == []


def _complaint(kind: str, text: str) -> list[str]:
    # what the network does is the test's business; Chromium tells of it whatever the page makes of it
    network = ("WebSocket connection to", "Failed to load resource")
    return [text] if kind in {"error", "warning"} and not text.startswith(network) else []


@contextlib.contextmanager
def running_stage(chromium: Path) -> Iterator[Stage]:
    """A Chromium, in a thread of its own, gone afterwards."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="browser", daemon=True)
    thread.start()
    started: list[Browser] = []
    over = asyncio.Event()
    told = threading.Event()

    async def live() -> None:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
            started.append(browser)
            told.set()
            await over.wait()
            await browser.close()

    living = asyncio.run_coroutine_threadsafe(live(), loop)
    living.add_done_callback(lambda _: told.set())
    try:
        told.wait(60)
        if living.done():
            living.result()
        yield Stage(started[0], loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        living.result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
