"""Who is talking: one demo user for all tabs, a token that is renewed, and what happens when it is not."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.chat import AT_ONCE, TALK, Chat, a_talk, play
from tests.browser.scripted_server import scripted_server
from tests.browser.stage import Stage


def test_a_token_that_is_about_to_end_is_renewed_within_the_session(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.line.say("auth.expiring", expires_in_ms=60_000)
        command = await chat.line.expect("auth")
        assert command["token"] == "token-2"
        assert chat.server.renewals == [None, "Bearer token-1"]
        await chat.line.say("ack", token_expires_at="2026-03-08T09:30:00.000Z")
        chat.line.cut()
        chat.line = await chat.server.line()
        assert (await chat.line.admit("live", "e:0"))["token"] == "token-2"

    play(stage, scenario, script=AT_ONCE)


def test_a_token_that_has_ended_is_replaced_and_the_session_resumed(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await chat.line.close(4004)
        chat.line = await chat.server.line()
        hello = await chat.line.admit("live", "e:0")
        assert hello["token"] == "token-2"
        assert hello["resume"]["position"] == "e:0"
        await expect(chat.banner).to_be_hidden()

    play(stage, scenario, script=AT_ONCE)


def test_a_token_refused_at_the_door_asks_the_user(stage: Stage):
    async def scenario(chat: Chat) -> None:
        chat.line.cut()
        chat.line = await chat.server.line()
        hello = await chat.line.expect("hello")
        await chat.line.say("error", re=hello["id"], code="unauthenticated", message="No.", retryable=False)
        await chat.line.close(4003)
        await chat.page.get_by_role("button", name="Sign in").click()
        chat.line = await chat.server.line()
        hello = await chat.line.admit()
        # somebody new, who has seen nothing
        assert hello["token"] == "token-2"
        assert chat.server.renewals == [None, None]
        assert "position" not in hello["resume"]

    play(stage, scenario, script=AT_ONCE)


def test_another_user_begins_with_an_empty_page(stage: Stage):
    async def scenario(chat: Chat) -> None:
        await expect(chat.text).to_have_text("Old answer")
        chat.server.user = "3f0f9c4e-6d1b-4c3a-8f3e-2b1a0c9d8e7f"
        chat.server.messages.clear()
        chat.server.conversations.clear()
        await chat.line.close(4004)
        chat.line = await chat.server.line()
        hello = await chat.line.admit()
        assert hello["resume"] == {"texts": {}}
        await expect(chat.answers).to_have_count(0)
        await expect(chat.page.locator("#welcome")).to_be_visible()
        await expect(chat.page.get_by_text("A talk")).to_have_count(0)

    play(stage, scenario, path=f"#{TALK}", script=AT_ONCE, **a_talk())


def test_tabs_are_one_user_and_two_sessions(stage: Stage):
    async def go() -> None:
        async with scripted_server() as server, stage.profile(server.address) as open_page:
            pages = [await open_page(""), await open_page("")]
            hellos = [await (await server.line()).admit() for _ in pages]
            assert [hello["token"] for hello in hellos] == ["token-1", "token-1"]
            assert ["session" in hello["resume"] for hello in hellos] == [False, False]
            for page in pages:
                await expect(page.locator("#connection")).to_have_attribute("data-state", "synced")
            assert server.renewals == [None]

    stage.run(go())


def test_a_server_without_tokens_is_asked_again_and_one_without_a_demo_is_not(stage: Stage):
    async def go() -> None:
        async with (
            scripted_server(token_status=503) as server,
            stage.page(server.address, script=AT_ONCE) as page,
        ):
            await expect(page.locator("#connection")).to_contain_text("Connecting…")
            while len(server.renewals) < 3:
                await page.wait_for_event("response", lambda response: response.url.endswith("/demo/token"))
            server.token_status = 404
            await expect(page.locator("#banner")).to_contain_text("signed out")
            server.token_status = 201
            await page.get_by_role("button", name="Sign in").click()
            await (await server.line()).admit()

    stage.run(go())


def test_the_token_stays_out_of_addresses(stage: Stage):
    async def scenario(chat: Chat) -> None:
        addresses = await chat.page.evaluate("performance.getEntries().map(({ name }) => name)")
        assert [address for address in [*addresses, chat.page.url] if "token-" in address] == []

    play(stage, scenario)
