"""The welcome to a conversation about an assessment: what a model is asked, what is said without one.

Sans-I/O. Insights and questions are made from the scores and noted beside the welcome whoever writes it, so
that a model is only asked to put them into words. Nothing here is longer than a welcome may be (150 words).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from server.conversations.assessment import Assessment, read_assessment
from server.conversations.language import Language, known_language
from server.conversations.suggestions import OCEAN_NAMES, RIASEC_NAMES, name_in, strength_in, suggest
from server.generations.order import Opening

LAST_RESORT = "atma/prepared-welcome"
"""Stands in a model's place for the welcome the house says itself."""

TYPE = "assessment_welcome"
MAX_WORDS = 150
MAX_TOKENS = 400
"""What a model may write; 150 words of Indonesian come to less."""

_QUESTIONS = 3
_INSIGHTS = 3
_LEAST_INSIGHTS = 2
_DEPTH = 4
_HIGHEST_SCORE = 1000

_WORDS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        "en": {
            "interests": "Your strongest interests: {first} ({first_score}) and {second} ({second_score}).",
            "interest": "Your strongest interest is {first} ({first_score}).",
            "trait": "Of the Big Five, {trait} stands out most in you ({score}).",
            "strengths": "Your leading strengths: {first} ({first_score}) and {second} ({second_score}).",
            "strength": "Your leading strength is {first} ({first_score}).",
            "archetype": "Your profile describes you as {archetype}.",
            "score": "Your highest result is {name} ({score}).",
            "next_score": "{name} follows with {score}.",
            "here": "Your results are complete, and I have them at hand.",
            "together": "We can go through them together, step by step.",
            "hello": "Hello{name}! Your assessment is done, and I have read your results. "
            "This is what I noticed first:",
            "tendency": "A score is a tendency, not a verdict: what matters is what you make of it. "
            "You could begin by asking:",
            "invite": "Or simply tell me what is on your mind.",
        },
        "id": {
            "interests": "Minat terkuatmu adalah {first} ({first_score}) dan {second} ({second_score}).",
            "interest": "Minat terkuatmu adalah {first} ({first_score}).",
            "trait": "Dari lima besar kepribadian, {trait} paling menonjol padamu ({score}).",
            "strengths": "Kekuatan utamamu: {first} ({first_score}) dan {second} ({second_score}).",
            "strength": "Kekuatan utamamu adalah {first} ({first_score}).",
            "archetype": "Profilmu menggambarkanmu sebagai {archetype}.",
            "score": "Hasil tertinggimu adalah {name} ({score}).",
            "next_score": "Disusul {name} dengan {score}.",
            "here": "Hasilmu sudah lengkap dan siap kita bahas.",
            "together": "Kita bisa membacanya bersama, selangkah demi selangkah.",
            "hello": "Halo{name}! Asesmenmu sudah selesai dan hasilnya sudah kubaca. "
            "Ini yang pertama kulihat:",
            "tendency": "Skor adalah kecenderungan, bukan vonis: yang penting apa yang kamu lakukan "
            "dengannya. Kamu bisa mulai dengan bertanya:",
            "invite": "Atau ceritakan saja apa yang sedang kamu pikirkan.",
        },
    }
)

_INSTRUCTIONS: Mapping[Language, str] = MappingProxyType(
    {
        "en": (
            "Write your first message to me, in English. I have just finished the assessment and have "
            "not asked anything yet. Use fewer than 130 words. Welcome me{name}. Show honest interest, "
            "and put these insights into warm words, with their numbers and nothing invented:\n{insights}\n"
            "End by inviting me to go on, with these questions as a list, unchanged:\n{questions}\n"
            "Write only the message itself."
        ),
        "id": (
            "Tulis pesan pertamamu kepada saya, dalam bahasa Indonesia. Saya baru saja menyelesaikan "
            "asesmen dan belum bertanya apa-apa. Pakai kurang dari 130 kata. Sambut saya{name}. Tunjukkan "
            "minat yang tulus, dan sampaikan wawasan ini dengan hangat, dengan angkanya dan tanpa "
            "mengarang:\n{insights}\n"
            "Akhiri dengan mengajak saya melanjutkan, dengan pertanyaan ini sebagai daftar, tanpa diubah:\n"
            "{questions}\nTulis pesannya saja."
        ),
    }
)


