"""A message once more, with other headers, for a queue where it waits or lies."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage
from pamqp.encode import encode_table_value


def copy_of(message: AbstractIncomingMessage, headers: Mapping[str, Any]) -> Message:
    """The same body and properties, persistent, without an expiry of its own."""
    return Message(
        message.body,
        headers={name: encodable(value) for name, value in headers.items()},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        # without one the library does not notice that a message came back
        message_id=message.message_id or str(uuid.uuid4()),
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )


def encodable(value: Any) -> Any:
    """A header's value as it can be sent: the library reads a few kinds that it cannot write."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, dict):
        return {str(name): encodable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [encodable(each) for each in value]
    try:
        encode_table_value(value)
    except Exception:  # noqa: BLE001 - it has as many ways to fail as there are kinds
        return repr(value)
    return value
