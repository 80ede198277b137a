"""The welcome (conversations/welcome.py): from the real scores, in the language of the results, never too long."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.assessments.results import read_result
from server.conversations import welcome
from server.embedded.neighbours.samples import Sample, sample_result

RESULT = "22222222-2222-4222-8222-222222222222"
USER = "33333333-3333-4333-8333-333333333333"


def context_of(**sample: Any) -> dict[str, Any]:
    """What a conversation keeps of a sample."""
    document = sample_result(Sample(**sample), identity=RESULT, user=USER, created_at="2026-03-01T08:30:00Z")
    return read_result(document, asked=RESULT).context_data


names = st.text(max_size=40)
scores = st.dictionaries(
    st.sampled_from(["realistic", "investigative", "artistic", "social", "I", "R", "openness", "odd"])
    | names,
    st.integers(-5, 150) | st.floats(allow_nan=True) | st.booleans() | st.none() | names,
    max_size=6,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "assessment_language": st.sampled_from(["id", "en", "de"]) | st.none(),
        "test_data": st.fixed_dictionaries(
            {}, optional={"riasec": scores, "ocean": scores, "viaIs": scores, "iq": scores}
        )
        | json_values,
        "test_result": st.dictionaries(names, json_values, max_size=4),
        "user_profile": st.fixed_dictionaries({}, optional={"name": names | st.integers()}) | json_values,
    },
)


@given(contexts | json_values)
def test_whatever_is_known_there_is_a_whole_welcome_of_less_than_150_words(context_data: Any):
    opening = welcome.opening(context_data)
    assert 0 < len(opening.text.split()) < welcome.MAX_WORDS
    assert opening.metadata["type"] == "assessment_welcome"
    assert len(opening.metadata["suggested_questions"]) == 3
    assert len(set(opening.metadata["suggested_questions"])) == 3
    assert 2 <= len(opening.metadata["insights"]) <= 3
    for noted in (*opening.metadata["suggested_questions"], *opening.metadata["insights"]):
        assert noted in opening.text
        assert noted in welcome.instruction(context_data)


@pytest.mark.parametrize("shape", ["test_data", "assessment_data", "top"])
@pytest.mark.parametrize(
    ("language", "insights", "hello"),
    [
        (
            "en",
            [
                "Your strongest interests: Investigative (92) and Artistic (78).",
                "Of the Big Five, openness stands out most in you (88).",
                "Your leading strengths: curiosity (93) and love of learning (90).",
            ],
            "Hello!",
        ),
        (
            "id",
            [
                "Minat terkuatmu adalah Investigatif (92) dan Artistik (78).",
                "Dari lima besar kepribadian, keterbukaan terhadap pengalaman paling menonjol padamu (88).",
                "Kekuatan utamamu: rasa ingin tahu (93) dan cinta belajar (90).",
            ],
            "Halo!",
        ),
    ],
)
def test_the_insights_are_the_real_scores_in_the_language_of_the_results(
    shape: str, language: str, insights: list[str], hello: str
):
    context_data = context_of(shape=shape, language=language)
    assert list(welcome.insights(context_data)) == insights
    assert welcome.opening(context_data).text.startswith(hello)


def test_a_test_of_another_kind_is_spoken_of_by_its_own_scores():
    noticed = welcome.insights(context_of(scores=False, language="en"))
    assert noticed[1:] == ("Your highest result is numerik (124).", "verbal follows with 118.")


def test_without_any_scores_and_profile_nothing_is_invented():
    noticed = welcome.insights({"assessment_language": "en", "test_data": {}, "test_result": {}})
    assert len(noticed) == 2
    assert not any(char.isdigit() for each in noticed for char in each)


@pytest.mark.parametrize(
    ("profile", "hello"),
    [
        ({"name": "Siti Rahmawati"}, "Hello, Siti!"),
        ({"name": "   "}, "Hello!"),
        ({"name": "x" * 200}, "Hello!"),
        ({"name": 7}, "Hello!"),
        ({}, "Hello!"),
        ("Siti", "Hello!"),
    ],
)
def test_the_user_is_greeted_by_the_name_that_is_known(profile: Any, hello: str):
    context_data = {"assessment_language": "en", "user_profile": profile}
    assert welcome.opening(context_data).text.startswith(hello)


def test_a_model_is_asked_in_the_language_of_the_results():
    assert welcome.instruction({"assessment_language": "en"}).startswith("Write your first message")
    assert welcome.instruction({"assessment_language": "id"}).startswith("Tulis pesan pertamamu")
    assert welcome.instruction({}).startswith("Tulis pesan pertamamu")
