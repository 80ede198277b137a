"""Prompts for generations: from the history an accepted turn brought, or read again for a successor."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.codes import ErrorCode
from server.conversations import welcome
from server.conversations.context import build_prompt
from server.conversations.models import Catalogue
from server.conversations.store import (
    ConversationRow,
    ConversationStore,
    MessageRow,
    NotFound,
    StoreUnavailable,
)
from server.conversations.tokens import MESSAGE_OVERHEAD, Calibration, estimate_text
from server.generations.order import EndUnavailable, Opening, Prompt, PromptFor, PromptImpossible


class Prompts:
    """Builds prompts. `history_tokens` bounds the history in a prompt."""

    def __init__(
        self, store: ConversationStore, catalogue: Catalogue, calibration: Calibration, *, history_tokens: int
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._calibration = calibration
        self.history_tokens = history_tokens

    def of(self, conversation: ConversationRow, history: Sequence[MessageRow]) -> PromptFor:
        """The prompt of a question whose history is at hand: oldest first, the question last."""

        def prompt(model: str) -> Prompt:
            built = build_prompt(
                context_type=conversation.context_type,
                context_data=conversation.context_data,
                history=history,
                history_tokens=self.history_tokens,
                factor=self._calibration.factor(model),
                free_model=self._catalogue.is_free(model),
                takes_images=self._catalogue.takes_images(model),
            )
            return Prompt(messages=built.messages, tokens=built.estimated_tokens)

        return prompt

    def of_opening(self, conversation: ConversationRow) -> PromptFor:
        """The prompt of a welcome: what is known, and what is to be written, but no question."""
        ask = welcome.instruction(conversation.context_data)
        told = self.of(conversation, ())

        def prompt(model: str) -> Prompt:
            known = told(model)
            return Prompt(
                messages=(*known.messages, {"role": "user", "content": ask}),
                tokens=known.tokens + estimate_text(ask) + MESSAGE_OVERHEAD,
            )

        return prompt

    async def opening(self, user: str, conversation: str) -> Opening:
        """See `PromptSource.opening`."""
        try:
            row = await self._store.conversation(user, conversation)
        except NotFound as error:
            raise PromptImpossible(ErrorCode.NOT_FOUND) from error
        except StoreUnavailable as error:
            raise EndUnavailable from error
        return welcome.opening(row.context_data)

    async def load(self, user: str, conversation: str, reply_to: str | None) -> PromptFor:
        """See `PromptSource.load`."""
        try:
            row = await self._store.conversation(user, conversation)
            if reply_to is None:
                return self.of_opening(row)
            history = await self._store.history(user, reply_to, tokens=self.history_tokens)
        except NotFound as error:
            raise PromptImpossible(ErrorCode.NOT_FOUND) from error
        except StoreUnavailable as error:
            raise EndUnavailable from error
        return self.of(row, history)
