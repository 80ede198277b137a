"""Sans-I/O. Being asked to go on: finding the partial answer in the messages, and the rest of it.

Both ways of asking are known: the partial answer as the last message (assistant prefill), and a user's
turn that asks for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.embedded.openrouter import tokens

_ASKS = re.compile(
    r"\b(continu\w*|carry on|go on|keep going|cut off|interrupted|left off|stopped|rest of|remain\w*"
    r"|resume\w*|lanjut\w*|teruskan|sambung\w*|terpotong|terputus|terhenti)\b",
    re.IGNORECASE,
)
PREAMBLE = "Sure, continuing from where I left off:\n\n"
GARBAGE = "I am afraid I cannot see any previous reply. Bananas are rich in potassium."


@dataclass(frozen=True, slots=True)
class Question:
    """What a call is about: the user's question, and the partial answer it brings, if it brings one."""

    text: str
    partial: str | None = None
    prefill: bool = False


def content_text(message: dict[str, Any]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def find_question(messages: Sequence[dict[str, Any]]) -> Question:
    """The question in `messages`, with the partial answer where the last message asks for its rest."""
    turns = [(message.get("role"), content_text(message)) for message in messages]
    turns = [turn for turn in turns if turn[0] in {"user", "assistant"}]
    users = [index for index, (role, _) in enumerate(turns) if role == "user"]
    if turns and turns[-1][0] == "assistant":
        return Question(turns[users[-1]][1] if users else "", turns[-1][1], prefill=True)
    if len(turns) > 1 and turns[-2][0] == "assistant" and _ASKS.search(turns[-1][1]) and turns[-2][1].strip():
        return Question(turns[users[-2]][1] if len(users) > 1 else "", turns[-2][1])
    return Question(turns[-1][1] if turns else "")


def asked_last(messages: Sequence[dict[str, Any]]) -> str:
    """The text of the last user message, a request to go on or not."""
    return next((content_text(m) for m in reversed(messages) if m.get("role") == "user"), "")


def continues(text: str, partial: str | None) -> bool:
    """Whether `partial`, as a reader stored it, is a proper beginning of `text`."""
    if partial is None or not partial.strip():
        return False
    whole, begun = tokens.clean(text).rstrip(), partial.rstrip()
    return whole.startswith(begun) and whole != begun


def continued(text: str, partial: str, how: str) -> str:
    """What a model that would have said `text` says after `partial`, in the manner `how`.

    `partial` must be a beginning of it, as `continues` says.
    """
    begun = len(partial.rstrip())
    rest = text[begun:]
    match how:
        case "clean":
            # a prefill may keep its trailing whitespace; what it holds is not said again
            spaces = partial[begun:]
            return rest.removeprefix(spaces)
        case "stripped":
            return rest.lstrip()
        case "restart" | "verbatim":
            return text
        case "preamble":
            return PREAMBLE + rest.lstrip()
        case "preamble+restart":
            return PREAMBLE + text
        case "garbage":
            return GARBAGE
        case _:
            overlap = int(how.removeprefix("overlap:"))
            return text[max(0, begun - overlap) :]
