"""Finding, reading and being told: the list, the history, the scrolling, the keyboard, the spoken words."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.browser.chat import AT_ONCE, GENERATION, TALK, Chat, a_talk, play
from tests.browser.scripted_server import conversation, ident, message
from tests.browser.stage import Stage


async def said(page: Page) -> list[str]:
    """What a screen reader was told so far."""
    words: list[str] = await page.locator("#announcer p").all_inner_texts()
    return words


def test_conversations_are_listed_newest_first_and_open_by_their_address(stage: Stage):
    talks = [conversation(10 + number, f"Talk {number}") for number in range(40)]
    for number, talk in enumerate(talks):
        talk["updated_at"] = f"2026-03-01T08:00:{59 - number:02d}.000Z"

    async def scenario(chat: Chat) -> None:
        links = chat.page.locator("#conversations a")
        await expect(links).to_have_count(30)
        await expect(links.first).to_have_text("Talk 0")
        await chat.page.get_by_role("button", name="Show more").click()
        await expect(links).to_have_count(40)
        await expect(chat.page.locator("#more-conversations")).to_be_hidden()
        await links.nth(3).click()
        await expect(chat.page.locator("#title")).to_have_text("Talk 3")
        await expect(links.nth(3)).to_have_attribute("aria-current", "page")
        await expect(chat.text).to_have_text("Answer of talk 3")
        await chat.page.get_by_role("button", name="New conversation").click()
        await expect(chat.page.locator("#welcome")).to_be_visible()
        await chat.page.go_back()
        await expect(chat.text).to_have_text("Answer of talk 3")
        # one that happened elsewhere moves up
        question = message(70, "New here", sender="user")
        await chat.line.say(
            "message.created",
            position="e:1",
            conversation=ident(19),
            message=question,
            client_message_id=None,
        )
        await expect(links.first).to_have_text("Talk 9")
        await chat.line.say("conversation.deleted", position="e:2", conversation={"id": ident(13)})
        await expect(links).to_have_count(39)
        await expect(chat.page.locator("#welcome")).to_be_visible()

    messages = {talk["id"]: [message(60, f"Answer of talk {number}")] for number, talk in enumerate(talks)}
    play(stage, scenario, conversations=talks, messages=messages)


def test_earlier_messages_come_above_and_push_nothing_away(stage: Stage):
    history = [
        message(
            10 + number,
            f"Message {number}",
            sender="user" if number % 2 == 0 else "assistant",
            parent=9 + number,
        )
        for number in range(120)
    ]

    async def scenario(chat: Chat) -> None:
        shown = chat.page.locator("#thread article")
        await expect(shown).to_have_count(50)
        await expect(shown.last).to_be_in_viewport()
        more = chat.page.get_by_role("button", name="Earlier messages")
        await chat.page.evaluate("document.getElementById('scroller').scrollTop = 0")
        first = chat.page.get_by_text("Message 70", exact=True)
        await expect(first).to_be_in_viewport()
        before = await first.bounding_box()
        await more.click()
        await expect(shown).to_have_count(100)
        after = await first.bounding_box()
        assert before is not None
        assert after is not None
        assert abs(before["y"] - after["y"]) < 2
        await more.click()
        await expect(shown).to_have_count(120)
        await expect(more).to_have_count(0)

    play(stage, scenario, path=f"#{TALK}", conversations=[conversation(1, "Long")], messages={TALK: history})


def test_the_end_stays_in_sight_unless_the_reader_has_gone_up(stage: Stage):
    long = "\n\n".join(f"Paragraph {number}" for number in range(60))

    async def scenario(chat: Chat) -> None:
        await chat.begin()
        latest = chat.page.get_by_role("button", name="Go to the newest message")
        await chat.delta(0, long)
        await expect(chat.page.get_by_text("Paragraph 59")).to_be_in_viewport()
        await expect(latest).to_be_hidden()
        await chat.page.evaluate("document.getElementById('scroller').scrollTop = 0")
        await expect(latest).to_be_visible()
        await chat.delta(len(long), "\n\nThe end of it")
        await expect(chat.page.get_by_text("The end of it")).to_be_attached()
        await expect(chat.page.locator(".question")).to_be_in_viewport()
        await latest.click()
        await expect(chat.page.get_by_text("The end of it")).to_be_in_viewport()

    play(stage, scenario, messages={TALK: []})


def test_an_answer_is_read_out_block_by_block_and_once(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        growing = ((0, "First.\n\nSec"), (11, "ond.\n\nThi"), (20, "rd **one"), (28, "**."))
        for (at, text), end in zip(growing, ("Sec", "Thi", "Third one", "Third one."), strict=True):
            await chat.delta(at, text)
            await expect(chat.text.locator("p").last).to_have_text(end)
        await expect(chat.page.locator("#announcer")).to_have_text("First.")
        await chat.finished(4, "First.\n\nSecond.\n\nThird **one**.")
        await expect(chat.page.locator("#announcer p")).to_have_count(3)
        assert await said(chat.page) == ["First.", "Second.", "Third one."]
        await expect(chat.answer).to_have_attribute("aria-busy", "false")

    play(stage, scenario, messages={TALK: []})


def test_history_is_not_read_out(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.text).to_have_text("Old answer")
        await chat.line.say("interim", generation=GENERATION, text="For another conversation")
        await chat.line.say("notification", position="e:1")
        await expect(chat.page.locator(".toast")).to_be_visible()
        assert await said(chat.page) == []

    play(stage, scenario, path=f"#{TALK}", **a_talk())


def test_a_notification_is_told_with_its_progress(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.line.say("notification", position="e:1")
        toast = chat.page.get_by_role("status").filter(has_text="Career adviser ready")
        await expect(toast).to_contain_text("Your results are in.")
        await expect(toast.locator("progress")).to_have_attribute("value", "100")
        await toast.get_by_role("button", name="Dismiss").click()
        await expect(toast).to_have_count(0)

    play(stage, scenario)


def test_suggested_questions_can_be_asked_by_a_press(stage: Stage):
    welcome = message(2, "Welcome!") | {"metadata": {"suggested_questions": ["What suits me?", "Why?"]}}

    async def scenario(chat: Chat) -> None:
        await chat.page.get_by_role("button", name="What suits me?").click()
        command = await chat.line.expect("message.send")
        assert (command["content"], command["conversation"]) == ("What suits me?", TALK)
        await expect(chat.page.locator(".chip")).to_have_count(0)

    play(
        stage,
        scenario,
        path=f"#{TALK}",
        conversations=[conversation(1, "A talk")],
        messages={TALK: [welcome]},
    )


def test_what_rest_could_not_bring_is_told_and_fetched_again(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.page.get_by_role("alert").filter(has_text="cannot do this").first).to_be_visible()
        await expect(chat.answers).to_have_count(0)
        chat.server.problems.clear()
        chat.line.cut()
        await chat.again("live", "e:0")
        await expect(chat.text).to_have_text("Old answer")
        await expect(chat.page.locator("#title")).to_have_text("A talk")

    problems = {
        "/conversations": 503,
        f"/conversations/{TALK}": 503,
        f"/conversations/{TALK}/messages": 500,
    }
    play(stage, scenario, path=f"#{TALK}", script=AT_ONCE, problems=problems, **a_talk())


def test_a_conversation_that_is_not_there_is_said_to_be_missing(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.page.get_by_role("alert").filter(has_text="not there")).to_be_visible()
        assert chat.server.asked.count(f"/conversations/{ident(77)}/messages") == 1

    play(stage, scenario, path=f"#{ident(77)}")


def test_everything_can_be_done_from_the_keyboard(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.text).to_have_text("Old answer")
        await chat.page.locator("a").first.focus()
        await expect(chat.page.get_by_text("Skip to the message field")).to_be_in_viewport()
        reached = []
        for _ in range(30):
            await chat.page.keyboard.press("Tab")
            name = await chat.page.evaluate(
                "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"
            )
            reached.append(name)
            if await chat.page.evaluate("document.activeElement.id") == "message":
                break
        assert [*reached[:2], *reached[-3:-1]] == [
            "New conversation",
            "A talk",
            "Copy answer",
            "Regenerate answer",
        ]
        await chat.page.keyboard.type("By hand")
        await chat.page.keyboard.press("Tab")
        await expect(chat.page.locator("#send")).to_be_focused()
        await chat.page.keyboard.press("Enter")
        await chat.line.expect("message.send")

    play(stage, scenario, path=f"#{TALK}", **a_talk())


def test_stop_keeps_the_focus_of_who_sent_with_the_button(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.page.fill("#message", "Question")
        await chat.page.focus("#send")
        await chat.page.keyboard.press("Enter")
        command = await chat.line.expect("message.send")
        await chat.line.say(
            "message.created", position="e:1", conversation=TALK, message=message(2, "Question", sender="user"),
            client_message_id=command["client_message_id"],
        )  # fmt: skip
        await chat.started(2)
        await expect(chat.page.locator("#stop")).to_be_visible()
        await expect(chat.page.locator("#message")).to_be_focused()

    play(stage, scenario, messages={TALK: []}, conversations=[conversation(1, "A talk")])


def test_code_and_answers_can_be_copied(stage: Stage):
    answer = "Look:\n\n```python\nprint(1)\n```"
    history = [message(2, "Code?", sender="user"), message(3, answer, parent=2)]

    async def scenario(chat: Chat) -> None:
        await chat.page.get_by_role("button", name="Copy", exact=True).click()
        await expect(chat.page.locator(".copy-code")).to_have_class("copy-code done")
        assert await chat.page.evaluate("navigator.clipboard.readText()") == "print(1)"
        await chat.page.get_by_role("button", name="Copy answer").click()
        await expect(chat.page.locator("[aria-label='Copy answer']")).to_have_class("done")
        assert await chat.page.evaluate("navigator.clipboard.readText()") == answer

    play(
        stage,
        scenario,
        path=f"#{TALK}",
        options={"permissions": ["clipboard-read", "clipboard-write"]},
        conversations=[conversation(1, "A talk")],
        messages={TALK: history},
    )
