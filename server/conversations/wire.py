"""Rows as clients see them: in events and in REST bodies.

Sans-I/O. Times become ISO 8601 in UTC with milliseconds and `Z`; costs become plain decimal strings.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from protocol import frames
from server.conversations.store import ConversationRow, MessagePage, MessageRow

MAX_EVENT_CONTENT_BYTES = 4096
"""Image and file content over this is left out of events, since the log keeps every event's bytes."""


def iso_time(when: datetime) -> str:
    """A time as clients read it, for example `2026-03-01T08:30:00.125Z`."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def plain_decimal(value: Decimal) -> str:
    """An exact amount without exponent and without trailing zeros, for example `0.00042`."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def conversation_body(row: ConversationRow) -> frames.Conversation:
    """A conversation as events show it."""
    return frames.Conversation(
        id=row.id,
        title=row.title,
        context_type=row.context_type,
        status=row.status,
        created_at=iso_time(row.created_at),
        updated_at=iso_time(row.updated_at),
    )


def message_body(row: MessageRow) -> frames.Message:
    """A message as events show it: image and file content over 4 KiB is null and said to be omitted."""
    omitted = row.content_type != "text" and len(row.content.encode()) > MAX_EVENT_CONTENT_BYTES
    return frames.Message(
        id=row.id,
        sender_type=row.sender_type,
        content=None if omitted else row.content,
        content_type=row.content_type,
        parent_message_id=row.parent_message_id,
        created_at=iso_time(row.created_at),
        metadata=row.metadata,
        content_omitted=omitted,
    )


def conversation_json(row: ConversationRow) -> dict[str, Any]:
    """A conversation as REST shows it."""
    return {
        "id": row.id,
        "user_id": row.user_id,
        "title": row.title,
        "context_type": row.context_type,
        "context_data": row.context_data,
        "status": row.status,
        "metadata": row.metadata,
        "created_at": iso_time(row.created_at),
        "updated_at": iso_time(row.updated_at),
    }


def message_json(row: MessageRow) -> dict[str, Any]:
    """A message as REST shows it, with its whole content."""
    return {
        "id": row.id,
        "conversation_id": row.conversation_id,
        "sender_type": row.sender_type,
        "content": row.content,
        "content_type": row.content_type,
        "parent_message_id": row.parent_message_id,
        "created_at": iso_time(row.created_at),
        "metadata": row.metadata,
    }


def message_page_json(page: MessagePage, *, before: str | None, after: str | None) -> dict[str, Any]:
    """A page of messages and where to read on.

    `before` and `after` are the cursors the page was asked for with. A `next_…_id` is null where nothing
    more is known to be.
    """
    rows = page.messages
    older = after is not None or page.has_more
    newer = page.has_more if after is not None else before is not None
    return {
        "messages": [message_json(row) for row in rows],
        "pagination": {
            "has_more": page.has_more,
            "next_before_id": rows[0].id if rows and older else None,
            "next_after_id": rows[-1].id if rows and newer else None,
        },
    }
