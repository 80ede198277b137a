"""What the doors of the assessment flow have in common: begin, ask the neighbours, tell what came of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec

from protocol.frames import GenerationFinished
from server.assessments.archive import NotThere
from server.assessments.neighbours import NeighbourFailure
from server.assessments.results import AssessmentResult, ResultMalformed
from server.assessments.store import AssessmentConversation
from server.channels.broker import BrokerUnavailable
from server.conversations.refusal import Refusal, unavailable
from server.conversations.suggestions import suggest
from server.conversations.turns import Reservation
from server.gateway.answers import from_store
from server.gateway.endpoint import Asked, Nothing
from server.gateway.front import Front
from server.gateway.problems import not_found, problem_of

log = logging.getLogger(__name__)

T = TypeVar("T")


async def begin(
    front: Front,
    asked: Asked[Any, Nothing],
    result: AssessmentResult,
    *,
    trigger: str,
    title: str | None = None,
    welcome: bool = True,
) -> AssessmentConversation:
    """The result's conversation; a new one counts in the limit of its user, where it is they who ask."""
    desk, asker = front.assessments, asked.asker
    own = asker.user is not None and asker.user.user == result.user
    reservation: Reservation | None = None
    if own and await from_store(desk.store.find(result.user, result.id)) is None:
        reservation = await _reserve(front, result.user)
    created = False
    try:
        begun = await from_store(
            desk.advisers.begin(
                result,
                trigger=trigger,
                request_id=asked.request_id,
                profile=await desk.profiles.learn(result.user, asker.token if own else None),
                tier=asker.user.tier if asker.user is not None and own else "free",
                title=title,
                welcome=welcome,
                again=own,
                caller=asked.caller,
            )
        )
        created = begun.created
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    finally:
        if reservation is not None and not created:
            await reservation.release()
    return begun


async def _reserve(front: Front, user: str) -> Reservation:
    try:
        return await front.quota.reserve_conversation(user)
    except Refusal as refusal:
        raise problem_of(refusal) from refusal
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error


def whose(asked: Asked[Any, Nothing], user: str) -> str:
    """The user who is asked about: oneself, or anybody where another service asks.

    Raises:
        Problem: 404.
    """
    asker = asked.asker
    if not asker.internal and (asker.user is None or asker.user.user != user):
        raise not_found("user")
    return user


async def asking(awaited: Awaitable[T]) -> T:
    """Await a neighbour.

    Raises:
        Problem: 404 for what is not there, or somebody else's; 503 where the neighbour is at fault.
    """
    try:
        return await awaited
    except NotThere as error:
        raise not_found("assessment") from error
    except (NeighbourFailure, ResultMalformed) as error:
        log.warning("a neighbour did not help", extra={"reason": str(error)})
        raise problem_of(unavailable()) from error


def suggestions_for(result: AssessmentResult, begun: AssessmentConversation) -> list[str]:
    """What to ask first about a result, in its language."""
    profile = (begun.conversation.context_data or {}).get("user_profile")
    return list(suggest("assessment", result.assessment, language=result.language, profile=profile))


def message_of(finished: GenerationFinished | None) -> dict[str, Any] | None:
    """The message an ended generation became; `None` while it runs, and where it became none."""
    if finished is None or finished.message is None:
        return None
    message: dict[str, Any] = msgspec.to_builtins(finished.message)
    return {**message, "conversation_id": finished.conversation}
