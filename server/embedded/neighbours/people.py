"""Made-up people who took the assessment: each with scores of their own, and what a worker writes of them.

Sans-I/O but for the texts beside it. The same seed is the same person. Scores hang together: who is
artistic is open to new things and values beauty, as real answers would have it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Literal

from server.embedded.neighbours.samples import INDUSTRY, OCEAN, RIASEC, VIA

Language = Literal["id", "en"]

NAMES = (
    *("Siti Rahmawati", "Bagas Pratama", "Ayu Lestari", "Rizky Hidayat", "Dewi Anggraini", "Yohanes Nugroho"),
    *("Putri Maharani", "Arif Setiawan"),
)

# What a strong interest lifts: traits, strengths, industries.
_LIFTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "realistic": (("conscientiousness",), ("perseverance", "prudence", "bravery"), ("teknologi",)),
    "investigative": (
        ("openness",),
        ("curiosity", "loveOfLearning", "judgment"),
        ("teknologi", "kesehatan"),
    ),
    "artistic": (("openness",), ("creativity", "appreciationOfBeauty", "humor"), ("kreatif",)),
    "social": (
        ("agreeableness", "extraversion"),
        ("kindness", "socialIntelligence", "teamwork"),
        ("pendidikan", "kesehatan"),
    ),
    "enterprising": (("extraversion",), ("leadership", "zest", "hope"), ("keuangan",)),
    "conventional": (("conscientiousness",), ("selfRegulation", "prudence", "honesty"), ("keuangan",)),
}
_LEVELS = ("super low", "low", "moderate", "high", "super high")
_PROSPECTS = (
    *("jobAvailability", "salaryPotential", "careerProgression", "industryGrowth", "skillDevelopment"),
    "aiOvertake",
)


def made_up_scores(seed: str) -> dict[str, dict[str, int]]:
    """The `test_data` of somebody: integers from 0 to 100, two interests clearly above the others."""
    chance = Random(seed)  # noqa: S311 - a person, no secret
    strong = chance.sample(list(RIASEC), 2)
    riasec = {name: round(chance.triangular(28, 72, 50)) for name in RIASEC}
    riasec[strong[0]], riasec[strong[1]] = chance.randint(86, 97), chance.randint(76, 85)
    scores = {"riasec": riasec}
    for number, (scale, names) in enumerate((("ocean", OCEAN), ("viaIs", VIA), ("industryScore", INDUSTRY))):
        lifted = [name for interest in strong for name in _LIFTS[interest][number]]
        scores[scale] = {
            name: min(round(chance.triangular(34, 78, 58)) + 20 * lifted.count(name), 98) for name in names
        }
    scores["ocean"]["neuroticism"] = round(chance.triangular(18, 62, 38))
    return scores


def written_persona(
    scores: Mapping[str, Mapping[str, int]], *, seed: str, language: Language
) -> dict[str, Any]:
    """The `test_result` of these scores, as the analysis worker's model writes it."""
    chance = Random(seed)  # noqa: S311 - opinions, no secret
    written = Path(__file__).parent / "personas" / f"types.{language}.json"
    types: dict[str, dict[str, Any]] = json.loads(written.read_text(encoding="utf-8"))
    strongest = sorted(scores["riasec"], key=lambda name: -scores["riasec"][name])
    one, two = (types[name[0].upper()] for name in strongest[:2])
    words = {f"{key}{number}": text for number, each in ((1, one), (2, two)) for key, text in each.items()}
    careers = [*one["careers"], two["careers"][0]]
    return {
        "archetype": _SENTENCES[language]["archetype"].format_map(words),
        "coreMotivators": [one["motivator"], two["motivator"]],
        "learningStyle": _SENTENCES[language]["learning"].format_map(words),
        "shortSummary": _SENTENCES[language]["summary"].format_map(words),
        "strengthSummary": _SENTENCES[language]["strength"].format_map(
            {"first": one["strengths"][0].lower(), "second": two["strengths"][0].lower()}
        ),
        "strengths": [*one["strengths"], *two["strengths"]],
        "weaknessSummary": _SENTENCES[language]["weakness"].format_map(
            {"first": one["weaknesses"][0].lower(), "second": two["weaknesses"][1].lower()}
        ),
        "weaknesses": [*one["weaknesses"], two["weaknesses"][1]],
        "careerRecommendation": [
            career | {"careerProspect": {name: chance.choice(_LEVELS[1:]) for name in _PROSPECTS}}
            for career in careers
        ],
        "insights": [one["insight"], two["insight"], _SENTENCES[language]["insight"]],
        "skillSuggestion": [*one["skills"], *two["skills"]],
        "possiblePitfalls": [one["pitfall"], two["pitfall"]],
        "riskTolerance": chance.choice(("low", "moderate", "high")),
        "workEnvironment": _SENTENCES[language]["environment"].format_map(words),
        "roleModel": [one["role"], two["role"]],
        "developmentActivities": {
            "extracurricular": [one["club"], two["club"]],
            "bookRecommendations": [one["book"], two["book"]],
        },
    }


def made_up_name(seed: str) -> str:
    """What somebody is called."""
    return Random(seed).choice(NAMES)  # noqa: S311 - a name, no secret


_SENTENCES: Mapping[Language, Mapping[str, str]] = {
    "id": {
        "archetype": "Sang {noun1} {adjective2}",
        "summary": "Kamu {likes1}. Selain itu, kamu {likes2}.",
        "learning": "Kamu paling cepat {learning1}, dan terbantu bila bisa {learning2}.",
        "strength": "Dua hal menonjol padamu: {first}, dan {second}.",
        "weakness": "Dua hal perlu kamu jaga: {first}; {second}.",
        "insight": "Bicarakan hasil ini dengan orang yang mengenalmu baik, lalu bandingkan pendapatnya.",
        "environment": "Kamu paling berkembang di {environment1}.",
    },
    "en": {
        "archetype": "The {adjective2} {noun1}",
        "summary": "You {likes1}. You also {likes2}.",
        "learning": "You {learning1}, and it helps you when you can {learning2}.",
        "strength": "Two things stand out: {first}, and {second}.",
        "weakness": "Two things to watch: {first}; {second}.",
        "insight": "Talk about these results with somebody who knows you well, and compare what they say.",
        "environment": "You do best in {environment1}.",
    },
}
