"""The stages of the assessment flow (stages.py), as the wire has them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from protocol import codec
from protocol.frames import Stage
from server.notifications.stages import STAGES, notice, notice_of, once_key

ASSESSMENT = "22222222-2222-4222-8222-222222222222"
AT = datetime(2026, 3, 1, 8, 30, 0, 125_000, tzinfo=UTC)
stages: list[Stage] = list(get_args(Stage))


def test_every_stage_of_the_wire_is_in_the_table():
    assert set(STAGES) == set(stages)


@pytest.mark.parametrize(
    ("stage", "progress"),
    [
        ("assessment_submitted", 10),
        ("analysis_started", 30),
        ("analysis_complete", 80),
        ("chatbot_ready", 100),
        ("analysis_failed", 0),
    ],
)
def test_progress_is_the_protocols(stage: Stage, progress: int):
    assert notice(stage, user="u", assessment=ASSESSMENT, at=AT).event.notification.progress == progress


def test_ready_is_what_the_plan_shows_and_leads_to_the_results():
    assert notice("chatbot_ready", user="u", assessment=ASSESSMENT, at=AT).payload == {
        "type": "notification",
        "notification": {
            "title": "🤖 Career Advisor Ready",
            "message": "Your personalized chatbot is ready to discuss your results!",
            "progress": 100,
            "stage": "chatbot_ready",
            "assessmentId": ASSESSMENT,
            "timestamp": "2026-03-01T08:30:00.125Z",
            "action": {"type": "redirect", "url": f"/assessment/{ASSESSMENT}/results"},
        },
    }


@pytest.mark.parametrize("stage", [stage for stage in stages if stage != "chatbot_ready"])
def test_no_other_stage_leads_anywhere(stage: Stage):
    assert "action" not in notice(stage, user="u", assessment=ASSESSMENT, at=AT).payload["notification"]


@given(
    st.sampled_from(stages),
    st.uuids().map(str),
    st.datetimes(
        min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy puts the zone in
        max_value=datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours))),
    ),
)
def test_every_notice_is_a_frame_of_the_wire_and_its_time_is_utc(stage: Stage, assessment: str, at: datetime):
    told = notice(stage, user="u", assessment=assessment, at=at)
    assert codec.decode_server_frame(codec.encode(told.event)) == told.event
    stamp = told.event.notification.timestamp
    assert stamp.endswith("Z")
    assert abs(datetime.fromisoformat(stamp) - at) < timedelta(milliseconds=1)


def test_a_stage_of_an_assessment_has_one_key_for_its_user_and_no_two_share_one():
    keys = {
        once_key(stage, user=user, assessment=assessment)
        for stage in stages
        for user in ("u", "v")
        for assessment in ("a", "b")
    }
    assert len(keys) == 4 * len(stages)
    told = notice("chatbot_ready", user="u", assessment="a", at=AT)
    assert told.once_key == once_key("chatbot_ready", user="u", assessment="a")
    later = notice("chatbot_ready", user="u", assessment="a", at=AT + timedelta(days=1))
    assert later.once_key == told.once_key


def test_a_notification_in_the_words_of_another_service_has_the_key_of_its_stage():
    ours = notice("chatbot_ready", user="u", assessment="a", at=AT)
    theirs = notice_of(msgspec.structs.replace(ours.event.notification, title="Other words"), user="u")
    assert theirs.once_key == ours.once_key
    assert theirs.payload["notification"]["title"] == "Other words"
