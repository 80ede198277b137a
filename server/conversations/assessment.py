"""What a conversation's context data says of an assessment, whatever its shape.

Sans-I/O. The ecosystem has had several shapes: scores at the top or inside `assessment_data`,
`test_data` or `analysis_results`; keys as initials or as whole words. Whatever is absent or odd is passed
over, never an error: an answer without the numbers is better than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RIASEC = {
    "R": "realistic",
    "I": "investigative",
    "A": "artistic",
    "S": "social",
    "E": "enterprising",
    "C": "conventional",
}
"""Holland's interests, in his order."""

OCEAN = {
    "O": "openness",
    "C": "conscientiousness",
    "E": "extraversion",
    "A": "agreeableness",
    "N": "neuroticism",
}
"""The Big Five, in their usual order."""

VIA = {
    "creativity": "creativity",
    "curiosity": "curiosity",
    "judgment": "judgment",
    "loveoflearning": "love of learning",
    "perspective": "perspective",
    "bravery": "bravery",
    "perseverance": "perseverance",
    "honesty": "honesty",
    "zest": "zest",
    "love": "love",
    "kindness": "kindness",
    "socialintelligence": "social intelligence",
    "teamwork": "teamwork",
    "fairness": "fairness",
    "leadership": "leadership",
    "forgiveness": "forgiveness",
    "humility": "humility",
    "prudence": "prudence",
    "selfregulation": "self-regulation",
    "appreciationofbeauty": "appreciation of beauty",
    "gratitude": "gratitude",
    "hope": "hope",
    "humor": "humour",
    "spirituality": "spirituality",
}
"""The VIA character strengths: the key without case and separators, and the words to show."""

_SCORE_WRAPPERS = ("assessment_data", "assessmentData", "test_data", "testData", "analysis_results")
_PROFILE_KEYS = (
    "test_result",
    "testResult",
    "persona_profile",
    "personaProfile",
    "profilePersona",
    "career_profile",
)
_TOP = 3
_HIGHEST_SCORE = 100
_DEPTH = 3  # wrappers inside wrappers are looked into so far

Scores = tuple[tuple[str, float], ...]
"""Names and scores (0 to 100), the highest first; equal ones in the usual order of their scale."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known: RIASEC and Big Five by initial, character strengths by words, the career profile."""

    riasec: Scores = ()
    ocean: Scores = ()
    via: Scores = ()
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing at all is known."""
        return not (self.riasec or self.ocean or self.via or self.profile)


def read_assessment(context_data: Any) -> Assessment:
    """Find an assessment in whatever a conversation's `context_data` holds."""
    sources = list(_mappings(context_data, _DEPTH))
    return Assessment(
        riasec=_scores(_first(sources, ("riasec", "RIASEC")), _initials(RIASEC)),
        ocean=_scores(_first(sources, ("ocean", "OCEAN", "bigFive", "big_five")), _initials(OCEAN)),
        via=_scores(_first(sources, ("viaIs", "via_is", "via", "viais")), VIA),
        profile=_first(sources, _PROFILE_KEYS),
    )


def summarise(assessment: Assessment) -> str | None:
    """One line on an assessment, or `None` if nothing is known.

    Example: `RIASEC (I: 92, R: 85, A: 78), Big Five (O: 88, E: 82, C: 75), Career Profile: Available`.
    """
    parts = [
        f"{title} ({', '.join(f'{name}: {_shown(score)}' for name, score in scores[:_TOP])})"
        for title, scores in (("RIASEC", assessment.riasec), ("Big Five", assessment.ocean))
        if scores
    ]
    if assessment.profile:
        parts.append("Career Profile: Available")
    return ", ".join(parts) or None


def _mappings(value: Any, depth: int) -> Iterable[Mapping[str, Any]]:
    """The mapping itself, then the wrapped ones, nearest first."""
    if not isinstance(value, Mapping):
        return
    yield value
    if depth:
        for name in (*_SCORE_WRAPPERS, "data", "assessment", "result"):
            yield from _mappings(value.get(name), depth - 1)


def _first(sources: list[Mapping[str, Any]], names: tuple[str, ...]) -> Mapping[str, Any]:
    """The first non-empty mapping under one of the names."""
    for source in sources:
        for name in names:
            found = source.get(name)
            if isinstance(found, Mapping) and found:
                return found
    return {}


def _initials(scale: Mapping[str, str]) -> dict[str, str]:
    """Initials and whole words, without case, to the initial."""
    return {key: initial for initial, word in scale.items() for key in (initial.lower(), word)}


def _scores(given: Mapping[str, Any], names: Mapping[str, str]) -> Scores:
    found: dict[str, float] = {}
    for key, value in given.items():
        name = names.get("".join(char for char in str(key).lower() if char.isalnum()))
        score = _score(value)
        if name is not None and score is not None:
            found.setdefault(name, score)
    usual = list(dict.fromkeys(names.values()))
    return tuple(sorted(found.items(), key=lambda item: (-item[1], usual.index(item[0]))))


def _score(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _HIGHEST_SCORE else None


def _shown(score: float) -> str:
    return f"{round(score, 1):g}"
