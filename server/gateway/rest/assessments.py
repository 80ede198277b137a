"""The assessment flow (REST contract, "Assessment flow"). An assessment's id is its result's."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from protocol.frames import Uuid
from server.channels.broker import BrokerUnavailable
from server.conversations.refusal import unavailable
from server.conversations.store import ConversationChange
from server.conversations.wire import conversation_json, iso_time, message_json
from server.gateway import assessment_schemas
from server.gateway.advising import asking, begin, message_of, suggestions_for, whose
from server.gateway.answers import answer, caught_up, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import not_found, problem_of
from server.gateway.requests import prefers
from server.gateway.rest.conversations import Title, check_title
from server.gateway.sse import finished_generation
from server.gateway.waiting import EndWaiter, in_time

_TAG = "assessments"
_NEWEST = 50

Trigger = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class FromAssessment(msgspec.Struct, frozen=True):
    """Which result (the newest, where none is named), and how the conversation begins."""

    assessment_id: Uuid | None = None
    title: Title | None = None
    auto_start_message: bool = True


class WhichAssessment(msgspec.Struct, frozen=True):
    """A result of the user's."""

    assessment_id: Uuid


class AutoInitialize(msgspec.Struct, frozen=True):
    """A result, whose it is, and what brought it about."""

    user_id: Uuid
    assessment_id: Uuid
    trigger_source: Trigger = "assessment_complete"


class Initialize(msgspec.Struct, frozen=True):
    """What brought it about."""

    trigger_source: Trigger = "manual"


async def from_assessment(front: Front, asked: Asked[FromAssessment, Nothing]) -> Response:
    """`POST /conversations/from-assessment`."""
    body, user = asked.body, asked.principal.user
    title = check_title(body.title) if body.title is not None else None
    wanted = body.assessment_id
    if wanted is None:
        newest = await asking(front.assessments.results.latest(user))
        if newest is None:
            raise not_found("assessment")
        wanted = newest.id
    result = await asking(front.assessments.results.of(user, wanted))
    waiter = EndWaiter(user, front.desk.broker)
    try:
        channel, snapshot = await front.desk.hub.attach(user, waiter)
    except BrokerUnavailable as error:
        raise problem_of(unavailable()) from error
    try:
        begun = await begin(
            front, asked, result, trigger="user", title=title, welcome=body.auto_start_message
        )
        finished = None
        if begun.welcome is not None:
            generation = begun.welcome.id
            if not begun.begun:
                finished = await finished_generation(front, asked.principal, generation)
            if finished is None and not prefers(asked.request, "respond-async"):
                finished = await in_time(front, waiter.wait(channel, snapshot.head, generation))
    finally:
        front.desk.hub.detach(user, waiter)
    return answer(
        {
            "conversation": conversation_json(begun.conversation),
            "initial_message": message_of(finished),
            "suggestions": suggestions_for(result, begun),
        },
        status=201 if begun.created else 200,
    )


async def add_context(front: Front, asked: Asked[WhichAssessment, Nothing]) -> Response:
    """`POST /conversations/{id}/context/assessment`: from now on its answers know the results."""
    conversation, user = asked.ids["conversation"], asked.principal.user
    row = await from_store(front.store.conversation(user, conversation))
    result = await asking(front.assessments.results.of(user, asked.body.assessment_id))
    profile = await front.assessments.profiles.learn(user, asked.asker.token)
    known = {"user_profile": profile} if profile else {}
    await from_store(
        front.store.update(
            user,
            conversation,
            ConversationChange(
                context_type="assessment" if row.context_type == "general" else None,
                context_data={**(row.context_data or {}), **result.context_data, **known},
            ),
            caller=asked.caller,
        )
    )
    front.kick_outbox()
    return answer({"context_added": True, "assessment_data": result.context_data})


