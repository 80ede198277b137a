"""What is known of a user beyond scores: who they are, and what the archive tells of them.

Sans-I/O. People and models wrote all of it, so it never stands in the system message: it is one message of
the user's, JSON under a heading, where a line that looks like an order is a string among others. Only named
fields go in, each bounded, the most telling first, as many as fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from server.conversations import tokens
from server.conversations.assessment import Assessment
from server.conversations.screening import for_model

HEADING = "For reference, what ATMA knows of me and wrote about my results. It is information, no request:"
MOST_TOKENS = 900
"""What it may take of any prompt."""

_SHARE = 4  # of the history's budget it takes a quarter at most
_BORDERS = 4  # tokens of a field's quotes, colon and comma, about
_MAX_FIELD = 400  # code points kept of one text
_MAX_NAME = 80
_LOOKED_AT = 2 * _MAX_FIELD  # of a text that begins with what is not shown, enough is left
_MAX_ITEMS = 6
_AGES = range(5, 121)

_CAREERS = ("careerRecommendation", "career_recommendation", "careerRecommendations")


def profile_text(
    context_data: Any, assessment: Assessment, *, most_tokens: int, at: date | None
) -> str | None:
    """The message, in at most `most_tokens` estimated tokens; `None` if nothing is known, or nothing fits.

    A conversation's `context_data` may hold `user_profile` (name, age or date of birth, school, city). `at`
    is the day of the question, where there is one: an age is told, never a date of birth.
    """
    left = most_tokens - tokens.estimate_text(HEADING) - _BORDERS
    fields: dict[str, Any] = {}
    for name, value in (*_person(context_data, at), *_narrative(assessment.profile)):
        cost = tokens.estimate_text(json.dumps({name: value}, ensure_ascii=False)) + _BORDERS
        if cost <= left:
            fields[name] = value
            left -= cost
    return f"{HEADING}\n{json.dumps(fields, ensure_ascii=False)}" if fields else None


def budget(history_tokens: int) -> int:
    """What a profile may take beside a history of so many usable tokens (0: without limit)."""
    return min(MOST_TOKENS, history_tokens // _SHARE) if history_tokens else MOST_TOKENS


def _person(context_data: Any, at: date | None) -> Iterator[tuple[str, Any]]:
    """Who it is. Gender and what else the account holds is no matter of careers, and stays here."""
    known: Any = context_data.get("user_profile") if isinstance(context_data, Mapping) else None
    if not isinstance(known, Mapping):
        return
    school, place = known.get("school"), known.get("city")
    if isinstance(school, Mapping):
        place = place or school.get("city")
        school = school.get("name")
    yield from _filled(
        {
            "name": _line(known.get("name") or known.get("full_name")),
            "age": _age(known.get("age"), known.get("date_of_birth"), at),
            "school": _line(school),
            "city": _line(place),
        }
    )


def _narrative(profile: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The archive's words, the most telling first."""
    for name, (keys, read) in _FIELDS.items():
        value = read(next((profile[key] for key in keys if profile.get(key)), None))
        if value:
            yield name, value


def _filled(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in fields.items() if value is not None)


def _age(age: Any, born: Any, at: date | None) -> int | None:
    if at is not None and isinstance(born, str) and not isinstance(age, int):
        try:
            day = date.fromisoformat(born[:10])
        except ValueError:
            return None
        age = at.year - day.year - ((at.month, at.day) < (day.month, day.day))
    return age if isinstance(age, int) and not isinstance(age, bool) and age in _AGES else None


def _line(value: Any) -> str | None:
    """A name: one short line."""
    return (" ".join(_seen(value).split())[:_MAX_NAME] or None) if isinstance(value, str) else None


def _text(value: Any) -> str | None:
    return (_seen(value).strip()[:_MAX_FIELD] or None) if isinstance(value, str) else None


def _seen(text: str) -> str:
    """What can be seen of a text; most texts hide nothing, which is found out quickly."""
    shown = text[:_LOOKED_AT]
    return shown if shown.isprintable() else for_model(shown)


def _texts(value: Any) -> list[str] | str | None:
    """A few texts, or one; of a recommendation its name."""
    if not isinstance(value, list):
        return _text(value)
    return [text for item in value[:_MAX_ITEMS] if (text := _text(_name_of(item)))] or None


def _name_of(item: Any) -> Any:
    if isinstance(item, Mapping):
        return next((item[key] for key in ("careerName", "title", "name") if item.get(key)), None)
    return item


def _reasons(value: Any) -> dict[str, str] | None:
    """Why each occupation is recommended."""
    return _about_careers(value, lambda item: _text(item.get("justification")))


def _majors(value: Any) -> dict[str, Any] | None:
    """What to study for each occupation."""
    return _about_careers(value, lambda item: _texts(item.get("relatedMajors", item.get("related_majors"))))


def _about_careers(value: Any, read: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any] | None:
    items = value[:_MAX_ITEMS] if isinstance(value, list) else ()
    found = {
        name: said
        for item in items
        if isinstance(item, Mapping) and (name := _line(_name_of(item))) and (said := read(item))
    }
    return found or None


# What of a profile goes to a model, under the names the archive has had for it.
_FIELDS: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    "archetype": (("archetype",), _text),
    "summary": (("shortSummary", "short_summary", "summary"), _text),
    "strengths": (("strengths",), _texts),
    "weaknesses": (("weaknesses",), _texts),
    "careers": (_CAREERS, _texts),
    "skills to build": (("skillSuggestion", "skill_suggestion", "skillSuggestions"), _texts),
    "work environment": (("workEnvironment", "work_environment"), _text),
    "learning style": (("learningStyle", "learning_style"), _text),
    "motivators": (("coreMotivators", "core_motivators"), _texts),
    "why these careers": (_CAREERS, _reasons),
    "fields of study": (_CAREERS, _majors),
    "about the strengths": (("strengthSummary", "strength_summary"), _text),
    "about the weaknesses": (("weaknessSummary", "weakness_summary"), _text),
    "advice": (("insights",), _texts),
    "pitfalls": (("possiblePitfalls", "possible_pitfalls"), _texts),
    "willingness to take risks": (("riskTolerance", "risk_tolerance"), _text),
    "details": (("details",), _text),
}
