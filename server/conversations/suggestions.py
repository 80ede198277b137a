"""Questions a user may want to ask next.

Sans-I/O. Six to eight of them, by what the conversation is about and by what is known of the user: the two
strongest RIASEC types by name, the strongest traits, the career profile. A question that needs something
unknown is left out, and general ones fill up.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from server.conversations.assessment import Assessment
from server.conversations.language import Language

LEAST, MOST = 6, 8

_MAX_NAME = 60  # code points of an occupation's or an archetype's name

RIASEC_NAMES: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        "en": {
            "R": "Realistic",
            "I": "Investigative",
            "A": "Artistic",
            "S": "Social",
            "E": "Enterprising",
            "C": "Conventional",
        },
        "id": {
            "R": "Realistis",
            "I": "Investigatif",
            "A": "Artistik",
            "S": "Sosial",
            "E": "Enterprising",
            "C": "Konvensional",
        },
    }
)
"""Holland's types, as each language names them."""

OCEAN_NAMES: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        "en": {
            "O": "openness",
            "C": "conscientiousness",
            "E": "extraversion",
            "A": "agreeableness",
            "N": "emotional sensitivity",
        },
        "id": {
            "O": "keterbukaan terhadap pengalaman",
            "C": "kehati-hatian",
            "E": "ekstraversi",
            "A": "keramahan",
            "N": "kepekaan emosi",
        },
    }
)

_STRENGTHS_IN_INDONESIAN: Mapping[str, str] = MappingProxyType(
    {
        "creativity": "kreativitas",
        "curiosity": "rasa ingin tahu",
        "judgment": "berpikir kritis",
        "love of learning": "cinta belajar",
        "perspective": "kebijaksanaan",
        "bravery": "keberanian",
        "perseverance": "ketekunan",
        "honesty": "kejujuran",
        "zest": "semangat",
        "love": "kasih sayang",
        "kindness": "kebaikan hati",
        "social intelligence": "kecerdasan sosial",
        "teamwork": "kerja sama tim",
        "fairness": "keadilan",
        "leadership": "kepemimpinan",
        "forgiveness": "pemaaf",
        "humility": "kerendahan hati",
        "prudence": "kehati-hatian",
        "self-regulation": "pengendalian diri",
        "appreciation of beauty": "apresiasi keindahan",
        "gratitude": "rasa syukur",
        "hope": "harapan",
        "humour": "humor",
        "spirituality": "spiritualitas",
    }
)

# In the order in which they are offered. A field in braces must be known (`_known`).
_QUESTIONS: Mapping[str, Mapping[Language, tuple[str, ...]]] = MappingProxyType(
    {
        "assessment": {
            "en": (
                "Which careers suit my {first} and {second} interests?",
                "What do my results say about me as {archetype}?",
                "What does the way to {career} look like, and does it fit me?",
                "How does my {trait} show at work?",
                "How can I make more of my strength in {strength}?",
                "Which fields of study fit my {first} side?",
                "Where in or near {city} could I study what fits me?",
                "What kind of work environment would bring out my best?",
                "Explain my personality profile in simple words.",
                "Which of my weaknesses should I work on first?",
                "Which skills should I develop next?",
            ),
            "id": (
                "Karier apa yang cocok dengan minat {first} dan {second} saya?",
                "Apa arti hasil saya sebagai {archetype}?",
                "Bagaimana cara menjadi {career}, dan apakah itu cocok untuk saya?",
                "Bagaimana {trait} saya terlihat dalam pekerjaan?",
                "Bagaimana saya bisa memanfaatkan kekuatan saya: {strength}?",
                "Jurusan apa yang sesuai dengan sisi {first} saya?",
                "Di mana di {city} atau sekitarnya saya bisa mempelajari yang cocok untuk saya?",
                "Lingkungan kerja seperti apa yang membuat saya berkembang?",
                "Jelaskan profil kepribadian saya dengan bahasa sederhana.",
                "Kelemahan mana yang sebaiknya saya perbaiki lebih dulu?",
                "Keterampilan apa yang perlu saya kembangkan berikutnya?",
            ),
        },
        "career_guidance": {
            "en": (
                "Which occupations combine my {first} and {second} interests?",
                "What are the first steps towards {career}?",
                "What speaks for and against {career} as my career?",
                "How does {other_career} compare with it?",
                "Which fields of study lead to careers that fit me?",
                "Which employers in or near {city} could suit me?",
                "What can I do within the next month to get closer to my goal?",
                "Which skills will employers in my field ask for?",
                "How will AI change the careers that interest me?",
                "How do I choose between two careers I like?",
                "What could a plan for my next year look like?",
            ),
            "id": (
                "Pekerjaan apa yang memadukan minat {first} dan {second} saya?",
                "Apa langkah pertama untuk menjadi {career}?",
                "Apa kelebihan dan kekurangan {career} sebagai karier saya?",
                "Bagaimana perbandingannya dengan {other_career}?",
                "Jurusan apa yang mengarah ke karier yang cocok untuk saya?",
                "Tempat kerja apa di {city} atau sekitarnya yang cocok untuk saya?",
                "Apa yang bisa saya lakukan dalam sebulan ke depan untuk mendekati tujuan saya?",
                "Keterampilan apa yang dicari perusahaan di bidang saya?",
                "Bagaimana AI akan mengubah karier yang saya minati?",
                "Bagaimana cara memilih di antara dua karier yang saya sukai?",
                "Seperti apa rencana saya untuk satu tahun ke depan?",
            ),
        },
        "general": {
            "en": (
                "What could I do with my {first} and {second} interests?",
                "What career paths suit me?",
                "How do I find out what I am good at?",
                "How do I choose a field of study?",
                "Which skills will matter most in the coming years?",
                "How do I write a good CV?",
                "How can I prepare for a job interview?",
                "How do I get experience while I am still studying?",
            ),
            "id": (
                "Apa yang bisa saya lakukan dengan minat {first} dan {second} saya?",
                "Jalur karier apa yang cocok untuk saya?",
                "Bagaimana cara mengetahui kelebihan saya?",
                "Bagaimana cara memilih jurusan kuliah?",
                "Keterampilan apa yang paling penting di tahun-tahun mendatang?",
                "Bagaimana cara menulis CV yang baik?",
                "Bagaimana cara mempersiapkan wawancara kerja?",
                "Bagaimana cara mendapatkan pengalaman sambil kuliah?",
            ),
        },
    }
)


