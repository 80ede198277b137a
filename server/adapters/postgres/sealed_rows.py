"""Values on their way into sealed columns, and out of them: each with its place.

A value that cannot be opened is said to be unavailable instead of failing the row it stands in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from server.conversations.cipher import UNAVAILABLE, Cipher, Place, Sealed
from server.conversations.titles import DEFAULT_TITLE

PRIVATE_METADATA = ("insights", "suggested_questions")
"""What of a message's metadata is made from a person's results."""

_SEALED, _SEALED_KEY = "sealed", "sealed_key"


class Cell(NamedTuple):
    """A column's new value and its `*_key`; both `None` where nothing is to be written."""

    text: str | None
    key: str | None


def sealed_content(cipher: Cipher, content: str, user: UUID, message: UUID | None) -> Sealed:
    """A message's content; without an id there is no key either."""
    assert message is not None or cipher.newest is None
    return cipher.seal(content, Place(str(user), "messages", "content", str(message)))


def sealed_title(
    cipher: Cipher, title: str | None, user: UUID, conversation: UUID | None, *, plain: str = DEFAULT_TITLE
) -> Cell:
    """A conversation's title; the default one stays plain, so that it can be recognised."""
    if title is None or title == plain:
        return Cell(title, None)
    sealed = cipher.seal(title, Place(str(user), "conversations", "title", str(conversation)))
    return Cell(sealed.text, sealed.key)


def sealed_context(
    cipher: Cipher, context: Mapping[str, Any] | None, user: UUID, conversation: UUID | None
) -> Cell:
    """Context data as its jsonb column holds it: an object, or sealed a JSON string."""
    if context is None:
        return Cell(None, None)
    text = orjson.dumps(context).decode()
    sealed = cipher.seal(text, Place(str(user), "conversations", "context_data", str(conversation)))
    return Cell(sealed.text if sealed.key is None else f'"{sealed.text}"', sealed.key)


def opened_content(cipher: Cipher, text: str, key: str | None, user: str, message: str) -> str | None:
    """A message's content; `None` where it cannot be opened."""
    return cipher.open(Sealed(text, key), Place(user, "messages", "content", message))


def private_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message's metadata speaks of a person."""
    return {name: metadata[name] for name in PRIVATE_METADATA if name in metadata}


def sealed_metadata(
    cipher: Cipher, metadata: Mapping[str, Any], user: UUID, message: UUID | None
) -> dict[str, Any]:
    """A message's metadata; what of them speaks of a person is sealed, beside what does not."""
    private = private_metadata(metadata)
    if not private or cipher.newest is None:
        return dict(metadata)
    text = orjson.dumps(private).decode()
    sealed = cipher.seal(text, Place(str(user), "messages", "metadata", str(message)))
    open_ones = {name: value for name, value in metadata.items() if name not in private}
    return {**open_ones, _SEALED: sealed.text, _SEALED_KEY: sealed.key}


def opened_metadata(cipher: Cipher, metadata: dict[str, Any], user: str, message: str) -> dict[str, Any]:
    """A message's metadata, without what cannot be opened."""
    if _SEALED not in metadata:
        return metadata
    sealed = Sealed(metadata[_SEALED], metadata[_SEALED_KEY])
    opened = cipher.open(sealed, Place(user, "messages", "metadata", message))
    rest = {name: value for name, value in metadata.items() if name not in {_SEALED, _SEALED_KEY}}
    return rest if opened is None else {**rest, **orjson.loads(opened)}


def opened_title(cipher: Cipher, text: str, key: str | None, user: str, conversation: str) -> str | None:
    """A conversation's title; `None` where it cannot be opened."""
    return cipher.open(Sealed(text, key), Place(user, "conversations", "title", conversation))


def shown(opened: str | None) -> str:
    """A text, or what stands for one that cannot be opened."""
    return UNAVAILABLE if opened is None else opened


def opened_context(cipher: Cipher, sealed: str, key: str, user: str, conversation: str) -> Any:
    """Sealed context data, from JSON text or from JSON already read; `None` where they cannot be opened."""
    text = orjson.loads(sealed) if sealed.startswith('"') else sealed
    opened = cipher.open(Sealed(text, key), Place(user, "conversations", "context_data", conversation))
    return None if opened is None else orjson.loads(opened)


def opened_event(cipher: Cipher, payload: dict[str, Any], user: str) -> dict[str, Any]:
    """An event out of the outbox: what of it was sealed in the row it tells of is sealed in it too."""
    conversation, message = payload.get("conversation"), payload.get("message")
    if isinstance(conversation, dict) and "title_key" in conversation:
        told = {name: value for name, value in conversation.items() if name != "title_key"}
        title = opened_title(cipher, told["title"], conversation["title_key"], user, told["id"])
        payload = {**payload, "conversation": {**told, "title": shown(title)}}
    if isinstance(message, dict) and "content_key" in message:
        told = {name: value for name, value in message.items() if name != "content_key"}
        content = opened_content(cipher, told["content"], message["content_key"], user, told["id"])
        payload = {**payload, "message": {**told, "content": shown(content)}}
    return payload
