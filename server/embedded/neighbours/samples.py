"""Realistic results and profiles: what Indonesian students score and the analysis worker writes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

Shape = Literal["test_data", "assessment_data", "top"]
"""Today's names; the names until late 2025; the plan's, with initials at the top of the result."""

RIASEC = {
    "realistic": 54,
    "investigative": 92,
    "artistic": 78,
    "social": 66,
    "enterprising": 61,
    "conventional": 47,
}
OCEAN = {
    "openness": 88,
    "conscientiousness": 75,
    "extraversion": 52,
    "agreeableness": 71,
    "neuroticism": 38,
}
VIA = {
    "creativity": 86, "curiosity": 93, "judgment": 80, "loveOfLearning": 90, "perspective": 74, "bravery": 58,
    "perseverance": 77, "honesty": 82, "zest": 60, "love": 69, "kindness": 79, "socialIntelligence": 64,
    "teamwork": 67, "fairness": 76, "leadership": 59, "forgiveness": 63, "humility": 65, "prudence": 72,
    "selfRegulation": 62, "appreciationOfBeauty": 81, "gratitude": 73, "hope": 75, "humor": 70,
    "spirituality": 68,
}  # fmt: skip
INDUSTRY = {"teknologi": 91, "kesehatan": 74, "pendidikan": 79, "kreatif": 83, "keuangan": 55}


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sample. Without `scores` it is another test's; without `profile` its analysis is not done."""

    shape: Shape = "test_data"
    scores: bool = True
    profile: bool = True
    language: Literal["id", "en"] = "id"
    name: str = "AI-Driven Talent Mapping"


def sample_result(what: Sample, *, identity: str, user: str, created_at: str) -> dict[str, Any]:
    """The `data` of an answer to `GET /archive/results/{id}`."""
    persona = _persona(what.language) if what.profile else None
    common: dict[str, Any] = {"id": identity, "user_id": user, "created_at": created_at}
    common["updated_at"] = created_at
    if what.shape == "top":
        return {**common, **(_initials() if what.scores else {}), "personaProfile": persona}
    common |= {"is_public": True, "chatbot_id": None}
    data: dict[str, Any] = {"iq": {"verbal": 118, "numerik": 124, "spasial": 109, "total": 117}}
    if what.scores:
        data = {"riasec": RIASEC, "ocean": OCEAN, "viaIs": VIA, "industryScore": INDUSTRY}
    if what.shape == "assessment_data":
        return {**common, "assessment_data": data, "persona_profile": persona, "status": "completed"}
    raw = {"riasec": [{"questionId": f"riasec_{number}", "value": number % 5 + 1} for number in range(1, 61)]}
    return {**common, "test_data": data, "test_result": persona, "raw_responses": raw}


def sample_profile(user: str, *, name: str, created_at: str) -> dict[str, Any]:
    """The `data.user` of an answer to `GET /auth/profile`."""
    first = name.partition(" ")[0]
    school = {"id": 17, "name": "SMA Negeri 3 Bandung", "city": "Bandung", "province": "Jawa Barat"}
    return {
        "id": user,
        "username": first.lower(),
        "email": f"{first.lower()}@example.com",
        "user_type": "user",
        "is_active": True,
        "token_balance": 5,
        "last_login": created_at,
        "created_at": created_at,
        "profile": {
            "user_id": user,
            "full_name": name,
            "date_of_birth": "2008-04-17",
            "gender": "female",
            "school_id": 17,
            "created_at": created_at,
            "updated_at": created_at,
            "school": school,
            "school_info": {"type": "structured", "school_id": 17, "school": school},
        },
    }


def _persona(language: str) -> dict[str, Any]:
    """What the worker's model writes of a person."""
    written = Path(__file__).parent / "personas" / f"{language}.json"
    persona: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return persona


def _initials() -> dict[str, Any]:
    return {
        "riasec": {name[0].upper(): score for name, score in RIASEC.items()},
        "ocean": {name[0].upper(): score for name, score in OCEAN.items()},
        "viaIs": VIA,
    }
