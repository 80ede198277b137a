"""How the page looks: on a phone and on a desktop, by day and by night."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from tests.browser.chat import TALK, Chat, a_talk, play
from tests.browser.scripted_server import conversation, message
from tests.browser.stage import Stage

_PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 700}, "has_touch": True}


def test_on_a_phone_the_list_is_a_drawer(stage: Stage):
    async def scenario(chat: Chat) -> None:
        sidebar = chat.page.locator("#sidebar")
        await expect(sidebar).not_to_be_in_viewport()
        await chat.page.get_by_role("button", name="Open the list of conversations").click()
        await expect(sidebar).to_be_in_viewport()
        await expect(chat.page.locator("#close-sidebar")).to_be_focused()
        await chat.page.keyboard.press("Escape")
        await expect(sidebar).not_to_be_in_viewport()
        await expect(chat.page.locator("#open-sidebar")).to_be_focused()
        await chat.page.keyboard.press("Enter")
        await chat.page.get_by_role("link", name="A talk").click()
        await expect(sidebar).not_to_be_in_viewport()
        await expect(chat.text).to_have_text("Old answer")

    play(stage, scenario, options=_PHONE, **a_talk())


def test_nothing_is_wider_than_the_screen(stage: Stage):
    wide = (
        f"# {'W' * 80}\n\n{'unbroken' * 40}\n\n| {' | '.join(['a column'] * 12)} |\n|{'--|' * 12}\n\n"
        f"```\n{'x' * 300}\n```\n\n- {'y' * 200}\n\nhttps://example.com/{'z' * 200}"
    )
    history = [message(2, "Q" * 300, sender="user"), message(3, wide, parent=2)]

    async def scenario(chat: Chat) -> None:
        await expect(chat.text.locator("table")).to_be_attached()
        for selector in ("html", "body", "#main", "#scroller", "#thread"):
            over = await chat.page.evaluate(
                "(selector) => { const e = document.querySelector(selector); return e.scrollWidth - e.clientWidth; }",
                selector,
            )
            assert over <= 0, selector

    talk = {"conversations": [conversation(1, "T" * 200)], "messages": {TALK: history}}
    for width in (360, 760, 1280):
        play(stage, scenario, path=f"#{TALK}", options={"viewport": {"width": width, "height": 700}}, **talk)


def test_words_stand_out_from_what_is_behind_them_by_day_and_by_night(stage: Stage):
    contrast = """() => {
        const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const rgb = (color, under = [255, 255, 255]) => {
            paint.fillStyle = `rgb(${under})`;
            paint.fillRect(0, 0, 1, 1);
            paint.fillStyle = color;
            paint.fillRect(0, 0, 1, 1);
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        const behind = (node) => {
            const above = [];
            for (let each = node; each; each = each.parentElement) above.unshift(getComputedStyle(each).backgroundColor);
            return above.reduce((under, color) => rgb(color, under), [255, 255, 255]);
        };
        const light = (color) => {
            const [r, g, b] = color.map((part) => part / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const faint = [];
        for (const node of document.querySelectorAll("body *")) {
            const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
            if (!own || node.closest(":disabled") || !node.checkVisibility() || !node.getClientRects().length) continue;
            const under = behind(node);
            const [a, b] = [light(rgb(getComputedStyle(node).color, under)), light(under)];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) faint.push([node.outerHTML.slice(0, 80), ratio]);
        }
        return faint;
    }"""

    async def scenario(chat: Chat) -> None:
        await expect(chat.text).to_contain_text("quoted")
        await chat.line.say("notification", position="e:1")
        command = await chat.ask("Again")
        await chat.line.say(
            "error", re=command["id"], code="rate_limited", message="Slowly.", retry_after_ms=9_000
        )
        await expect(chat.page.locator(".reason")).to_be_visible()
        await chat.line.close(4003)
        await expect(chat.banner).to_be_visible()
        assert await chat.page.evaluate(contrast) == []

    answer = (
        "[link](https://x.example) `code`\n\n> quoted\n\n| a |\n|---|\n| b |\n\n```js\nlet\n```\n\n1. one"
    )
    history = [
        message(2, "Q", sender="user"),
        message(3, answer, parent=2) | {"metadata": {"status": "cancelled", "model": "a/b"}},
    ]
    for scheme in ("light", "dark"):
        play(
            stage,
            scenario,
            path=f"#{TALK}",
            options={"color_scheme": scheme},
            conversations=[conversation(1, "A talk")],
            messages={TALK: history},
        )
