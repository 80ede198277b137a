"""The page when the connection ends, lies still or forgets: it resumes, waits or stops, as the wire says."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.chat import (
    ANSWER,
    AT_ONCE,
    COUNTED,
    GENERATING,
    GENERATION,
    QUESTION,
    TALK,
    Chat,
    a_talk,
    freeze,
    play,
    sockets,
)
from tests.browser.scripted_server import conversation, ident, message
from tests.browser.stage import Stage
from tests.scripted.waiting import eventually

RUNNING: dict[str, Any] = {**GENERATING, "length": 0, "elapsed_ms": 900}


def test_a_cut_in_the_middle_of_an_answer_is_resumed_where_it_was(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.delta(0, "A 👩🏽‍🚀 ", attempt=1)
        await expect(chat.text).to_have_text("A 👩🏽‍🚀 ")
        chat.line.cut()
        chat.line = await chat.server.line()
        hello = await chat.line.welcome("live", "e:3")
        assert hello["resume"] == {
            "session": ident(900_001),
            "position": "e:3",
            "texts": {GENERATION: {"attempt": 1, "at": len("A 👩🏽‍🚀 ")}},
        }
        await chat.line.say("generation.state", **RUNNING)
        await chat.delta(len("A 👩🏽‍🚀 "), "flies.")
        await chat.line.say("synced", position="e:3")
        await expect(chat.text).to_have_text("A 👩🏽‍🚀 flies.")
        await expect(chat.answers).to_have_count(1)

    play(stage, scenario, script=AT_ONCE, messages={TALK: []})


def test_what_happened_meanwhile_is_replayed_and_shown_once(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.delta(0, "Half of")
        await expect(chat.text).to_have_text("Half of")
        chat.line.cut()
        chat.line = await chat.server.line()
        await chat.line.welcome("replay", "e:5")
        await chat.finished(4, "Half of it, and the rest.")
        await chat.line.say(
            "conversation.updated", position="e:5", conversation=conversation(1, "Another title")
        )
        await chat.line.say("synced", position="e:5")
        await expect(chat.text).to_have_text("Half of it, and the rest.")
        await expect(chat.answers).to_have_count(1)
        await expect(chat.page.locator("#title")).to_have_text("Another title")
        assert (await chat_after_cut(chat))["position"] == "e:5"

    play(stage, scenario, script=AT_ONCE, messages={TALK: []})


async def chat_after_cut(chat: Chat) -> dict[str, Any]:
    """Cut the line; what the page presents on the next."""
    chat.line.cut()
    return await chat.again("live", "e:5")


def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin("Which career?")
        await chat.delta(0, "You could 😀 ")
        await expect(chat.text).to_have_text("You could 😀 ")
        await chat.page.fill("#message", "half a tho")
        chat.server.messages[TALK] = [message(2, "Which career?", sender="user")]
        await chat.page.reload()
        # from what this tab kept, before any server has said anything
        await expect(chat.text).to_have_text("You could 😀 ")
        chat.line = await chat.server.line()
        hello = await chat.line.welcome("live", "e:3")
        assert hello["resume"]["position"] == "e:3"
        assert hello["resume"]["texts"] == {GENERATION: {"attempt": 1, "at": 12}}
        assert hello["token"] == "token-1"
        await chat.line.say("generation.state", **RUNNING)
        await chat.delta(12, "fly.")
        await chat.line.say("synced", position="e:3")
        await expect(chat.text).to_have_text("You could 😀 fly.")
        await expect(chat.page.locator(".question")).to_have_count(1)
        await expect(chat.page.locator("#message")).to_have_value("half a tho")
        await chat.finished(4, "You could 😀 fly.")
        await expect(chat.answer).not_to_have_class("answer live")
        await expect(chat.answers).to_have_count(1)

    play(stage, scenario, messages={TALK: []})


@pytest.mark.parametrize("how", ["cut", "reload"])
def test_what_was_said_and_not_acked_is_said_again(stage: Stage, how: str):
    async def scenario(chat: Chat) -> None:
        first = await chat.ask("Did you hear me?")
        await expect(chat.page.locator(".question")).to_contain_text("Sending…")
        if how == "cut":
            chat.line.cut()
        else:
            await chat.page.reload()
        chat.line = await chat.server.line()
        await chat.line.admit("live", "e:0")
        second = await chat.line.expect("message.send")
        assert (second["client_message_id"], second["content"]) == (
            first["client_message_id"],
            first["content"],
        )
        # it had been accepted: the event comes only once
        question = message(2, "Did you hear me?", sender="user")
        chat.server.messages[TALK] = [question]
        await chat.line.say(
            "ack", re=second["id"], conversation=TALK, message=QUESTION, generation=GENERATION, duplicate=True
        )
        await expect(chat.page.locator(".question")).to_have_text("Did you hear me?")
        await expect(chat.page.locator(".question")).to_have_count(1)
        assert chat.line.unread() == []

    play(stage, scenario, script=AT_ONCE, conversations=[conversation(1, "A talk")])


def test_a_position_that_was_given_up_is_made_good_by_rest(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.line.say("conversation.created", position="e:1", conversation=conversation(9, "Soon gone"))
        await expect(chat.page.get_by_text("Soon gone")).to_be_visible()
        await chat.started(2)
        await chat.delta(0, "An answer whose end nobody saw")
        await expect(chat.text).to_contain_text("nobody saw")
        chat.server.messages[TALK].append(message(5, "Asked elsewhere", sender="user", parent=3))
        chat.server.messages[TALK].append(message(6, "Answered elsewhere", parent=5))
        chat.line.cut()
        presented = await chat.again("reset", "f:7")
        assert presented["position"] == "e:2"
        await expect(chat.text).to_have_text("Answered elsewhere")
        await expect(chat.page.get_by_text("Soon gone")).to_have_count(0)
        await expect(chat.page.get_by_text("nobody saw")).to_have_count(0)
        # the new epoch is where it goes on from
        await chat.line.say("conversation.updated", position="f:8", conversation=conversation(1, "New name"))
        await expect(chat.page.locator("#title")).to_have_text("New name")
        chat.line.cut()
        assert (await chat.again("live", "f:8"))["position"] == "f:8"

    play(stage, scenario, path=f"#{TALK}", script=AT_ONCE, **a_talk())


def test_a_log_lost_under_the_session_keeps_what_is_being_written(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.started(1, message=ident(7), reply_to=ANSWER)
        await chat.delta(0, "It goes ", attempt=2)
        await expect(chat.text).to_have_text("It goes ")
        asked = len(chat.server.asked)
        await chat.line.say("reset", position="f:0")
        await chat.line.say("generation.state", **{**RUNNING, "message": ident(7), "reply_to": ANSWER})
        await expect(chat.text).to_have_text("It goes ")
        # whoever tells the text in the new epoch, its attempt counts anew
        await chat.delta(0, "It goes on", attempt=1)
        await chat.line.say("synced", position="f:0")
        await expect(chat.text).to_have_text("It goes on")
        await eventually(
            lambda: {"/conversations", f"/conversations/{TALK}/messages"} <= {*chat.server.asked[asked:]}
        )
        await chat.finished(1, None, position="f:1", message=message(7, "It goes on.", parent=3))
        await expect(chat.text).to_have_text("It goes on.")

    play(stage, scenario, path=f"#{TALK}", **a_talk())


def test_a_text_with_a_hole_is_asked_for_and_one_in_the_log_resumes(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.begin()
        await chat.delta(0, "One ")
        await chat.delta(8, "three")
        command = await chat.line.expect("sync")
        assert command["texts"] == {GENERATION: {"attempt": 1, "at": 4}}
        await chat.delta(13, " four")
        await chat.line.say("ack", position="e:3")
        await chat.line.say("generation.state", **RUNNING)
        await chat.delta(4, "two three")
        await chat.line.say("synced", position="e:3")
        await expect(chat.text).to_have_text("One two three")
        assert chat.line.unread() == []
        await chat.delta(40, "far away")
        await chat.line.expect("sync")
        # an event is missing: nothing but a new session brings it
        await chat.finished(5, "One two three four")
        await chat.line.wait_gone()
        presented = await chat.again("live", "e:3")
        assert presented["position"] == "e:3"
        await expect(chat.text).to_have_text("One two three")

    play(stage, scenario, script=AT_ONCE, messages={TALK: []})


def test_a_synced_beyond_what_came_resumes(stage: Stage):
    async def scenario(chat: Chat) -> None:
        chat.line.cut()
        chat.line = await chat.server.line()
        await chat.line.welcome("replay", "e:2")
        await chat.line.say("synced", position="e:2")
        await chat.line.wait_gone()
        assert (await chat.again("live", "e:0"))["position"] == "e:0"

    play(stage, scenario, script=AT_ONCE)


def test_a_line_that_lies_still_is_left(stage: Stage):
    async def scenario(chat: Chat) -> None:
        chat.line.cut()
        chat.line = await chat.server.line()
        await chat.line.admit("live", "e:0", heartbeat_ms=200)
        silent = chat.line
        assert (await chat.again("live", "e:0"))["position"] == "e:0"
        await silent.wait_gone()
        assert silent.close_code == 1000

    play(stage, scenario, script=AT_ONCE)


def test_heartbeats_keep_a_line(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await freeze(chat.page)
        heard = await chat.page.evaluate("heard")
        for beat in range(1, 5):
            await chat.page.clock.run_for(45_000)  # the welcome said 25 s, so 50 are too long
            await chat.line.say("heartbeat")
            await eventually(lambda: chat.page.evaluate(f"heard === {heard + beat}"))  # noqa: B023
        assert await sockets(chat.page) == 1
        await chat.page.clock.run_for(51_000)
        await chat.line.wait_gone()

    play(stage, scenario, script=AT_ONCE + COUNTED)
