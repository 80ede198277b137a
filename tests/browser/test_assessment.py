"""The way of an assessment on the page: finished on demand, followed step by step, talked about."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from tests.browser.chat import TALK, Chat, a_talk, play
from tests.browser.scripted_server import conversation, ident, message
from tests.browser.stage import Stage

ASSESSMENT = ident(800_001)
INSIGHTS = ["Your strongest interests: Investigative (92) and Artistic (78).", "Openness stands out (88)."]
QUESTIONS = ["Which careers suit me?", "What do my results say?", "Where do I begin?"]
STAGES = {
    "assessment_submitted": (10, "Your assessment was received."),
    "analysis_started": (30, "Our AI is analysing your profile."),
    "analysis_complete": (80, "Your results are in."),
    "chatbot_ready": (100, "Your chatbot is ready."),
    "analysis_failed": (0, "Your assessment could not be analysed."),
}


async def tell(chat: Chat, at: int, stage: str, assessment: str = ASSESSMENT) -> None:
    progress, words = STAGES[stage]
    body = {
        "title": stage,
        "message": words,
        "progress": progress,
        "stage": stage,
        "assessmentId": assessment,
        "timestamp": "2026-03-01T08:00:00.000Z",
    }
    await chat.line.say("notification", position=f"e:{at}", notification=body)


async def begin_welcome(chat: Chat, at: int) -> None:
    about = conversation(1, "About your results") | {"context_type": "assessment"}
    await chat.line.say("conversation.created", position=f"e:{at}", conversation=about)
    await chat.started(at + 1, reply_to=None)


def a_welcome(text: str) -> dict[str, Any]:
    metadata = {"type": "assessment_welcome", "suggested_questions": QUESTIONS, "insights": INSIGHTS}
    welcome = message(3, text)
    return welcome | {"metadata": {**welcome["metadata"], **metadata}}


async def standing(chat: Chat) -> list[str]:
    """How the four steps stand."""
    found: list[str] = await chat.page.locator("#journey li").evaluate_all(
        "(nodes) => nodes.map((node) => node.dataset.state)"
    )
    return found


def test_a_finished_assessment_goes_its_way_and_ends_in_a_welcome_whose_questions_can_be_asked(stage: Stage):
    async def scenario(chat: Chat) -> None:
        page = chat.page
        journey, bar = page.locator("#journey"), page.locator("#journey-progress")
        await expect(journey).to_be_hidden()
        await page.get_by_role("button", name="Finish an assessment").click()
        await expect(journey).to_be_visible()
        await expect(page.locator("#finish-assessment")).to_be_hidden()
        await expect(page.locator("#welcome-title")).to_have_text("Your assessment is on its way")
        assert chat.server.languages == ["en"]
        ways = {
            "assessment_submitted": ["now", "next", "next", "next"],
            "analysis_started": ["done", "now", "next", "next"],
            "analysis_complete": ["done", "done", "now", "next"],
        }
        for at, (each, way) in enumerate(ways.items(), 1):
            await tell(chat, at, each)
            progress, words = STAGES[each]
            await expect(page.locator("#journey-words")).to_have_text(words)
            await expect(page.locator("#journey-percent")).to_have_text(f"{progress} %")
            await expect(bar).to_have_js_property("value", progress)
            assert await standing(chat) == way

        await begin_welcome(chat, 4)
        await chat.delta(0, "Hello, **Siti**")
        await expect(chat.text.locator("strong")).to_have_text("Siti")
        assert page.url.endswith(f"#{TALK}")
        await expect(page.locator("#title")).to_have_text("About your results")
        await expect(journey).to_be_visible()
        await expect(chat.page.locator(".chip, .insights li")).to_have_count(0)
        listed = "".join(f"\n{number}. {each}" for number, each in enumerate(QUESTIONS, 1))
        await chat.finished(6, None, message=a_welcome(f"Hello, **Siti**. {INSIGHTS[0]}\n{listed}"))
        await tell(chat, 7, "chatbot_ready")
        await expect(page.locator("#journey-percent")).to_have_text("100 %")
        assert await standing(chat) == ["done"] * 4
        # what the text says already is not said again, and what can be pressed is not listed as well
        await expect(chat.text).to_have_text(f"Hello, Siti. {INSIGHTS[0]}")
        await expect(page.locator(".insights li")).to_have_text([INSIGHTS[1]])
        await expect(page.locator(".chip")).to_have_text(QUESTIONS)
        await expect(page.get_by_role("button", name="Regenerate answer")).to_have_count(0)
        await expect(page.locator(".toast")).to_have_count(0)

        await page.get_by_role("button", name=QUESTIONS[1]).click()
        command = await chat.line.expect("message.send")
        assert (command["content"], command["conversation"]) == (QUESTIONS[1], TALK)
        await expect(page.locator(".question .text")).to_have_text(QUESTIONS[1])
        await expect(journey).to_be_hidden()
        await expect(chat.text.locator("li")).to_have_text(QUESTIONS)

    play(stage, scenario, messages={TALK: []})


def test_a_reload_on_the_way_loses_nothing_of_it(stage: Stage):
    async def scenario(chat: Chat) -> None:
        page = chat.page
        await page.click("#finish-assessment")
        await tell(chat, 1, "assessment_submitted")
        await tell(chat, 2, "analysis_started")
        await expect(page.locator("#journey-percent")).to_have_text("30 %")
        await page.reload()
        presented = await chat.again("live", "e:2")
        assert presented["position"] == "e:2"
        await expect(page.locator("#journey-percent")).to_have_text("30 %")
        await tell(chat, 3, "analysis_complete")
        await begin_welcome(chat, 4)
        await chat.delta(0, "Hello")
        await expect(chat.text).to_have_text("Hello")

    play(stage, scenario, messages={TALK: []})


def test_nobody_is_taken_away_from_what_they_write_or_read(stage: Stage):
    async def scenario(chat: Chat) -> None:
        page = chat.page
        await page.click("#finish-assessment")
        await page.fill("#message", "By the way")
        await tell(chat, 1, "analysis_complete")
        await begin_welcome(chat, 2)
        # another empty page is no other assessment
        await page.click("#new-conversation")
        await page.click("#finish-assessment")
        assert len(chat.server.languages) == 1
        opener = page.get_by_role("button", name="Open the conversation")
        await expect(opener).to_be_visible()
        assert "#" not in page.url
        await expect(page.locator("#message")).to_have_value("By the way")
        await opener.click()
        assert page.url.endswith(f"#{TALK}")
        await expect(page.locator("#journey")).to_be_visible()

    play(stage, scenario, messages={TALK: []})


def test_elsewhere_the_way_is_told_in_the_corner_in_one_place_and_leads_there(stage: Stage):
    other = ident(7)
    talk = a_talk()
    talk["conversations"].append(conversation(7, "Another talk"))
    talk["messages"][other] = [message(8, "Another answer")]

    async def scenario(chat: Chat) -> None:
        page = chat.page
        await expect(chat.text).to_have_text("Another answer")
        toast = page.locator(".toast")
        for at, each in enumerate(["assessment_submitted", "analysis_started", "analysis_complete"], 1):
            await tell(chat, at, each)
            await expect(toast).to_have_count(1)
            await expect(toast.locator("p")).to_have_text(STAGES[each][1])
            await expect(toast.locator("progress")).to_have_js_property("value", STAGES[each][0])
        chat.server.of_assessments[ASSESSMENT] = conversation(1, "A talk")
        await tell(chat, 4, "chatbot_ready")
        await expect(page.locator("#journey")).to_be_hidden()
        await toast.get_by_role("button", name="Open").click()
        await expect(chat.text).to_have_text("Old answer")
        assert page.url.endswith(f"#{TALK}")

    play(stage, scenario, path=f"#{other}", **talk)


def test_what_fails_can_be_tried_again(stage: Stage):
    async def scenario(chat: Chat) -> None:
        page = chat.page
        chat.server.problems["/demo/assessments"] = 404
        await page.click("#finish-assessment")
        await expect(page.locator(".toast.error")).to_contain_text("cannot do this")
        await expect(page.locator("#journey")).to_be_hidden()
        del chat.server.problems["/demo/assessments"]
        await page.click("#finish-assessment")
        await tell(chat, 1, "analysis_started")
        await tell(chat, 2, "analysis_failed")
        await expect(page.locator("#journey-words")).to_have_text(STAGES["analysis_failed"][1])
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator("#journey-help")).to_be_hidden()
        await tell(chat, 3, "assessment_submitted", ident(800_002))
        await expect(page.locator("#journey-percent")).to_have_text("10 %")
        assert len(chat.server.languages) == 2

    play(stage, scenario)


def test_an_adviser_who_is_late_can_be_asked_for_also_in_indonesian_on_a_phone(stage: Stage):
    async def scenario(chat: Chat) -> None:
        page = chat.page
        await page.clock.install()
        await page.click("#finish-assessment")
        await tell(chat, 1, "analysis_complete")
        await expect(page.locator("#journey-percent")).to_have_text("80 %")
        assert chat.server.languages == ["id"]
        await page.clock.run_for(21_000)
        await expect(page.locator("#journey-help")).to_be_visible()
        for selector in ("html", "#scroller", "#journey"):
            over = await page.locator(selector).evaluate("(node) => node.scrollWidth - node.clientWidth")
            assert over <= 0, selector
        chat.server.of_assessments[ASSESSMENT] = conversation(1, "A talk")
        await page.click("#journey-help")
        await expect(chat.text).to_have_text("Old answer")
        assert f"/assessment/{ASSESSMENT}/initialize" in chat.server.asked

    phone = {"locale": "id-ID", "viewport": {"width": 360, "height": 700}}
    play(stage, scenario, options=phone, **a_talk())
