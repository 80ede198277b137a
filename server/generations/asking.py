"""The call of a model: the prompt, the stream, and what is read of it.

One call at a time. A call is wanted from the moment the machine asks for it until it asks for something else;
what an unwanted one still says is void, also before its connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from protocol.codes import ErrorCode
from server.generations import continuation
from server.generations.effects import Fact, OpenUpstream, PromptBuilt, PromptFailed, PromptPending
from server.generations.house import House
from server.generations.order import (
    EndUnavailable,
    GenerationOrder,
    Opening,
    Prompt,
    PromptFor,
    PromptImpossible,
)
from server.generations.upstream import Done, Failed, FailureKind, Finish, Text, UpstreamRequest

log = logging.getLogger(__name__)

_BACKLOG_CHARS = 64 * 1024
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Asking:
    """The calls of one generation, one after the other; `hear` takes their facts."""

    def __init__(self, order: GenerationOrder, house: House, hear: Callable[[Fact], None]) -> None:
        self._order = order
        self._house = house
        self._hear = hear
        self._wanted: OpenUpstream | None = None
        self._reader: asyncio.Task[None] | None = None
        self._prompt: PromptFor | None = order.prompt
        self._opening: Opening | None = None
        self._backlog = 0
        self._room = asyncio.Event()
        self._room.set()

    def want(self, call: OpenUpstream | None) -> None:
        """From now on only this call counts, or none."""
        self._wanted = call

    # --- the store is slower than the model ---------------------------------------------------

    def queued(self, chars: int) -> None:
        """So much text waits to be written; beyond a bound the model is not read any more."""
        self._backlog += chars
        if self._backlog > _BACKLOG_CHARS:
            self._room.clear()

    def written(self, chars: int) -> None:
        """So much of it was."""
        self._backlog -= chars
        if self._backlog <= _BACKLOG_CHARS // 2:
            self._room.set()

    # --- the call -----------------------------------------------------------------------------

    def open(self, call: OpenUpstream) -> None:
        """Ask, and read, beside the caller; nothing where the call is not wanted any more."""
        if call is self._wanted:
            self._reader = asyncio.create_task(self._ask(call), name=f"ask {self._order.generation}")

    async def close(self) -> None:
        """Close the connection now."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            self._room.set()
            # not awaited itself: a cancellation of the one who waits would look like the reader's
            await asyncio.wait([reader])

    async def opening(self) -> Opening:
        """What is known of an answer that nobody asked for; the database is waited for.

        Raises:
            PromptImpossible: its conversation is gone.
        """
        pause = _FIRST_PAUSE
        while self._opening is None:
            try:
                self._opening = await self._house.prompts.opening(self._order.user, self._order.conversation)
            except EndUnavailable:
                self._hear(PromptPending())
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        return self._opening

    async def _ask(self, call: OpenUpstream) -> None:
        try:
            if call.model == self._order.plan.last_resort:
                await self._say(call)
                return
            prompt = await self._prompt_for(call)
        except Exception:
            log.exception("a prompt could not be built", extra={"generation": self._order.generation})
            if call is self._wanted:
                self._hear(PromptFailed(ErrorCode.INTERNAL))
            return
        if prompt is None or call is not self._wanted:
            return
        self._hear(PromptBuilt(prompt.tokens))
        request = UpstreamRequest(
            model=call.model,
            messages=continuation.messages(prompt.messages, call.partial, call.continuation),
            max_tokens=call.max_tokens,
            temperature=self._order.plan.temperature,
            user=self._order.user,
            session=self._order.conversation,
            request_id=self._order.request_id,
            connect_seconds=self._house.limits.connect_seconds,
        )
        await self._read(request, call)

    async def _say(self, call: OpenUpstream) -> None:
        """No model answers: the house says itself what is to be said."""
        try:
            opening = await self.opening()
        except PromptImpossible as impossible:
            self._hear(PromptFailed(impossible.code))
            return
        for fact in (Text(opening.text), Finish("stop", None), Done()):
            if call is self._wanted:
                self._hear(fact)

    async def _prompt_for(self, call: OpenUpstream) -> Prompt | None:
        pause = _FIRST_PAUSE
        while call is self._wanted:
            try:
                if self._prompt is None:
                    self._prompt = await self._house.prompts.load(
                        self._order.user, self._order.conversation, self._order.reply_to
                    )
                return self._prompt(call.model)
            except PromptImpossible as impossible:
                self._hear(PromptFailed(impossible.code))
                return None
            except EndUnavailable:
                self._hear(PromptPending())
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        return None

    async def _read(self, request: UpstreamRequest, call: OpenUpstream) -> None:
        hear = self._hear
        try:
            async with aclosing(self._house.upstream.stream(request)) as stream:
                async for facts in stream:
                    for fact in facts:
                        if call is not self._wanted:
                            return
                        hear(fact)
                    if not self._room.is_set():
                        await self._room.wait()
        except Exception:
            log.exception("reading a model failed", extra={"generation": self._order.generation})
            if call is self._wanted:
                hear(Failed(FailureKind.UPSTREAM_ERROR, detail="reader"))