async def ready(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /conversations/assessment-ready/{userId}`."""
    user = whose(asked, asked.ids["user_id"])
    newest = await asking(front.assessments.results.latest(user))
    found = None if newest is None else await from_store(front.assessments.store.find(user, newest.id))
    return answer(
        {
            "has_assessment": newest is not None,
            "assessment_date": iso_time(newest.created_at) if newest and newest.created_at else None,
            "assessment_id": newest.id if newest else None,
            "conversation_exists": found is not None,
            "conversation_id": found.conversation.id if found else None,
            "ready_for_chatbot": newest is not None,
        }
    )


async def auto_initialize(front: Front, asked: Asked[AutoInitialize, Nothing]) -> Response:
    """`POST /conversations/auto-initialize`."""
    body = asked.body
    user = whose(asked, body.user_id)
    keep = asked.asker.user is not None and asked.asker.user.user == user
    result = await asking(front.assessments.results.of(user, body.assessment_id, keep=keep))
    begun = await begin(front, asked, result, trigger=body.trigger_source)
    return answer(
        {
            "conversation_id": begun.conversation.id,
            "ready": True,
            "initial_suggestions": suggestions_for(result, begun),
        },
        status=201 if begun.created else 200,
    )


async def conversation_of(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
    """`GET /assessment/{assessmentId}/conversation`."""
    user = asked.principal.user
    await caught_up(front, user)
    found = await from_store(front.assessments.store.find(user, asked.ids["assessment"]))
    if found is None:
        return answer({"exists": False})
    page = await from_store(front.store.messages(user, found.conversation.id, limit=_NEWEST))
    return answer(
        {
            "exists": True,
            "conversation": conversation_json(found.conversation),
            "messages": [message_json(message) for message in page.messages],
        }
    )


async def initialize(front: Front, asked: Asked[Initialize, Nothing]) -> Response:
    """`POST /assessment/{assessmentId}/initialize`: the way in when the event did not come."""
    result = await asking(front.assessments.results.of(asked.principal.user, asked.ids["assessment"]))
    begun = await begin(front, asked, result, trigger=asked.body.trigger_source)
    said = "Your career adviser is ready." if begun.created else "Your career adviser was there already."
    return answer({"success": True, "message": said})


_REFUSALS = (404, 429)

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="POST",
        path="/conversations/from-assessment",
        handler=from_assessment,
        summary="The conversation about a result, with its welcome",
        tag=_TAG,
        body=FromAssessment,
        body_optional=True,
        answers={
            201: Answer("It has begun.", assessment_schemas.AdviserBegun),
            200: Answer("It was there.", assessment_schemas.AdviserBegun),
        },
        refusals=_REFUSALS,
        headers={"Prefer": "`respond-async`: do not wait for the welcome."},
    ),
    Endpoint(
        method="POST",
        path="/conversations/{conversation}/context/assessment",
        handler=add_context,
        summary="Let a conversation know a result",
        tag=_TAG,
        body=WhichAssessment,
        answers={200: Answer("It does.", assessment_schemas.ContextAdded)},
    ),
    Endpoint(
        method="GET",
        path="/conversations/assessment-ready/{user_id}",
        handler=ready,
        summary="Whether a user has a result, and a conversation about it",
        tag=_TAG,
        who="user_or_internal",
        answers={200: Answer("The newest result.", assessment_schemas.AssessmentReady)},
        refusals=(404,),
    ),
    Endpoint(
        method="POST",
        path="/conversations/auto-initialize",
        handler=auto_initialize,
        summary="Have the adviser of a result wait for its user",
        tag=_TAG,
        who="user_or_internal",
        body=AutoInitialize,
        answers={
            201: Answer("It waits.", assessment_schemas.AutoInitialized),
            200: Answer("It did already.", assessment_schemas.AutoInitialized),
        },
        refusals=_REFUSALS,
    ),
    Endpoint(
        method="GET",
        path="/assessment/{assessment}/conversation",
        handler=conversation_of,
        summary="The conversation about a result, if there is one",
        tag=_TAG,
        answers={200: Answer("It, or that there is none.", assessment_schemas.ConversationOfAssessment)},
    ),
    Endpoint(
        method="POST",
        path="/assessment/{assessment}/initialize",
        handler=initialize,
        summary="Have the adviser of a result wait, where no event came",
        tag=_TAG,
        body=Initialize,
        body_optional=True,
        answers={200: Answer("It waits.", assessment_schemas.Initialized)},
        refusals=_REFUSALS,
    ),
)
