"""Sans-I/O. The stand-in: a pleasant career adviser for those who have no key yet.

It knows its answers by heart (`pages/`), picks one by the words of the question, and remembers nothing
but the messages it is given. The same messages always get the same answer, so it can go on with a partial
one. It never claims to be a model.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

from server.embedded.openrouter import continuation
from server.embedded.openrouter.answers import Page, language_of, page
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.continuation import Question, content_text

# A reader's pace: the first word after 0.6 to 1.2 seconds, then 30 to 45 tokens a second.
_THINKING_MS = 600.0
_MORE_THINKING_MS = 600
_TOKEN_MS = 21.0
_JITTER = 0.6
_QUOTE_LENGTH = 120
_RECALLED = 5

_NAME = re.compile(
    r"\b(?:my name is|my name's|call me|nama saya(?: adalah)?|namaku|panggil (?:saya|aku))"
    r"\s+([^\W\d_][\w'-]{0,30})",
    re.IGNORECASE,
)
_NO_NAME = frozenset({"siapa", "apa", "not", "what"})
_TOPIC = re.compile(
    r"\b(?:for|love|loves|like|likes|enjoy|enjoys|about|in|untuk|suka|menyukai|bidang|tentang)\s+"
    r"((?!(?:me|my|saya|aku)\b)[^.?!\n]{2,60})",
    re.IGNORECASE,
)
_LIKING = re.compile(r"\b(?:loves?|likes?|enjoys?|suka|menyukai)\s+", re.IGNORECASE)
_SCORE = re.compile(
    r"(realistic|investigative|artistic|social|enterprising|conventional)\W{1,6}(?:score\W{1,3})?(\d{1,3})",
    re.IGNORECASE,
)
_SUMMARY = re.compile(r"RIASEC \(([^)]*)\)")
_INITIAL = re.compile(r"\b([RIASEC]): (\d{1,3})")
_THEMES = {
    theme[0].upper(): theme
    for theme in ("realistic", "investigative", "artistic", "social", "enterprising", "conventional")
}
# a welcome is asked for with what it is to say: who is greeted, what was noticed, what could be asked
_GREETED = re.compile(r"\b(?:welcome me|sambut saya), ([^\W\d_][\w'-]{0,30})", re.IGNORECASE)
_KNOWN_AS = re.compile(r"^\{\"name\": \"([^\W\d_][\w'-]{0,30})", re.MULTILINE)
_LIST = re.compile(r"(?:^- .+(?:\n|\Z))+", re.MULTILINE)
_MARKUP = re.compile(r"[*_`~#<>|\[\]\\\s]+")
_BARE_ASK = re.compile(
    r"^\W*(?:please\s+)?(?:continue|go on|keep going|carry on|lanjut(?:kan)?|teruskan)"
    r"(?:\s+(?:please|ya|dong))?\W*$",
    re.IGNORECASE,
)
_FIELD = re.compile(r"\{(\w+)\}")


class StandInModel:
    """Answers what no script answers; at a reader's pace, or at once."""

    def __init__(self, *, human_speed: bool) -> None:
        self._human_speed = human_speed

    def answer(self, messages: list[dict[str, Any]], question: Question) -> Behaviour:
        """The behaviour that answers `messages`, whose question is `question`."""
        text = answer_text(messages, question)
        if not self._human_speed:
            return Behaviour(name="stand-in", text=text, obey_max_tokens=True)
        return Behaviour(
            name="stand-in",
            text=text,
            obey_max_tokens=True,
            # of its own for every question, and the same whenever that is asked
            first_token_ms=_THINKING_MS
            + zlib.crc32(question.text.encode("utf-8", "replace")) % _MORE_THINKING_MS,
            interval_ms=_TOKEN_MS,
            jitter=_JITTER,
            rhythm="human",
            generation_delay_ms=500,
        )


def answer_text(messages: Sequence[dict[str, Any]], question: Question) -> str:
    """The whole answer; the caller leaves out what a partial answer has said already."""
    if question.partial is None:
        return _compose(messages, question.text)
    # a continuation is answered as the question was, from the messages as they then were
    partial_at = max(index for index, message in enumerate(messages) if message.get("role") == "assistant")
    whole = _compose(messages[:partial_at], question.text)
    if continuation.continues(whole, question.partial):
        return whole
    asked = continuation.asked_last(messages)
    if question.prefill or _BARE_ASK.match(asked):
        return page(language_of(question.text))["whole"]
    return _compose(messages, asked)


def _compose(messages: Sequence[dict[str, Any]], question: str) -> str:
    answers = page(language_of(question))
    said = [content_text(message) for message in messages if message.get("role") == "user"]
    name = _name(said)
    section = answers.pick(question)
    if section == "recall_name" and not name:
        section = "recall_no_name"
    earlier = said[-_RECALLED - 1 : -1]
    fields = {
        "name": f", {name}" if name else "",
        "bare_name": name,
        "quote": _quoted(question),
        "history": "\n".join(f"{number}. *{_quoted(text)}*" for number, text in enumerate(earlier, 1)) or "…",
        "topic": _topic(question) or ("you" if answers.language == "en" else "kamu"),
        "careers": answers.careers(question),
        "scores": _scores(messages, answers),
        **_lists(question),
    }
    return _fill(answers[section], fields)


def _name(said: list[str]) -> str:
    """What the user asked to be called, last; else what is known of them from elsewhere."""
    names = [name for text in said for name in _NAME.findall(text) if name.lower() not in _NO_NAME]
    names = names or [name for text in said for name in (*_KNOWN_AS.findall(text), *_GREETED.findall(text))]
    return names[-1].title() if names else ""


def _lists(question: str) -> dict[str, str]:
    """What a welcome is to say: two lists, of insights and of questions."""
    insights, questions = (*_LIST.findall(question), "", "")[:2]
    return {"insights": insights.strip(), "questions": questions.strip()}


def _topic(question: str) -> str:
    found = _TOPIC.search(question)
    if found is None:
        return ""
    # "for somebody who loves drawing": what is loved says more
    return _quoted(_LIKING.split(found.group(1))[-1])


def _scores(messages: Sequence[dict[str, Any]], answers: Page) -> str:
    """The user's own RIASEC, where the instructions given to the model hold it."""
    told = "\n".join(content_text(message) for message in messages if message.get("role") == "system")
    found = {theme.lower(): int(score) for theme, score in _SCORE.findall(told)}
    for summary in _SUMMARY.findall(told):
        found |= {_THEMES[initial]: int(score) for initial, score in _INITIAL.findall(summary)}
    if not found:
        return ""
    top = sorted(found.items(), key=lambda item: -item[1])[:3]
    ranking = "\n".join(
        f"{place}. **{theme.title()}**: {score}" for place, (theme, score) in enumerate(top, 1)
    )
    code = "".join(theme[0].upper() for theme, _ in top)
    return _fill(answers["riasec_scores"], {"ranking": ranking, "code": code}) + "\n\n"


def _quoted(text: str) -> str:
    """A user's words, harmless inside Markdown, and not too many of them."""
    plain = _MARKUP.sub(" ", text).strip()
    return plain if len(plain) <= _QUOTE_LENGTH else plain[: _QUOTE_LENGTH - 1].rstrip() + "…"


def _fill(text: str, fields: dict[str, str]) -> str:
    # in one pass, so that braces in a user's words are never taken for fields; code keeps its own
    return _FIELD.sub(lambda field: fields.get(field.group(1), field.group()), text)
