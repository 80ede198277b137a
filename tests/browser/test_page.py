"""The page on the wire: what it shows, says and keeps, whatever the connection does."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.chat import ANSWER, GENERATION, QUESTION, TALK, Chat, a_talk, play
from tests.browser.scripted_server import ident, message
from tests.browser.stage import Stage

# --- asking and answering ------------------------------------------------------------------------


def test_an_answer_is_shown_as_it_comes_and_kept_as_it_ended(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin("Which career?")
        await expect(chat.page.locator(".question .text")).to_have_text("Which career?")
        await expect(chat.answer.locator(".dots")).to_be_visible()
        await chat.delta(0, "You could 👩‍🚀 be")
        await expect(chat.text).to_have_text("You could 👩‍🚀 be")
        await expect(chat.text.locator(".caret")).to_have_count(1)
        # what comes twice changes nothing, and lengths are in code points
        await chat.delta(10, "👩‍🚀 be a **doctor**")
        await expect(chat.text.locator("strong")).to_have_text("doctor")
        await expect(chat.page.locator("#stop")).to_be_visible()
        await chat.finished(4, "You could 👩‍🚀 be a **doctor**.")
        await expect(chat.text).to_have_text("You could 👩‍🚀 be a doctor.")
        await expect(chat.text.locator(".caret")).to_have_count(0)
        await expect(chat.page.locator("#send")).to_be_visible()
        assert await chat.page.title() == "Which career? · ATMA"
        assert chat.page.url.endswith(f"#{TALK}")

    play(stage, scenario, messages={TALK: []})


def test_another_model_goes_on_below_a_note_and_takes_away_only_what_it_replaces(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.delta(0, "Nurses help people, and")
        await expect(chat.text).to_have_text("Nurses help people, and")
        await chat.line.say(
            "generation.switched",
            position="e:4",
            generation=GENERATION,
            attempt=2,
            from_model="qwen/qwen3:free",
            to_model="meta/llama:free",
            cause="stall_timeout",
            keep=19,
        )
        await expect(chat.answer.locator(".notes")).to_have_text(
            "qwen3 stopped in the middle; llama went on."
        )
        await expect(chat.answer.locator(".model")).to_have_text("llama")
        await expect(chat.text).to_have_text("Nurses help people, and")
        # the older attempt's text still counts until the newer one's begins
        await chat.delta(23, " so")
        await expect(chat.text).to_have_text("Nurses help people, and so")
        await chat.delta(18, " every day.", attempt=2)
        await expect(chat.text).to_have_text("Nurses help people every day.")
        await chat.delta(23, " too late", attempt=1)
        await chat.delta(29, " Yes.", attempt=2)
        await expect(chat.text).to_have_text("Nurses help people every day. Yes.")

    play(stage, scenario, messages={TALK: []})


def test_a_notice_is_shown_until_text_comes(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.line.say(
            "interim", generation=GENERATION, phase="waiting", text="Still thinking about it."
        )
        notice = chat.answer.locator(".waiting")
        await expect(notice).to_have_text("Still thinking about it.")
        await expect(chat.page.locator("#announcer")).to_contain_text("Still thinking about it.")
        await chat.line.say(
            "delta", generation=GENERATION, attempt=1, at=0, text="Let me see", kind="reasoning"
        )
        await expect(chat.answer.locator(".thinking summary")).to_be_visible()
        await expect(notice).to_be_visible()
        await chat.delta(0, "Well, ")
        await expect(notice).to_be_hidden()
        await chat.line.say("interim", generation=GENERATION, phase="stalled", text="One moment.")
        await expect(notice).to_have_text("One moment.")
        await chat.finished(4, "Well, yes.")
        await expect(notice).to_be_hidden()
        await expect(chat.answer.locator(".thinking")).to_be_hidden()

    play(stage, scenario, messages={TALK: []})


def test_stop_is_asked_once_and_what_was_shown_is_kept(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.delta(0, "First of all")
        await chat.page.click("#stop")
        command = await chat.line.expect("generation.stop")
        assert command["generation"] == GENERATION
        await expect(chat.page.locator("#stop")).to_be_disabled()
        await chat.line.say("ack", re=command["id"], generation=GENERATION)
        kept = message(3, "First of all", parent=2) | {"metadata": {"status": "cancelled"}}
        await chat.finished(4, None, status="cancelled", message=kept)
        await expect(chat.answer.locator(".ending")).to_have_text("Stopped")
        await expect(chat.text).to_have_text("First of all")

    play(stage, scenario, messages={TALK: []})


def test_an_answer_given_again_stands_in_the_place_of_the_old_one(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.text).to_have_text("Old answer")
        await chat.page.click("[aria-label='Regenerate answer']")
        command = await chat.line.expect("message.regenerate")
        assert command["message"] == ANSWER
        await chat.line.say("ack", re=command["id"], generation=GENERATION, duplicate=False)
        await chat.started(1, message=ident(5))
        await chat.delta(0, "New")
        await expect(chat.answers).to_have_count(1)
        await expect(chat.text).to_have_text("New")
        await chat.finished(2, None, message=message(5, "New answer", parent=2))
        await expect(chat.answer.locator(".pager")).to_have_text("2 / 2")
        await chat.page.click("[aria-label='Previous answer']")
        await expect(chat.text).to_have_text("Old answer")
        # who goes on from the old one says so
        command = await chat.ask("And then?")
        assert command["conversation"] == TALK
        assert command["parent_message_id"] == ANSWER

    play(stage, scenario, path=f"#{TALK}", **a_talk())


def test_a_question_without_an_answer_can_be_asked_again(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        error = {"code": "all_models_failed", "message": "No model could answer."}
        await chat.finished(4, None, status="failed", error=error)
        note = chat.page.locator(".unanswered")
        await expect(note).to_contain_text("No model could answer.")
        await note.locator("button").click()
        command = await chat.line.expect("message.regenerate")
        assert command["message"] == QUESTION
        await expect(note.locator("button")).to_be_disabled()
        await chat.line.say(
            "error", re=command["id"], code="too_many_generations", message="Too many at once."
        )
        await expect(chat.page.locator(".toast.error")).to_contain_text("Too many at once.")
        await expect(note.locator("button")).to_be_enabled()

    play(stage, scenario, messages={TALK: []})


def test_a_refused_message_is_kept_for_another_try(stage: Stage):
    async def scenario(chat: Chat) -> None:
        first = await chat.ask("Again and again")
        await chat.line.say(
            "error", re=first["id"], code="rate_limited", message="Too many messages.", retry_after_ms=41_000
        )
        question = chat.page.locator(".question")
        await expect(question.locator(".reason")).to_have_text("Not sent. Too many messages.")
        await question.get_by_role("button", name="Try again").click()
        second = await chat.line.expect("message.send")
        assert second["client_message_id"] == first["client_message_id"]
        await chat.line.say(
            "error", re=second["id"], code="content_rejected", message="Not that.", retryable=False
        )
        await question.get_by_role("button", name="Discard").click()
        await expect(question).to_have_count(0)

    play(stage, scenario)


def test_trouble_of_the_moment_is_waited_out_without_a_word(stage: Stage):
    async def scenario(chat: Chat) -> None:
        first = await chat.ask("Hello?")
        await chat.line.say(
            "error", re=first["id"], code="unavailable", message="Not now.", retry_after_ms=10
        )
        second = await chat.line.expect("message.send")
        assert (second["client_message_id"], second["content"]) == (first["client_message_id"], "Hello?")
        await expect(chat.page.locator(".question")).to_have_text("Hello?Sending…")

    play(stage, scenario, script="Math.random = () => 0")


def test_only_what_the_server_takes_can_be_sent(stage: Stage):
    async def scenario(chat: Chat) -> None:
        send = chat.page.locator("#send")
        await expect(send).to_be_disabled()
        await chat.page.fill("#message", "   \n ")
        await expect(send).to_be_disabled()
        await chat.page.fill("#message", "😀" * 4000)
        await expect(send).to_be_enabled()
        await expect(chat.page.locator("#count")).to_have_text("4000 / 4000")
        await chat.page.fill("#message", "😀" * 4001)
        await expect(send).to_be_disabled()
        await chat.page.fill("#message", "line")
        await chat.page.press("#message", "Shift+Enter")
        await chat.page.keyboard.type("break")
        await chat.page.press("#message", "Enter")
        command = await chat.line.expect("message.send")
        assert command["content"] == "line\nbreak"

    play(stage, scenario)
