"""The page and a real node, with real services behind it and a scripted model behind those."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from playwright.async_api import Page, expect

from server.embedded.openrouter.behaviour import Behaviour, Failure
from server.embedded.services import EmbeddedServices
from tests.browser.markdown_cases import HOSTILE
from tests.browser.stage import Stage
from tests.running import RunningNode, running_node
from tests.services import Database

TEXT = "You could **fly** 👩🏽‍🚀.\n\n| Career | Years |\n|:--|--:|\n| Pilot | 3 |\n\n```python\nprint('up')\n```\n\n1. Ask\n2. Try"
Open = Callable[[str], Awaitable[Page]]


@contextlib.asynccontextmanager
async def a_node(
    stage: Stage, services: EmbeddedServices, database: Database
) -> AsyncIterator[tuple[RunningNode, Open]]:
    async with running_node(services, database) as running, stage.profile(running.base) as open_page:
        yield running, open_page


async def ask(page: Page, text: str) -> None:
    await expect(page.locator("#connection")).to_have_attribute("data-state", "synced")
    await page.fill("#message", text)
    await page.press("#message", "Enter")


def test_an_answer_survives_a_reload_and_looks_the_same_from_history(
    stage: Stage, services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with a_node(stage, services, database) as (running, open_page):
            running.simulator.script(Behaviour(text=TEXT, gate="half", gate_at=12))
            page = await open_page("")
            await ask(page, "What could I be?")
            answer = page.locator(".answer .markdown")
            await running.simulator.reached("half")
            await expect(answer.locator("strong")).to_have_text("fly")
            await page.reload()
            await expect(answer.locator("strong")).to_have_text("fly")
            await expect(page.locator("#connection")).to_have_attribute("data-state", "synced")
            running.simulator.release("half")
            await expect(page.locator(".answer")).not_to_have_class("answer live")
            await expect(page.locator(".answer")).to_have_count(1)
            grown = await answer.inner_html()
            # as somebody who was not there
            await page.evaluate("sessionStorage.clear()")
            other = await open_page(page.url.rpartition("/")[2])
            await expect(other.locator(".answer ol li")).to_have_count(2)
            assert await other.locator(".answer .markdown").inner_html() == grown
            await expect(other.locator("#title")).to_have_text("What could I be?")
            assert [row["content"] for row in (await running.rows())["messages"]] == [
                "What could I be?",
                TEXT,
            ]

    stage.run(go())


def test_both_tabs_follow_and_either_can_stop(stage: Stage, services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with a_node(stage, services, database) as (running, open_page):
            running.simulator.script(Behaviour(text="One two three four five six.", gate="half", gate_at=3))
            first = await open_page("")
            await ask(first, "Count, please")
            await expect(first.locator(".answer .markdown")).to_contain_text("One")
            second = await open_page(first.url.rpartition("/")[2])
            await running.simulator.reached("half")
            shown = await first.locator(".answer .markdown").inner_text()
            await expect(second.locator(".answer .markdown")).to_have_text(shown)
            await second.click("#stop")
            for page in (first, second):
                await expect(page.locator(".answer .ending")).to_have_text("Stopped")
                await expect(page.locator(".answer .markdown")).to_have_text(shown)
            running.simulator.release("half")
            running.simulator.script(Behaviour(text="All of it, this time."))
            await first.click("[aria-label='Regenerate answer']")
            for page in (first, second):
                await expect(page.locator(".answer .markdown")).to_have_text("All of it, this time.")
                await expect(page.locator(".answer .pager")).to_have_text("2 / 2")

    stage.run(go())


def test_another_model_goes_on_where_the_first_broke_off(
    stage: Stage, services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with a_node(stage, services, database) as (running, open_page):
            running.simulator.script(
                Behaviour(text=TEXT, fail=Failure(how="reset", at=10)),
                Behaviour(text=TEXT, continuation="clean"),
            )
            page = await open_page("")
            await ask(page, "What could I be?")
            await expect(page.locator(".answer .notes")).to_contain_text("went on.")
            await expect(page.locator(".answer")).not_to_have_class("answer live")
            await expect(page.locator(".answer ol li")).to_have_count(2)
            await expect(page.locator(".answer td").first).to_have_text("Pilot")

    stage.run(go())


def test_a_hostile_model_moves_nothing_but_text(stage: Stage, services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with a_node(stage, services, database) as (running, open_page):
            text = "\n\n".join(HOSTILE) + "\n\nThe end."
            running.simulator.script(Behaviour(text=text))
            page = await open_page("")
            outside: list[str] = []
            page.on("request", lambda request: outside.append(request.url))
            await ask(page, "Be nasty")
            await expect(page.locator(".answer .markdown > :last-child")).to_have_text("The end.")
            await page.reload()
            await expect(page.locator(".answer .markdown > :last-child")).to_have_text("The end.")
            assert await page.evaluate("window.hacked") is None
            assert [url for url in outside if not url.startswith(running.base)] == []
            foreign = page.locator(".answer .markdown").locator(
                "script, img, iframe, svg, style, [onerror], [onclick]"
            )
            await expect(foreign).to_have_count(0)

    stage.run(go())
