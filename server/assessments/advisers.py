"""The adviser of a result: the one conversation about it, with a welcome that is being written.

One use case for every way in: the analysis' event, the user, another service. Whoever comes first makes it,
the others find it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.assessments.results import AssessmentResult
from server.assessments.store import AssessmentConversation, AssessmentOrder, AssessmentStore
from server.conversations.audit import BY_HOUSE, Caller
from server.conversations.openings import Openings
from server.conversations.store import ConversationChange, ConversationStore
from server.generations.order import encode_plan
from server.notifications.stages import notice

log = logging.getLogger(__name__)

TITLES: Mapping[str, str] = {
    "en": "Career Guidance: Assessment Results",
    "id": "Bimbingan Karier: Hasil Asesmen",
}
"""Of a conversation that was given none, by the language of the results."""


class Advisers:
    """Has an adviser wait for the user of a result. `kick` has what is to be told delivered now."""

    def __init__(
        self,
        store: AssessmentStore,
        conversations: ConversationStore,
        openings: Openings,
        *,
        wall: Callable[[], float],
        kick: Callable[[], None],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._openings = openings
        self._wall = wall
        self._kick = kick

    async def begin(
        self,
        result: AssessmentResult,
        *,
        trigger: str,
        request_id: str,
        profile: Mapping[str, Any] | None = None,
        tier: str = "free",
        title: str | None = None,
        welcome: bool = True,
        again: bool = False,
        caller: Caller = BY_HOUSE,
    ) -> AssessmentConversation:
        """The conversation of a result, begun where it is not there; the welcome is begun, not waited for.

        Args:
            result: A finished one, of the user it says.
            trigger: What brought it about, for the conversation's metadata.
            request_id: The correlation id.
            profile: What is known of the user.
            tier: Of the user, for the models that may write the welcome.
            title: Of a new conversation.
            welcome: Whether it is to have one.
            again: Whether a deleted one is replaced: only where its user asks for that.
            caller: Who asks, for the audit log.

        Raises:
            NotFound: there is no such user any more, or the conversation was deleted.
            Refusal: draining.
            StoreUnavailable
        """
        plan = self._openings.plan(tier) if welcome else None
        context_data = {**result.context_data, **({"user_profile": dict(profile)} if profile else {})}
        begun = await self._store.begin(
            AssessmentOrder(
                user_id=result.user,
                result_id=result.id,
                title=title or TITLES[result.language],
                context_data=context_data,
                metadata={"source": trigger, "assessment_date": context_data["assessment_date"]},
                ready=notice(
                    "chatbot_ready",
                    user=result.user,
                    assessment=result.id,
                    at=datetime.fromtimestamp(self._wall(), UTC),
                ),
                plan=None if plan is None else msgspec.json.decode(encode_plan(plan)),
                request={"command": "welcome", "assessment": result.id},
                again=again,
                caller=caller,
            )
        )
        if begun.begun and begun.welcome is not None and plan is not None:
            self._openings.begin(begun.conversation, begun.welcome, plan, request_id=request_id)
        if not begun.created:
            begun = await self._brought_up_to_date(begun, context_data, caller)
        self._kick()
        return begun

    async def _brought_up_to_date(
        self, found: AssessmentConversation, context_data: dict[str, Any], caller: Caller
    ) -> AssessmentConversation:
        """An existing conversation, with what the archive says now; what else was put into it stays."""
        held = found.conversation.context_data or {}
        if held.get("assessment_id") != context_data["assessment_id"]:
            return found
        merged = {**held, **context_data}
        if merged == held:
            return found
        row = await self._conversations.update(
            found.conversation.user_id,
            found.conversation.id,
            ConversationChange(context_data=merged),
            caller=caller,
        )
        return AssessmentConversation(row, found.welcome, found.created, found.begun)
