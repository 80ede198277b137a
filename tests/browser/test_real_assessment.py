"""The whole way of an assessment: the page, a real node, and the stand-in platform that plays it."""

from __future__ import annotations

import json

from playwright.async_api import WebSocket, expect

from server.assembly_assessments import FlowLimits
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.browser.stage import Stage
from tests.running import INTERNAL_KEY, running_node
from tests.scripted.tokens import SECRET
from tests.scripted.waiting import eventually
from tests.services import Database

_SEEN = """
    window.seen = [];
    addEventListener("DOMContentLoaded", () => {
        const percent = document.getElementById("journey-percent");
        new MutationObserver(() => window.seen.push(percent.textContent)).observe(percent, { childList: true });
    });
"""


def test_one_press_leads_through_every_stage_to_a_welcome_whose_questions_are_answered(
    stage: Stage, services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with (
            Neighbours(
                service_key=INTERNAL_KEY, jwt_secret=SECRET, populated=True, pause_seconds=0.1
            ) as platform,
            running_node(
                services,
                database,
                flow_limits=FlowLimits(link_seconds=0.1),
                auth_service_url=platform.url,
                assessment_service_url=platform.url,
                archive_service_url=platform.url,
            ) as running,
            stage.profile(running.base, script=_SEEN) as open_page,
        ):
            running.simulator.script(
                Behaviour(text="Welcome, **Siti**, to your results.", gate="half", gate_at=4),
                Behaviour(text="An answer."),
            )
            page = await open_page("")
            told: list[str] = []

            def listen(socket: WebSocket) -> None:
                socket.on("framereceived", lambda frame: told.append(str(frame)))

            page.on("websocket", listen)
            await page.reload()
            await expect(page.locator("#connection")).to_have_attribute("data-state", "synced")
            await page.get_by_role("button", name="Finish an assessment").click()

            # its conversation opens while the welcome is still being written
            answer = page.locator(".answer .markdown")
            await running.simulator.reached("half")
            await expect(answer).to_contain_text("Welcome")
            await expect(page.locator("#journey-percent")).to_have_text("80 %")
            conversation = page.url.rpartition("#")[2]
            running.simulator.release("half")
            await expect(page.locator("#journey-percent")).to_have_text("100 %")
            await expect(answer).to_have_text("Welcome, Siti, to your results.")

            frames = [json.loads(each) for each in told]
            stages = [each["notification"] for each in frames if each["type"] == "notification"]
            assert [each["progress"] for each in stages] == [10, 30, 80, 100]
            (result,) = {each["assessmentId"] for each in stages}
            # several in one frame of the screen are drawn as the last of them
            seen = [int(text.removesuffix(" %")) for text in await page.evaluate("window.seen")]
            assert seen == sorted(seen)
            assert {0, 10, 30, 80, 100} >= set(seen)

            chips = page.locator(".chip")
            await expect(chips).to_have_count(3)
            await expect(page.locator(".insights li")).to_have_count(3)
            question = await chips.first.inner_text()
            await chips.first.click()
            await expect(page.locator(".question .text")).to_have_text(question)
            await expect(answer.last).to_have_text("An answer.")
            await expect(page.locator("#journey")).to_be_hidden()
            user = await page.evaluate("JSON.parse(localStorage['atma.demo.identity']).user")
            kept = platform.world.results[result]
            assert kept["user_id"] == user
            # the archive is told which conversation it is
            await eventually(lambda: kept["chatbot_id"] == conversation, what="the archive knows")

    stage.run(go())
