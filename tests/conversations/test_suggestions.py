"""Questions to ask next (suggestions.py), and telling Indonesian from English (language.py)."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations.assessment import OCEAN, RIASEC, VIA, Assessment, read_assessment
from server.conversations.language import Language, language_of
from server.conversations.suggestions import LEAST, MOST, RIASEC_NAMES, suggest

CONTEXT_TYPES = ("general", "assessment", "career_guidance")
LANGUAGES: tuple[Language, ...] = ("en", "id")

REAL = {
    "test_data": {
        "riasec": {"realistic": 40, "investigative": 92, "artistic": 78, "social": 60, "enterprising": 55},
        "ocean": {"openness": 88, "conscientiousness": 75},
        "viaIs": {"loveOfLearning": 85, "creativity": 90},
    },
    "test_result": {
        "archetype": "The Thoughtful Maker",
        "careerRecommendation": [{"careerName": "UX Researcher"}, {"careerName": "Data Analyst"}, {"odd": 1}],
    },
}

scores = st.dictionaries(st.sampled_from([*RIASEC, *RIASEC.values(), "odd"]), st.integers(0, 100))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
assessments = st.builds(
    lambda riasec, ocean, via, profile: read_assessment(
        {"riasec": riasec, "ocean": ocean, "viaIs": via, "test_result": profile}
    ),
    scores,
    st.dictionaries(st.sampled_from(list(OCEAN)), st.integers(0, 100)),
    st.dictionaries(st.sampled_from(list(VIA)), st.integers(0, 100)),
    st.dictionaries(
        st.sampled_from(["archetype", "careerRecommendation", "careerRecommendations", "other"]),
        anything | st.lists(st.fixed_dictionaries({"careerName": anything}), max_size=4),
    ),
)


@given(
    context_type=st.sampled_from([*CONTEXT_TYPES, "unheard of"]),
    assessment=assessments,
    language=st.sampled_from(LANGUAGES),
)
def test_there_are_six_to_eight_different_lines_whatever_is_known(
    context_type: str, assessment: Assessment, language: Language
) -> None:
    questions = suggest(context_type, assessment, language=language)
    assert LEAST <= len(questions) <= MOST
    assert len(set(questions)) == len(questions)
    for question in questions:
        assert question.isprintable()
        assert question == question.strip()
        assert len(question) <= 160


@given(
    context_type=st.sampled_from(CONTEXT_TYPES), assessment=assessments, language=st.sampled_from(LANGUAGES)
)
def test_the_first_question_names_the_two_strongest_types(
    context_type: str, assessment: Assessment, language: Language
) -> None:
    first = suggest(context_type, assessment, language=language)[0]
    if len(assessment.riasec) >= 2:
        for initial, _ in assessment.riasec[:2]:
            assert RIASEC_NAMES[language][initial] in first
    else:
        # one alone may be named, but none that is not known
        known = {RIASEC_NAMES[language][initial] for initial, _ in assessment.riasec}
        assert {name for name in RIASEC_NAMES[language].values() if f"{name} " in first} <= known


@pytest.mark.parametrize("context_type", CONTEXT_TYPES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_without_an_assessment_no_type_is_named(context_type: str, language: Language) -> None:
    questions = suggest(context_type, Assessment(), language=language)
    for name in RIASEC_NAMES[language].values():
        assert not any(name in question for question in questions)
    assert not any("{" in question for question in questions)


def test_questions_follow_the_profile() -> None:
    known = read_assessment(REAL)
    assert suggest("assessment", known, language="en") == (
        "Which careers suit my Investigative and Artistic interests?",
        "What do my results say about me as The Thoughtful Maker?",
        "What does the way to UX Researcher look like, and does it fit me?",
        "How does my openness show at work?",
        "How can I make more of my strength in creativity?",
        "Which fields of study fit my Investigative side?",
        "What kind of work environment would bring out my best?",
        "Explain my personality profile in simple words.",
    )
    guidance = suggest("career_guidance", known, language="id")
    assert guidance[:4] == (
        "Pekerjaan apa yang memadukan minat Investigatif dan Artistik saya?",
        "Apa langkah pertama untuk menjadi UX Researcher?",
        "Apa kelebihan dan kekurangan UX Researcher sebagai karier saya?",
        "Bagaimana perbandingannya dengan Data Analyst?",
    )


def test_every_strength_and_trait_has_its_words_in_both_languages() -> None:
    for initial in OCEAN:
        for language in LANGUAGES:
            assert (
                len(suggest("assessment", Assessment(ocean=((initial, 90.0),)), language=language)) >= LEAST
            )
    for strength in VIA.values():
        named = suggest("assessment", Assessment(via=((strength, 90.0),)), language="en")
        assert any(strength in question for question in named)
        translated = suggest("assessment", Assessment(via=((strength, 90.0),)), language="id")
        assert any("kekuatan saya: " in question for question in translated)


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, None, 7, {"a": 1}, "\u202e\x07", ["a list"]], ids=repr)
def test_a_name_that_is_none_is_passed_over(name: Any) -> None:
    known = read_assessment(
        {"test_result": {"archetype": name, "careerRecommendation": [{"careerName": name}]}}
    )
    assert suggest("assessment", known, language="en") == suggest("assessment", Assessment(), language="en")


def test_braces_and_line_breaks_in_a_name_stay_within_their_question() -> None:
    known = read_assessment({"test_result": {"archetype": "a{first}\nb"}})
    assert "What do my results say about me as a{first} b?" in suggest("assessment", known, language="en")


@pytest.mark.parametrize("context_type", CONTEXT_TYPES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_are_in_the_language_asked_for(context_type: str, language: Language) -> None:
    for known in (Assessment(), read_assessment({"test_data": REAL["test_data"]})):
        for question in suggest(context_type, known, language=language):
            assert language_of([question], otherwise="en" if language == "id" else "id") == language


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["Apa jurusan yang cocok untuk saya?"], "id"),
        (["What should I study?"], "en"),
        (["Saya suka software engineering dan machine learning"], "id"),
        (["I like batik and gamelan, what job is that for?"], "en"),
        (["OK"], "id"),
        ([], "id"),
        (["", "!!!", "123"], "id"),
        (["Please explain this to me", "apa"], "en"),
    ],
)
def test_small_words_tell_the_language(texts: list[str], language: Language) -> None:
    assert language_of(texts) == language
    if not any(any(char.isalpha() for char in text) and len(text) > 2 for text in texts):
        assert language_of(texts, otherwise="en") == "en"


@pytest.mark.parametrize("context_type", ["assessment", "career_guidance"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ({"city": "Bandung"}, True),
        ({"city": "\n"}, False),
        ({"city": 7}, False),
        ({}, False),
        ("Bandung", False),
    ],
)
def test_where_the_user_lives_is_asked_about_where_it_is_known(
    context_type: str, language: Language, profile: Any, named: bool
) -> None:
    questions = suggest(context_type, read_assessment(REAL), language=language, profile=profile)
    assert any("Bandung" in question for question in questions) is named
    assert LEAST <= len(questions) <= MOST
