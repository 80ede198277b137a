"""A result as the archive gives it, as what the conversations understand.

Sans-I/O. The ecosystem has had three shapes: scores at the top of the result with `personaProfile`,
`assessment_data` with `persona_profile`, and today's `test_data` with `test_result`. All become one
`context_data` in today's names; `server.conversations.assessment` finds the scores in it. Scores may be
absent (an IQ test has none), and so may the profile (an analysis that is not done, or failed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.assessments.events import is_uuid, read_time
from server.conversations.assessment import Assessment, read_assessment
from server.conversations.language import Language, language_of
from server.conversations.wire import iso_time

_DATA = ("test_data", "testData", "assessment_data", "assessmentData")
_PROFILE = ("test_result", "testResult", "persona_profile", "personaProfile")
_SCALES = (
    *("riasec", "RIASEC", "ocean", "OCEAN", "bigFive", "big_five"),
    *("viaIs", "via_is", "via", "viais", "industryScore"),
)
_MAX_DEPTH = 12


class ResultMalformed(Exception):  # noqa: N818 - a state of the world, named as one
    """What the archive holds cannot be used."""


@dataclass(frozen=True, slots=True)
class AssessmentResult:
    """A finished assessment. Ids are canonical UUIDs.

    `context_data` is what a conversation keeps: `assessment_id`, `assessment_date`, `assessment_language`,
    and `test_data` and `test_result` as the archive has them. `assessment` is what was found in it,
    `language` the one its texts are in (Indonesian where there are none). `linked_conversation` is the
    one the archive already knows, if any.
    """

    id: str
    user: str
    created_at: datetime | None
    context_data: dict[str, Any]
    assessment: Assessment
    language: Language
    linked_conversation: str | None

    @property
    def finished(self) -> bool:
        """Whether there is anything to talk about: scores of any test, or a profile."""
        return bool(self.context_data["test_data"] or self.context_data["test_result"])

    def belongs_to(self, user: str) -> bool:
        """Whether it is this user's."""
        return self.user == user.lower()


def read_result(document: Any, *, asked: str) -> AssessmentResult:
    """Read the `data` of an answer to `GET /archive/results/{asked}`.

    Raises:
        ResultMalformed: it is not an object, not the result asked for, or does not say whose it is.
    """
    if not isinstance(document, Mapping):
        raise ResultMalformed("the result is not an object")
    identity, user = document.get("id", asked), document.get("user_id", document.get("userId"))
    if not is_uuid(identity) or identity.lower() != asked.lower():
        raise ResultMalformed("the result is not the one asked for")
    if not is_uuid(user):
        raise ResultMalformed("the result does not say whose it is")
    data, profile = _parts(document)
    linked = document.get("chatbot_id")
    created = read_time(document.get("created_at", document.get("createdAt", document.get("assessmentDate"))))
    language = language_of(_texts(profile, _MAX_DEPTH))
    context_data = {
        "assessment_id": asked.lower(),
        "assessment_date": None if created is None else iso_time(created),
        "assessment_language": language,
        "test_data": data,
        "test_result": profile,
    }
    return AssessmentResult(
        id=asked.lower(),
        user=user.lower(),
        created_at=created,
        context_data=context_data,
        assessment=read_assessment(context_data),
        language=language,
        linked_conversation=linked.lower() if is_uuid(linked) else None,
    )


def _parts(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and profile, whichever shape they come in."""
    data = _first_object(document, _DATA)
    if not data:
        data = {name: _clean(document[name], _MAX_DEPTH) for name in _SCALES if document.get(name)}
    # the oldest results held the profile beside the scores, inside their wrapper
    return data, _first_object(document, _PROFILE) or _first_object(data, _PROFILE)


def _first_object(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        found = document.get(name)
        if isinstance(found, Mapping) and found:
            cleaned = _clean(found, _MAX_DEPTH)
            assert isinstance(cleaned, dict)
            return cleaned
    return {}


def _clean(value: Any, depth: int) -> Any:
    """A value that PostgreSQL's JSON can hold: no NUL, no lone surrogate, not nested without end."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        if not depth:
            return {}
        return {_clean(str(key), 0): _clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth - 1) for item in value] if depth else []
    return value


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, depth - 1)
