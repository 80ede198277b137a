"""A page in the middle of a chat: the words in which its tests are written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.scripted_server import Line, ScriptedServer, conversation, ident, message, scripted_server
from tests.browser.stage import Stage

TALK, QUESTION, ANSWER, GENERATION = ident(1), ident(2), ident(3), ident(4)


class Chat:
    """A page, the server it talks to, and the first line between them, welcomed."""

    def __init__(self, server: ScriptedServer, page: Page, line: Line) -> None:
        self.server = server
        self.page = page
        self.line = line
        self.answers = page.locator(".answer")
        self.answer = self.answers.last
        self.text = self.answer.locator(".markdown")
        self.connection = page.locator("#connection")
        self.banner = page.locator("#banner")

    async def ask(self, text: str) -> dict[str, Any]:
        """Write something and send it; returns the command."""
        await self.page.fill("#message", text)
        await self.page.press("#message", "Enter")
        return await self.line.expect("message.send")

    async def begin(self, text: str = "Which career?", *, at: int = 1) -> None:
        """A question, accepted, whose answer has begun; takes four positions from `at` on."""
        command = await self.ask(text)
        await self.line.say("conversation.created", position=f"e:{at}", conversation=conversation(1, text))
        await self.line.say(
            "message.created",
            position=f"e:{at + 1}",
            conversation=TALK,
            message=message(2, text, sender="user"),
            client_message_id=command["client_message_id"],
        )
        await self.started(at + 2)
        await self.line.say(
            "ack",
            re=command["id"],
            conversation=TALK,
            message=QUESTION,
            generation=GENERATION,
            duplicate=False,
        )

    async def started(self, at: int, **fields: Any) -> None:
        """An answer begins."""
        await self.line.say("generation.started", position=f"e:{at}", **{**GENERATING, **fields})

    async def delta(self, at: int, text: str, attempt: int = 1, generation: str = GENERATION) -> None:
        """A piece of the answer."""
        await self.line.say("delta", generation=generation, attempt=attempt, at=at, text=text)

    async def finished(self, at: int, content: str | None, **fields: Any) -> None:
        """The answer's end."""
        body = {
            "position": f"e:{at}",
            "generation": GENERATION,
            "conversation": TALK,
            "status": "completed",
            "message": None if content is None else message(3, content, parent=2),
            "error": None,
        }
        await self.line.say("generation.finished", **{**body, **fields})

    async def again(self, resume: str = "live", position: str = "e:3") -> dict[str, Any]:
        """The page's next line, welcomed; returns what it presented."""
        self.line = await self.server.line()
        hello = await self.line.admit(resume, position)
        presented: dict[str, Any] = hello["resume"]
        return presented


AT_ONCE = "Math.random = () => 0;"
"""A script: no back-off."""

COUNTED = """
    window.sockets = window.heard = 0;
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            window.sockets += 1;
            this.addEventListener("message", () => { window.heard += 1; });
        }
    };
"""
"""A script: `sockets` counts connections tried, `heard` frames that came."""

GENERATING: dict[str, Any] = {
    "generation": GENERATION,
    "conversation": TALK,
    "message": ANSWER,
    "reply_to": QUESTION,
    "model": "qwen/qwen3:free",
    "attempt": 1,
}


def play(stage: Stage, scenario: Callable[[Chat], Awaitable[None]], *, path: str = "", **fields: Any) -> None:
    """Run a scenario with a page that has just been welcomed."""

    async def go() -> None:
        async with opened(stage, path=path, **fields) as chat:
            await scenario(chat)

    stage.run(go())


@contextlib.asynccontextmanager
async def opened(
    stage: Stage, *, path: str = "", options: dict[str, Any] | None = None, script: str = "", **fields: Any
) -> AsyncIterator[Chat]:
    """A page at a path, welcomed; `options` are the browser's, `script` runs before the page's own."""
    async with (
        scripted_server(**fields) as server,
        stage.page(server.address, path, script=script, **(options or {})) as page,
    ):
        line = await server.line()
        hello = await line.admit()
        assert hello["token"] == "token-1"
        chat = Chat(server, page, line)
        await expect(chat.connection).to_have_attribute("data-state", "synced")
        yield chat


def a_talk() -> dict[str, Any]:
    """A conversation with one question and its answer, as REST tells it."""
    history = [message(2, "Old question", sender="user"), message(3, "Old answer", parent=2)]
    return {"conversations": [conversation(1, "A talk")], "messages": {TALK: history}}


async def freeze(page: Page) -> None:
    """Stop the page's clock: it goes on by `page.clock.run_for` alone. What is drawn waits for it too."""
    await page.clock.install()
    now = await page.evaluate("Date.now()")
    await page.clock.pause_at(datetime.fromtimestamp(now / 1000 + 1, tz=UTC))


async def sockets(page: Page) -> int:
    """How many connections the page has tried to make."""
    count: int = await page.evaluate("window.sockets")
    return count