def suggest(
    context_type: str, assessment: Assessment, *, language: Language, profile: Any = None
) -> tuple[str, ...]:
    """Six to eight questions, the most personal first. An unknown context type is treated as `general`.

    `profile` is what is known of the user besides, as `context_data` holds it under `user_profile`.
    """
    questions = _QUESTIONS.get(context_type, _QUESTIONS["general"])
    known = _known(assessment, language)
    city = name_in(profile, "city") if isinstance(profile, Mapping) else None
    if city:
        known["city"] = city
    asked: dict[str, None] = {}
    for question in (*questions[language], *_QUESTIONS["general"][language]):
        if all(field in known for field in _fields(question)):
            asked[question.format_map(known)] = None
    return tuple(asked)[:MOST]


def strength_in(language: Language, strength: str) -> str:
    """A character strength as a language names it."""
    return strength if language == "en" else _STRENGTHS_IN_INDONESIAN[strength]


def name_in(profile: Mapping[str, Any], field: str) -> str | None:
    """A name out of a profile: one short line, or none at all."""
    return _name(profile.get(field))


def _known(assessment: Assessment, language: Language) -> dict[str, str]:
    """What questions can speak of, by the names of their fields."""
    known: dict[str, str] = {}
    for field, (initial, _) in zip(("first", "second"), assessment.riasec, strict=False):
        known[field] = RIASEC_NAMES[language][initial]
    if assessment.ocean:
        known["trait"] = OCEAN_NAMES[language][assessment.ocean[0][0]]
    if assessment.via:
        known["strength"] = strength_in(language, assessment.via[0][0])
    archetype = name_in(assessment.profile, "archetype")
    if archetype:
        known["archetype"] = archetype
    known.update(zip(("career", "other_career"), _careers(assessment.profile), strict=False))
    return known


def _careers(profile: Mapping[str, Any]) -> Iterator[str]:
    """The occupations a profile recommends, under the names the archive has had for them."""
    for field in ("careerRecommendation", "career_recommendation", "careerRecommendations"):
        recommended = profile.get(field)
        for item in recommended if isinstance(recommended, list) else ():
            named = item
            if isinstance(item, Mapping):
                named = next((item[key] for key in ("careerName", "title", "name") if item.get(key)), None)
            name = _name(named)
            if name:
                yield name


def _name(value: Any) -> str | None:
    """A name out of a profile: one short line, or none at all."""
    if not isinstance(value, str):
        return None
    shown = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in value)
    line = " ".join(shown.split())
    return line if 0 < len(line) <= _MAX_NAME else None


def _fields(question: str) -> Iterator[str]:
    return (field for _, field, _, _ in string.Formatter().parse(question) if field)
