"""The stages of the assessment flow, as `notification` events.

Sans-I/O. One row of the table is one stage of the wire (protocol, section 7). A stage of an assessment is
told once, whoever tells it and however often: the outbox refuses a second row with the same once-key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from protocol.frames import Action, Notification, NotificationBody, Stage

KIND = "notification"
"""The type of the event, and the kind of its row in the outbox."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What a stage says."""

    progress: int
    title: str
    message: str
    redirects: bool = False


STAGES: Mapping[Stage, Wording] = MappingProxyType(
    {
        "assessment_submitted": Wording(
            10, "📝 Assessment Submitted", "Your assessment was received and will be analysed shortly."
        ),
        "analysis_started": Wording(
            30, "🔍 Analysis Started", "Our AI is analysing your personality profile."
        ),
        "analysis_complete": Wording(
            80, "✅ Analysis Complete", "Your results are in, and your career advisor is being prepared."
        ),
        "chatbot_ready": Wording(
            100,
            "🤖 Career Advisor Ready",
            "Your personalized chatbot is ready to discuss your results!",
            redirects=True,
        ),
        "analysis_failed": Wording(
            0, "⚠️ Analysis Failed", "Your assessment could not be analysed. Please try again later."
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell a user, once."""

    event: Notification
    once_key: str

    @property
    def payload(self) -> dict[str, Any]:
        """The event as the outbox keeps it: plain values, without a position."""
        payload: dict[str, Any] = msgspec.to_builtins(self.event)
        return payload


def notice(stage: Stage, *, user: str, assessment: str, at: datetime) -> Notice:
    """What a user is told of a stage.

    `assessment` is the result's id, or the job's; `at` is an aware time.
    """
    wording = STAGES[stage]
    url = f"/assessment/{assessment}/results"
    return Notice(
        event=Notification(
            notification=NotificationBody(
                title=wording.title,
                message=wording.message,
                progress=wording.progress,
                stage=stage,
                assessment_id=assessment,
                timestamp=at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
                action=Action(type="redirect", url=url) if wording.redirects else None,
            )
        ),
        once_key=once_key(stage, user=user, assessment=assessment),
    )


def notice_of(body: NotificationBody, *, user: str) -> Notice:
    """A notification in another service's words, as a notice to a user."""
    key = once_key(body.stage, user=user, assessment=body.assessment_id)
    return Notice(event=Notification(notification=body), once_key=key)


def once_key(stage: Stage, *, user: str, assessment: str) -> str:
    """By which the outbox knows that this user was told this stage of this assessment."""
    return f"{KIND}:{user}:{stage}:{assessment}"
