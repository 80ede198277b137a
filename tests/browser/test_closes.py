"""What the page does when the server closes: it resumes, waits or stops, as the code says."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.chat import AT_ONCE, COUNTED, Chat, freeze, play, sockets
from tests.browser.stage import Stage

LATEST = "Math.random = () => 0.999999;"


def test_most_closes_are_resumed(stage: Stage):
    async def scenario(chat: Chat) -> None:
        for code in (1000, 1001, 1011, 1012, 4000, 4001, 4008, 4011, 4321, 3000):
            await chat.line.close(code)
            assert (await chat.again("live", "e:0"))["position"] == "e:0"
            await expect(chat.banner).to_be_hidden()

    play(stage, scenario, script=AT_ONCE)


def test_some_closes_are_the_end_until_the_user_says_otherwise(stage: Stage):
    closes = {
        1009: "too long",
        4002: "could not read",
        4003: "signed out",
        4005: "revoked",
        4006: "out of date",
        4500: "ended the connection",
        4999: "ended the connection",
    }

    async def scenario(chat: Chat) -> None:
        for code, words in closes.items():
            await freeze(chat.page)
            before = await sockets(chat.page)
            await chat.line.close(code)
            # two codes have the same words: they may still be those of the close before
            await expect(chat.connection).to_have_attribute("data-state", "stopped")
            await expect(chat.banner).to_contain_text(words)
            await chat.page.clock.run_for(600_000)
            await chat.page.evaluate("dispatchEvent(new Event('online'))")
            assert await sockets(chat.page) == before
            await chat.page.locator("#banner-action").click()
            chat.line = await chat.server.line()
            await chat.line.admit()

    play(stage, scenario, script=AT_ONCE + COUNTED)


def test_a_command_that_ended_the_line_is_not_said_again(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.ask("Something unreadable")
        await chat.line.close(4002)
        await expect(chat.page.locator(".question .reason")).to_contain_text("Not sent.")
        await chat.page.get_by_role("button", name="Reconnect").click()
        await chat.again("live", "e:0")
        await expect(chat.connection).to_have_attribute("data-state", "synced")
        await expect(chat.banner).to_be_hidden()
        assert chat.line.unread() == []

    play(stage, scenario, script=AT_ONCE)


def test_one_session_too_many_stays_away_for_half_a_minute(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await freeze(chat.page)
        await chat.line.close(4010)
        await expect(chat.connection).to_contain_text("Reconnecting in 30 s")
        await chat.page.clock.run_for(29_900)
        await chat.page.evaluate("dispatchEvent(new Event('online'))")
        assert await sockets(chat.page) == 1
        await chat.page.clock.run_for(200)
        await chat.again("live", "e:0")

    play(stage, scenario, script=AT_ONCE + COUNTED)


def test_the_back_off_doubles_and_begins_anew_after_half_a_minute_of_health(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await freeze(chat.page)
        for tries, delay in enumerate((500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000), 1):
            await chat.line.close(4000)
            await expect(chat.connection).to_have_attribute("data-state", "waiting")
            await chat.page.clock.run_for(delay - 2)
            assert await sockets(chat.page) == tries
            await chat.page.clock.run_for(3)
            assert await sockets(chat.page) == tries + 1
            await chat.again("live", "e:0")
            await expect(chat.connection).to_have_attribute("data-state", "synced")
        await chat.page.clock.run_for(30_001)
        await chat.line.close(4000)
        await expect(chat.connection).to_have_attribute("data-state", "waiting")
        await chat.page.clock.run_for(501)
        await chat.again("live", "e:0")

    play(stage, scenario, script=LATEST + COUNTED)


@pytest.mark.parametrize("closes", [True, False])
def test_a_server_that_restarts_is_left_when_it_says(stage: Stage, closes: bool):
    async def scenario(chat: Chat) -> None:
        await freeze(chat.page)
        await chat.line.say("drain", reconnect_in_ms=1730)
        if closes:
            await chat.line.close(1012)
            await expect(chat.connection).to_have_attribute("data-state", "waiting")
        else:
            await chat.line.say("notification", position="e:1")
            await expect(chat.page.locator(".toast")).to_be_visible()
        await chat.page.clock.run_for(1600)
        assert await sockets(chat.page) == 1
        await chat.page.clock.run_for(200)
        await chat.again("live", "e:0" if closes else "e:1")
        await chat.page.clock.run_for(5000)
        assert await sockets(chat.page) == 2

    play(stage, scenario, script=LATEST + COUNTED)
