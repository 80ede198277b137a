"""Openings: answers that nobody asked for. The welcome to a conversation about an assessment is one.

An opening is a generation like any other (owner, lease, takeover, fallbacks, bills), with two differences:
it has no question, and where no model says anything usable the house says what it has prepared, so that
there is always one. It counts in no limit of its user.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.codec import encode
from protocol.codes import ErrorCode
from protocol.frames import ConversationCreated
from server.conversations import welcome
from server.conversations.models import Catalogue, ModelChains, choose
from server.conversations.prompts import Prompts
from server.conversations.refusal import Refusal
from server.conversations.store import ConversationRow, ConversationStore, GenerationRow, NotFound
from server.conversations.wire import conversation_body
from server.generations.effects import Plan
from server.generations.order import GenerationOrder, PromptFor
from server.generations.runner import Generations


class Openings:
    """Plans and begins openings; `draining` says whether this node begins nothing any more."""

    def __init__(
        self,
        store: ConversationStore,
        generations: Generations,
        prompts: Prompts,
        chains: ModelChains,
        catalogue: Catalogue,
        *,
        max_tokens: int,
        temperature: float,
        draining: Callable[[], bool],
    ) -> None:
        self._store = store
        self._generations = generations
        self._prompts = prompts
        self._chains = chains
        self._catalogue = catalogue
        self._max_tokens = min(max_tokens, welcome.MAX_TOKENS)
        self._temperature = temperature
        self._draining = draining

    def plan(self, tier: str = "free") -> Plan:
        """What a welcome may do.

        Raises:
            Refusal: draining.
        """
        if self._draining():
            raise Refusal(ErrorCode.DRAINING, "This node is going away; connect again.", retry_after_ms=250)
        chain = choose(self._chains, self._catalogue, tier=tier, wanted=None, with_image=False)
        free = {model for model in chain if self._catalogue.is_free(model)}
        return Plan(
            chain=chain,
            free=frozenset({*free, welcome.LAST_RESORT}),
            fallback="continue",
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            tier=tier,
            last_resort=welcome.LAST_RESORT,
        )

    def begin(
        self, conversation: ConversationRow, generation: GenerationRow, plan: Plan, *, request_id: str
    ) -> None:
        """Begin what was made durable just now."""
        self._begin(conversation, generation, plan, self._prompts.of_opening(conversation), request_id)

    async def resume(self, generation: GenerationRow, plan: Plan) -> None:
        """Begin what a node that died never began; without its conversation it finds that out, and ends.

        Raises:
            StoreUnavailable
        """
        try:
            conversation = await self._store.conversation(generation.user_id, generation.conversation_id)
        except NotFound:
            conversation = None
        self._begin(conversation, generation, plan, None, generation.id)

    def _begin(
        self,
        conversation: ConversationRow | None,
        generation: GenerationRow,
        plan: Plan,
        prompt: PromptFor | None,
        request_id: str,
    ) -> None:
        events: tuple[tuple[str, bytes], ...] = ()
        if conversation is not None and generation.request.get("created"):
            created = ConversationCreated(conversation=conversation_body(conversation))
            events = (("conversation.created", encode(created)),)
        self._generations.begin(
            GenerationOrder(
                user=generation.user_id,
                generation=generation.id,
                conversation=generation.conversation_id,
                message=generation.message_id,
                reply_to=None,
                plan=plan,
                events=events,
                prompt=prompt,
                request_id=request_id,
            )
        )
