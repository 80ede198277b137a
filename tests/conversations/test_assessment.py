"""Reading an assessment out of any context data (assessment.py): the plan's summary line."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations.assessment import Assessment, read_assessment, summarise

SEED = {
    "riasec": {"R": 85, "I": 92, "A": 78, "S": 60, "E": 55, "C": 40},
    "ocean": {"O": 88, "C": 75, "E": 82, "A": 70, "N": 20},
    "viaIs": {"creativity": 90, "leadership": 85},
    "personaProfile": {"summary": "…", "details": "…"},
    "assessmentDate": "2024-01-01T00:00:00.000Z",
}
REAL = {
    "test_data": {
        "riasec": {
            "realistic": 85, "investigative": 92, "artistic": 78, "social": 60, "enterprising": 55, "conventional": 40,
        },
        "ocean": {
            "openness": 88, "conscientiousness": 75, "extraversion": 82, "agreeableness": 70, "neuroticism": 20,
        },
        "viaIs": {"creativity": 90, "loveOfLearning": 85},
    },
    "test_result": {"archetype": "The Analyst"},
}  # fmt: skip
LINE = "RIASEC (I: 92, R: 85, A: 78), Big Five (O: 88, E: 82, C: 75), Career Profile: Available"


@pytest.mark.parametrize(
    "context_data",
    [
        SEED,
        REAL,
        {"assessment_data": SEED},
        {"assessment_data": REAL},
        {"analysis_results": SEED},
        {"data": REAL, "created_from_event": True},
        {"assessment_id": "x", "assessment_data": REAL["test_data"], "persona_profile": REAL["test_result"]},
        SEED | {"riasec": {"Realistic": 85.0, "INVESTIGATIVE": 92, "artistic": 78}},
    ],
)
def test_the_summary_is_the_plans_line_whatever_the_shape(context_data: dict[str, Any]):
    assert summarise(read_assessment(context_data)) == LINE


@pytest.mark.parametrize(
    ("context_data", "line"),
    [
        (None, None),
        ({}, None),
        ([], None),
        ("riasec", None),
        ({"riasec": None, "ocean": [], "test_result": None}, None),
        ({"riasec": {"I": 92.46}}, "RIASEC (I: 92.5)"),
        ({"ocean": {"O": 5, "X": 50}}, "Big Five (O: 5)"),
        ({"riasec": {"R": 50, "I": 50, "A": 50, "S": 50}}, "RIASEC (R: 50, I: 50, A: 50)"),
        ({"riasec": {"R": "85", "I": True, "A": -1, "S": 101, "E": float("nan"), "C": 10**400}}, None),
        ({"test_result": {"archetype": "x"}}, "Career Profile: Available"),
        ({"test_result": {}}, None),
        ({"iq": {"score": 110}}, None),
    ],
)
def test_what_is_absent_or_odd_is_passed_over(context_data: Any, line: str | None):
    assessment = read_assessment(context_data)
    assert summarise(assessment) == line
    assert assessment.empty is (line is None)


def test_strengths_are_shown_in_words_the_strongest_first():
    via = {"via_is": {"love_of_learning": 70, "selfRegulation": 90, "humor": 80, "nonsense": 99}}
    assert read_assessment(via) == Assessment(
        via=(("self-regulation", 90), ("humour", 80), ("love of learning", 70))
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["riasec", "ocean", "viaIs", "test_data", "test_result", "data", "R", "I", "openness"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_context_data_gives_a_summary_or_none(context_data: Any):
    line = summarise(read_assessment(context_data))
    assert line is None or (line and "\n" not in line)
