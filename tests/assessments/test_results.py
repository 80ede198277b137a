"""A result of the archive (results.py): three shapes, one meaning, one owner, one language."""

import json
from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.assessments.results import ResultMalformed, read_result
from server.conversations.assessment import read_assessment, summarise
from server.embedded.neighbours.samples import Sample, Shape, sample_result

USER = "11111111-1111-4111-8111-111111111111"
RESULT = "22222222-2222-4222-8222-222222222222"
CHAT = "33333333-3333-4333-8333-333333333333"
CREATED = "2026-03-01T08:30:00.000Z"
LINE = "RIASEC (I: 92, A: 78, S: 66), Big Five (O: 88, C: 75, A: 71), Career Profile: Available"
SHAPES: list[Shape] = ["test_data", "assessment_data", "top"]


def a_document(**other: Any) -> dict[str, Any]:
    return sample_result(Sample(**other), identity=RESULT, user=USER, created_at=CREATED)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_three_shapes_mean_the_same(shape: Shape):
    result = read_result(a_document(shape=shape), asked=RESULT)
    assert (result.id, result.user, result.language) == (RESULT, USER, "id")
    assert result.created_at == datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    assert summarise(result.assessment) == LINE
    assert result.assessment.via[:2] == (("curiosity", 93), ("love of learning", 90))
    assert result.assessment.profile["archetype"] == "Sang Peneliti Kreatif"
    assert result.finished


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_conversation_keeps_is_understood_again_and_holds_no_raw_answers(shape: Shape):
    result = read_result(a_document(shape=shape), asked=RESULT)
    kept = json.loads(json.dumps(result.context_data))
    assert read_assessment(kept) == result.assessment
    assert set(kept) == {
        "assessment_id",
        "assessment_date",
        "assessment_language",
        "test_data",
        "test_result",
    }
    assert kept["assessment_id"] == RESULT
    assert kept["assessment_date"] == "2026-03-01T08:30:00.000Z"


def test_the_oldest_wrapper_may_hold_the_profile_too():
    document = {
        "user_id": USER,
        "assessment_data": {"riasec": {"I": 92}, "personaProfile": {"shortSummary": "Kamu suka belajar"}},
    }
    result = read_result(document, asked=RESULT)
    assert summarise(result.assessment) == "RIASEC (I: 92), Career Profile: Available"


@pytest.mark.parametrize("shape", ["test_data", "assessment_data"])
def test_another_test_has_no_scores_and_is_finished_all_the_same(shape: Shape):
    result = read_result(a_document(shape=shape, scores=False), asked=RESULT)
    assert result.assessment.riasec == ()
    assert result.context_data["test_data"]["iq"]["total"] == 117
    assert result.finished


def test_scores_without_a_profile_are_something_and_nothing_at_all_is_not_finished():
    assert read_result(a_document(profile=False), asked=RESULT).finished
    nothing = {"id": RESULT, "user_id": USER, "test_data": None, "test_result": None}
    result = read_result(nothing, asked=RESULT)
    assert not result.finished
    assert result.assessment.empty
    assert result.language == "id"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user_id": None}, "whose it is"),
        ({"user_id": "somebody"}, "whose it is"),
        ({"id": CHAT}, "not the one asked for"),
        ({"id": 7}, "not the one asked for"),
    ],
)
def test_a_result_that_is_not_plainly_the_one_asked_for_is_malformed(change: dict[str, Any], reason: str):
    with pytest.raises(ResultMalformed, match=reason):
        read_result(a_document() | change, asked=RESULT)


@pytest.mark.parametrize("document", [None, [], "x", 7])
def test_what_is_no_object_is_malformed(document: Any):
    with pytest.raises(ResultMalformed, match="not an object"):
        read_result(document, asked=RESULT)


def test_ownership_is_the_results_user_whatever_the_case_of_letters():
    user = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
    result = read_result(a_document() | {"user_id": user.upper()}, asked=RESULT.upper())
    assert result.belongs_to(user)
    assert result.belongs_to(user.upper())
    assert not result.belongs_to(USER)


def test_the_conversation_the_archive_knows_is_told():
    assert read_result(a_document() | {"chatbot_id": CHAT}, asked=RESULT).linked_conversation == CHAT
    assert read_result(a_document() | {"chatbot_id": "none"}, asked=RESULT).linked_conversation is None


@pytest.mark.parametrize("language", ["id", "en"])
def test_the_language_is_the_texts(language: Any):
    assert read_result(a_document(language=language), asked=RESULT).language == language


@pytest.mark.parametrize(
    ("value", "language"),
    [
        (None, "id"),
        ({}, "id"),
        ({"careers": ["UX Designer", "Data Scientist"]}, "id"),
        ({"summary": "You are open to the new and strong in the face of change"}, "en"),
        ({"summary": "Kamu terbuka pada hal baru dan kuat dalam menghadapi perubahan"}, "id"),
        ({"a": ["the and of", {"deep": ["to you with"]}]}, "en"),
        ({"a": "THE AND OF"}, "en"),
    ],
)
def test_the_language_is_told_by_small_words(value: Any, language: str):
    assert read_result(a_document() | {"test_result": value}, asked=RESULT).language == language


def test_what_postgresql_cannot_hold_is_replaced():
    document = a_document() | {"test_result": {"a\0b": ["c\0", "\ud800"]}}
    profile = read_result(document, asked=RESULT).context_data["test_result"]
    assert profile == {"a\ufffdb": ["c\ufffd", "?"]}


def test_nesting_without_end_is_cut():
    deep: Any = "the very bottom"
    for _ in range(200):
        deep = {"in": deep}
    kept = json.dumps(read_result(a_document() | {"test_data": deep}, asked=RESULT).context_data)
    assert "the very bottom" not in kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["riasec", "ocean", "viaIs", "test_data", "persona_profile", "personaProfile", "R"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from(
        [
            "riasec",
            "test_data",
            "test_result",
            "assessment_data",
            "persona_profile",
            "chatbot_id",
            "created_at",
        ]
    ),
    json_values,
)


@given(documents)
def test_any_result_that_says_whose_it_is_can_be_kept(document: dict[str, Any]):
    result = read_result(document | {"user_id": USER}, asked=RESULT)
    kept = json.dumps(result.context_data)
    assert "\\u0000" not in kept
    assert read_assessment(json.loads(kept)) == result.assessment
