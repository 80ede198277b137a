"""A conversation's title, made from its first message.

Sans-I/O. A title left at the default becomes the first 50 characters of the first message, cut at a word.
"""

from __future__ import annotations

import unicodedata

from protocol.frames import ContentType

DEFAULT_TITLE = "New Conversation"

MAX_TITLE_LENGTH = 255
"""Code points a title given by a user may have."""

_LENGTH = 50
_SHORTEST_WORD_CUT = 25  # a last word that would leave less than this is cut through instead
_JOINERS = {"\u200d", "\ufe0e", "\ufe0f"}  # zero-width joiner, variation selectors
_DANGLING = " ,;:-\u2013\u2014"  # and two dashes
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def title_for(content: str, content_type: ContentType = "text") -> str:
    """The title a first message gives its conversation: one line, at most 50 characters and an ellipsis.

    An image or a file says nothing that could be a title, so the default stays and the next text decides.
    """
    if content_type != "text":
        return DEFAULT_TITLE
    # Control and bidirectional characters would reach into the page around the title.
    line = " ".join("".join(" " if _unshown(char) else char for char in content).split())
    if not line:
        return DEFAULT_TITLE
    if len(line) <= _LENGTH:
        return line
    return _cut(line).rstrip(_DANGLING) + "…"


def _cut(line: str) -> str:
    if line[_LENGTH] == " ":
        return line[:_LENGTH]
    head, space, _ = line[:_LENGTH].rpartition(" ")
    if space and len(head) >= _SHORTEST_WORD_CUT:
        return head
    end = _LENGTH
    while end > 1 and _continues(line[end], line[end - 1]):
        end -= 1
    return line[:end]


def _continues(char: str, before: str) -> bool:
    """Whether `char` belongs to the same visible character as the one before it."""
    return (
        unicodedata.combining(char) != 0 or char in _JOINERS or before == "\u200d" or ord(char) in _SKIN_TONES
    )


def _unshown(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in _JOINERS
