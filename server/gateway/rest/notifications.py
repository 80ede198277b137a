"""Notifications by other services: how stages reach a user's channel besides the broker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from protocol.frames import Action, NotificationBody, Stage, Uuid
from server.conversations.wire import iso_time
from server.gateway import assessment_schemas
from server.gateway.answers import answer, from_store
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.problems import invalid
from server.notifications.stages import Notice, notice, notice_of


class GivenAction(msgspec.Struct, frozen=True):
    """What a page may do about it."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class GivenNotification(msgspec.Struct, frozen=True, kw_only=True, rename={"assessment_id": "assessmentId"}):
    """A notification in the caller's words; without a `timestamp` it is of now."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    progress: Annotated[int, msgspec.Meta(ge=0, le=100)]
    stage: Stage
    assessment_id: Uuid
    timestamp: datetime | None = None
    action: GivenAction | None = None


class NewNotification(msgspec.Struct, frozen=True):
    """Whom to tell what: a notification, or a stage of an assessment in this service's words."""

    user_id: Uuid
    notification: GivenNotification | None = None
    stage: Stage | None = None
    assessment_id: Uuid | None = None


async def notify(front: Front, asked: Asked[NewNotification, Nothing]) -> Response:
    """`POST /internal/notifications`: each stage of an assessment is told once, whoever tells it."""
    told = _notice(asked.body, datetime.fromtimestamp(front.assessments.wall(), UTC))
    new = await from_store(
        front.assessments.store.tell(
            asked.body.user_id,
            told.event.notification.assessment_id,
            told,
            caller=asked.caller,
        )
    )
    front.kick_outbox()
    return answer({"told": new}, status=202)


def _notice(body: NewNotification, now: datetime) -> Notice:
    given = body.notification
    if given is not None and (body.stage is not None or body.assessment_id is not None):
        raise invalid("notification", "cannot be combined with stage and assessment_id")
    if given is not None:
        at = _in_utc(given.timestamp) if given.timestamp is not None else now
        return notice_of(
            NotificationBody(
                title=given.title,
                message=given.message,
                progress=given.progress,
                stage=given.stage,
                assessment_id=given.assessment_id.lower(),
                timestamp=iso_time(at),
                action=Action(type=given.action.type, url=given.action.url) if given.action else None,
            ),
            user=body.user_id,
        )
    if body.stage is None:
        raise invalid("stage", "is required, or a notification")
    if body.assessment_id is None:
        raise invalid("assessment_id", "is required with a stage")
    return notice(body.stage, user=body.user_id, assessment=body.assessment_id, at=now)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise invalid("notification.timestamp", "is beyond all calendars") from error


ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    Endpoint(
        method="POST",
        path="/internal/notifications",
        handler=notify,
        summary="Tell a user of a stage of an assessment",
        tag="internal",
        who="internal",
        body=NewNotification,
        answers={202: Answer("They are told, once.", assessment_schemas.Notified)},
        refusals=(404,),
    ),
)
