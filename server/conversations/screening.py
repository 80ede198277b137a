"""What a message may not try: to take the model out of the house's hands.

Sans-I/O. The rules look for orders to the model (drop your instructions, show them, be one without rules,
hand out keys or others' data) and for the markup by which chat templates tell speakers apart. They want the
whole order, verb and object, in English or Indonesian, never a word of it: people ask about acting, recipes,
the instructions of a test and what they said before. A screen is the second line; the first is that nothing
a user writes stands in the system message (`context.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from protocol.codes import ErrorCode
from protocol.frames import ContentType
from server.conversations.refusal import Refusal
from server.conversations.screening_phrases import PHRASES, VOCABULARY
from server.conversations.validate import ContentInvalid, read_text_file

ContentFilter = Literal["flag", "block", "off"]

_MARKUP = re.compile(
    r"""
      <\|(?:im_(?:start|end|sep)|system|user|assistant|endoftext|(?:start|end)_header_id|eot_id)\|>
    | \[/?inst\] | <</?sys>>
    | ^[ \t]*</?(?:system|system_prompt|developer)>
    | ^[ \t]*\#{2,}[ \t]*(?:system|developer)(?:[ \t]+(?:prompt|message|instructions?))?[ \t]*:
    | ^[ \t]*(?:system|developer)[ \t]*:[ \t]*(?:you\ (?:are|must)|ignore|(?:kamu|anda)\ adalah|abaikan)\b
    """,
    re.VERBOSE | re.MULTILINE,
)
# In small letters it is Indonesian for "and".
_DAN = re.compile(r"\b(?i:act as|you are|you're|become|roleplay as)\s+(?:(?i:now)\s+)?DAN\b")

_NAME = re.compile(r"\{(\D[^}]*)\}")
_WORD = re.compile(r"\w+(?:['-]\w+)*")
_BETWEEN = r"[^\w.!?;]{1,8}"  # blanks, quotes, Markdown; not the end of a sentence
_NOT_DENIED = r"(?<!n't )(?<!not )(?<!never )(?<!jangan )(?<!tidak )"
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
_KEPT = frozenset("\n\r\t")
_UNSEEN_RANGES = (
    range(0x202A, 0x202F),  # embeddings and overrides of direction: text that reads otherwise than it is
    range(0x2066, 0x206A),
    range(0xE0000, 0xE0080),  # tags: a whole alphabet nobody sees
)


@dataclass(frozen=True, slots=True)
class Screening:
    """What was found: the names of the rules that caught it, never its text. `blocked`: not accepted."""

    rules: tuple[str, ...] = ()
    blocked: bool = False


def screen(content: str, content_type: ContentType, content_filter: ContentFilter) -> Screening:
    """Look at a message that was found acceptable otherwise. Files are looked into, images cannot be."""
    if content_filter == "off" or content_type == "image":
        return Screening()
    text = content
    if content_type == "file":
        try:
            text = read_text_file(content).text
        except ContentInvalid:
            return Screening()
    rules = matching_rules(text)
    return Screening(rules, blocked=bool(rules) and content_filter == "block")


def refuse_blocked(screening: Screening) -> None:
    """Refuse what is not accepted.

    Raises:
        Refusal: `content_rejected`. It does not say which rule: that would teach to get round it.
    """
    if screening.blocked:
        raise Refusal(
            ErrorCode.CONTENT_REJECTED,
            "This message looks like an attempt to change how the assistant works. Please rephrase it.",
            field="content",
        )


def matching_rules(text: str) -> tuple[str, ...]:
    """The names of the rules a text matches; in about the time it takes to find its words."""
    shown = unicodedata.normalize("NFKC", _without(text, {c for c in set(text) if _parts_words(c)}))
    shown = shown.translate(_APOSTROPHES)
    folded = shown.casefold()
    found = dict.fromkeys(_orders_in(folded.replace("_", " ")))
    if _DAN.search(shown):
        found["other_self"] = None
    if _MARKUP.search(folded):
        found["template_markup"] = None
    return tuple(found)


def for_model(text: str) -> str:
    """A text as a model is given it: without control characters and what nobody could see in it.

    Line breaks, tabs, and what joins or shapes visible characters stay.
    """
    return _without(text, {char for char in set(text) if _unseen(char)})


def _without(text: str, chars: set[str]) -> str:
    return text.translate({ord(char): None for char in chars}) if chars else text


def _unseen(char: str) -> bool:
    if unicodedata.category(char) == "Cc":
        return char not in _KEPT
    return any(ord(char) in each for each in _UNSEEN_RANGES)


def _parts_words(char: str) -> bool:
    """Whether a character only parts words for a pattern's eyes."""
    return char not in _KEPT and unicodedata.category(char) in {"Cc", "Cf"}


def _orders_in(text: str) -> Iterator[str]:
    for word in _WORD.finditer(text):
        for rule, phrase in _BY_FIRST_WORD.get(word[0], ()):
            if phrase.match(text, word.start()):
                yield rule


def _compile(phrase: str) -> tuple[re.Pattern[str], set[str]]:
    """A phrase as a pattern, and the words it can begin with."""
    while "{" in phrase:
        phrase = _NAME.sub(lambda name: VOCABULARY[name[1]], phrase)
    wanted, _, unless = phrase.partition(" !")
    bodies = wanted.split(" ")
    pattern = _NOT_DENIED
    for position, body in enumerate(bodies):
        between = "" if position == len(bodies) - 1 else _BETWEEN
        optional = body.startswith("[") and body.endswith("]")
        one = _choice(body[1:-1] if optional else body) + between
        pattern += f"(?:{one})?" if optional else one
    ending = rf"(?!{_BETWEEN}{_choice(unless)}\b)" if unless else ""
    first = {choice.partition("_")[0] for choice in bodies[0].strip("()").split("|")}
    assert all(_WORD.fullmatch(word) for word in first), f"a phrase begins with plain words: {phrase}"
    return re.compile(rf"{pattern}(?!\w){ending}"), first


def _choice(body: str) -> str:
    return r"[\w'-]+" if body == "*" else f"(?:{body})".replace("_", r"\s+")


def _by_first_word() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for rule, phrases in PHRASES.items():
        for phrase in phrases.strip().splitlines():
            pattern, first = _compile(phrase.strip())
            for word in first:
                table.setdefault(word, []).append((rule, pattern))
    return table


_BY_FIRST_WORD = _by_first_word()
