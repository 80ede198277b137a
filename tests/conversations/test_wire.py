"""Rows as clients see them (wire.py)."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from protocol import frames
from protocol.codec import encode
from server.conversations import wire
from server.conversations.store import ConversationRow, MessagePage, MessageRow

WHEN = datetime(2026, 3, 1, 8, 30, 0, 125_999, tzinfo=UTC)


def a_row(**changes: Any) -> MessageRow:
    fields: dict[str, Any] = {
        "id": "m1",
        "conversation_id": "c1",
        "sender_type": "user",
        "content": "hi",
        "content_type": "text",
        "parent_message_id": None,
        "created_at": WHEN,
        "metadata": {"a": 1},
        "token_count": 3,
    }
    return MessageRow(**fields | changes)


A_CONVERSATION = ConversationRow(
    id="c1",
    user_id="u1",
    title="Title",
    context_type="general",
    context_data={"x": 1},
    status="active",
    metadata={},
    created_at=WHEN,
    updated_at=WHEN + timedelta(seconds=1),
)


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (WHEN, "2026-03-01T08:30:00.125Z"),
        (WHEN.replace(microsecond=0), "2026-03-01T08:30:00.000Z"),
        (WHEN.astimezone(timezone(timedelta(hours=7))), "2026-03-01T08:30:00.125Z"),
    ],
)
def test_a_time_is_utc_with_milliseconds(when: datetime, text: str):
    assert wire.iso_time(when) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("0E-12", "0"),
        ("1E+3", "1000"),
        ("0.000420000000", "0.00042"),
        ("1E-12", "0.000000000001"),
        ("10", "10"),
    ],
)
def test_an_amount_has_no_exponent(value: str, text: str):
    assert wire.plain_decimal(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_an_amount_stays_exact(value: Decimal):
    assert Decimal(wire.plain_decimal(value)) == value


def test_a_conversation_in_an_event_holds_what_a_list_needs():
    assert wire.conversation_body(A_CONVERSATION) == frames.Conversation(
        id="c1",
        title="Title",
        context_type="general",
        status="active",
        created_at="2026-03-01T08:30:00.125Z",
        updated_at="2026-03-01T08:30:01.125Z",
    )


def test_a_conversation_in_rest_holds_its_context_too():
    body = wire.conversation_json(A_CONVERSATION)
    assert body["context_data"] == {"x": 1}
    assert body["user_id"] == "u1"
    assert body["created_at"] == "2026-03-01T08:30:00.125Z"


@pytest.mark.parametrize(
    ("content_type", "length", "omitted"),
    [("text", 5000, False), ("image", 4096, False), ("image", 4097, True), ("file", 4097, True)],
)
def test_only_image_and_file_content_over_4_kib_is_left_out_of_events(content_type, length, omitted):
    row = a_row(content_type=content_type, content="x" * length)
    body = wire.message_body(row)
    assert body.content_omitted is omitted
    assert body.content == (None if omitted else row.content)
    assert wire.message_json(row)["content"] == row.content


def test_4_kib_are_bytes():
    assert wire.message_body(a_row(content_type="file", content="é" * 2049)).content_omitted


def test_a_message_does_not_say_omitted_where_nothing_is():
    assert b"content_omitted" not in encode(
        frames.MessageCreated(conversation="c1", message=wire.message_body(a_row()), client_message_id=None)
    )


@pytest.mark.parametrize(
    ("has_more", "before", "after", "expected"),
    [
        (True, None, None, (True, "m1", None)),
        (False, None, None, (False, None, None)),
        (True, "m3", None, (True, "m1", "m2")),
        (False, "m3", None, (False, None, "m2")),
        (True, None, "m0", (True, "m1", "m2")),
        (False, None, "m0", (False, "m1", None)),
    ],
)
def test_a_page_says_where_to_read_on(has_more, before, after, expected):
    page = MessagePage((a_row(id="m1"), a_row(id="m2")), has_more)
    body = wire.message_page_json(page, before=before, after=after)
    assert [message["id"] for message in body["messages"]] == ["m1", "m2"]
    assert tuple(body["pagination"].values()) == expected


def test_an_empty_page_has_no_cursors():
    body = wire.message_page_json(MessagePage((), has_more=False), before=None, after="m9")
    assert body == {
        "messages": [],
        "pagination": {"has_more": False, "next_before_id": None, "next_after_id": None},
    }