def language_of_results(context_data: Any) -> Language:
    """The language the results are written in; Indonesian where they do not tell."""
    return known_language(context_data) or "id"


def opening(context_data: Any) -> Opening:
    """What is noted beside the welcome, and the welcome where no model writes one."""
    language = language_of_results(context_data)
    noticed, questions = insights(context_data), first_questions(context_data)
    words = _WORDS[language]
    lines = [
        words["hello"].format(name=_called(context_data)),
        "\n".join(f"- {each}" for each in noticed),
        words["tendency"],
        "\n".join(f"{number}. {each}" for number, each in enumerate(questions, 1)),
        words["invite"],
    ]
    metadata = {"type": TYPE, "suggested_questions": list(questions), "insights": list(noticed)}
    return Opening(metadata=metadata, text="\n\n".join(lines))


def instruction(context_data: Any) -> str:
    """What a model is asked, in the language of the results."""
    return _INSTRUCTIONS[language_of_results(context_data)].format(
        name=_called(context_data),
        insights="\n".join(f"- {each}" for each in insights(context_data)),
        questions="\n".join(f"- {each}" for each in first_questions(context_data)),
    )


def first_questions(context_data: Any) -> tuple[str, ...]:
    """Three questions to begin with, the most personal ones."""
    language = language_of_results(context_data)
    return suggest("assessment", read_assessment(context_data), language=language)[:_QUESTIONS]


def insights(context_data: Any) -> tuple[str, ...]:
    """Two or three sentences about what stands out, by the scores; without any, by whatever is known."""
    language = language_of_results(context_data)
    words = _WORDS[language]
    found = [*_of_scores(read_assessment(context_data), language), *_of_other_tests(context_data, language)]
    if len(found) < _LEAST_INSIGHTS:
        found += [words["here"], words["together"]]
    return tuple(found[:_INSIGHTS])


def _of_scores(assessment: Assessment, language: Language) -> Iterator[str]:
    words = _WORDS[language]
    interests = [(RIASEC_NAMES[language][initial], score) for initial, score in assessment.riasec]
    yield from _leading("interest", interests, language)
    for initial, score in assessment.ocean[:1]:
        yield words["trait"].format(trait=OCEAN_NAMES[language][initial], score=_shown(score))
    strengths = [(strength_in(language, strength), score) for strength, score in assessment.via]
    yield from _leading("strength", strengths, language)
    archetype = name_in(assessment.profile, "archetype")
    if archetype:
        yield words["archetype"].format(archetype=archetype)


def _leading(what: str, ranked: list[tuple[str, float]], language: Language) -> Iterator[str]:
    words, scores = _WORDS[language], [score for _, score in ranked]
    if len(ranked) > 1:
        (first, _), (second, _) = ranked[:2]
        yield words[f"{what}s"].format(
            first=first, first_score=_shown(scores[0]), second=second, second_score=_shown(scores[1])
        )
    elif ranked:
        yield words[what].format(first=ranked[0][0], first_score=_shown(scores[0]))


def _of_other_tests(context_data: Any, language: Language) -> Iterator[str]:
    """A test of another kind has scores under names of its own."""
    data = context_data.get("test_data") if isinstance(context_data, Mapping) else None
    scores = sorted(_numbers(data, _DEPTH), key=lambda item: -item[1])
    for key, (name, score) in zip(("score", "next_score"), scores, strict=False):
        yield _WORDS[language][key].format(name=name, score=_shown(score))


def _numbers(value: Any, depth: int) -> Iterator[tuple[str, float]]:
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if isinstance(item, int | float) and not isinstance(item, bool) and 0 <= item <= _HIGHEST_SCORE:
            name = name_in({"name": key}, "name")
            if name:
                yield name, float(item)
        elif depth:
            yield from _numbers(item, depth - 1)


def _called(context_data: Any) -> str:
    """`, Siti`: by which the user is greeted, where it is known."""
    known = context_data.get("user_profile") if isinstance(context_data, Mapping) else None
    name = name_in(known, "name") if isinstance(known, Mapping) else None
    return f", {name.split()[0]}" if name else ""


def _shown(score: float) -> str:
    return f"{round(score, 1):g}"
