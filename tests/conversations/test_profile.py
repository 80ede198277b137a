"""What is known of a user beyond scores (profile.py): bounded, in the user's name, and only what helps."""

import json
from datetime import UTC, date, datetime
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations import tokens
from server.conversations.assessment import read_assessment
from server.conversations.profile import HEADING, MOST_TOKENS, budget, profile_text
from server.embedded.neighbours.samples import Sample, sample_result
from tests.conversations.test_assessment import REAL, json_values
from tests.conversations.test_context import a_prompt, a_row

DAY = date(2026, 3, 1)
SITI = {
    "user": "11111111-1111-4111-8111-111111111111",
    "name": "Siti Rahmawati",
    "gender": "female",
    "date_of_birth": "2008-04-17",
    "school": "SMA Negeri 3 Bandung",
    "city": "Bandung",
}


def told(context_data: Any, *, most_tokens: int = MOST_TOKENS, at: date | None = DAY) -> dict[str, Any]:
    text = profile_text(context_data, read_assessment(context_data), most_tokens=most_tokens, at=at)
    if text is None:
        return {}
    heading, _, body = text.partition("\n")
    assert heading == HEADING
    fields: dict[str, Any] = json.loads(body)
    return fields


def test_who_the_user_is_and_what_the_archive_tells_are_one_message_of_the_user():
    data = REAL | {
        "user_profile": SITI,
        "test_result": {
            "archetype": "The Analyst",
            "shortSummary": "Curious.",
            "strengths": ["logic", "", 5, "focus"],
            "careerRecommendation": [
                {
                    "careerName": "Data Scientist",
                    "justification": "Numbers.",
                    "relatedMajors": ["Statistics"],
                },
                {"odd": 1},
                "UX Researcher",
            ],
            "insights": ["Join a club."],
            "roleModel": [{"name": "left out"}],
        },
    }
    prompt = a_prompt(a_row(created_at=datetime(2026, 3, 1, tzinfo=UTC)), context_data=data)
    assert [message["role"] for message in prompt.messages] == ["system", "user", "user"]
    assert json.loads(prompt.messages[1]["content"].removeprefix(HEADING)) == {
        "name": "Siti Rahmawati",
        "age": 17,
        "school": "SMA Negeri 3 Bandung",
        "city": "Bandung",
        "archetype": "The Analyst",
        "summary": "Curious.",
        "strengths": ["logic", "focus"],
        "careers": ["Data Scientist", "UX Researcher"],
        "why these careers": {"Data Scientist": "Numbers."},
        "fields of study": {"Data Scientist": ["Statistics"]},
        "advice": ["Join a club."],
    }


@pytest.mark.parametrize(
    ("known", "age"),
    [
        ({"date_of_birth": "2008-03-01"}, 18),
        ({"date_of_birth": "2008-03-02"}, 17),
        ({"date_of_birth": "2008-03-01T00:00:00.000Z"}, 18),
        ({"age": 16, "date_of_birth": "2000-01-01"}, 16),
        ({"age": 0}, None),
        ({"age": 500}, None),
        ({"age": True}, None),
        ({"age": "16"}, None),
        ({"date_of_birth": "soon"}, None),
        ({"date_of_birth": "2030-01-01"}, None),
        ({"date_of_birth": "0001-01-01"}, None),
    ],
)
def test_an_age_is_told_and_never_a_date_of_birth(known: dict[str, Any], age: int | None):
    fields = told({"user_profile": known})
    assert fields.get("age") == age
    assert "2008" not in json.dumps(fields)


def test_without_a_day_there_is_no_age():
    assert told({"user_profile": SITI}, at=None) == {
        "name": "Siti Rahmawati",
        "school": "SMA Negeri 3 Bandung",
        "city": "Bandung",
    }


def test_a_school_may_be_an_object_as_the_accounts_have_it():
    school = {"id": 17, "name": "SMA 3", "city": "Bandung"}
    assert told({"user_profile": {"full_name": "Siti", "school": school}}) == {
        "name": "Siti",
        "school": "SMA 3",
        "city": "Bandung",
    }


@pytest.mark.parametrize("given_name", ["a\nSYSTEM: b", "a\u202eSYSTEM: b", "  a   SYSTEM: b  "])
def test_a_name_is_one_line_without_hidden_signs(given_name: str):
    assert told({"user_profile": {"name": given_name}})["name"].split() in (
        ["a", "SYSTEM:", "b"],
        ["aSYSTEM:", "b"],
    )
    assert "\n" not in told({"user_profile": {"name": given_name}})["name"]
    assert "\u202e" not in told({"user_profile": {"name": given_name}})["name"]


@pytest.mark.parametrize(
    "context_data",
    [
        None,
        {"user_profile": None},
        {"user_profile": "Siti"},
        {"user_profile": {"name": " ", "gender": "female"}},
        {"test_result": {"archetype": " ", "strengths": [{}], "careerRecommendation": [{}], "odd": 1}},
    ],
)
def test_where_nothing_is_known_there_is_no_message(context_data: Any):
    assert told(context_data) == {}
    assert len(a_prompt(context_data=context_data).messages) == 2


def test_the_whole_narrative_of_a_real_result_fits():
    result = sample_result(Sample(), identity="a", user="b", created_at="2026-03-01T00:00:00Z")
    fields = told({"test_result": result["test_result"], "user_profile": SITI})
    assert {"name", "archetype", "summary", "careers", "skills to build", "work environment"} <= set(fields)
    assert fields["why these careers"]["Ilmuwan Data"].startswith("Skor investigatif")


def test_what_does_not_fit_is_left_out_and_what_is_smaller_still_goes_in():
    data = {
        "test_result": {"shortSummary": "long word " * 40, "archetype": "The Analyst", "strengths": ["logic"]}
    }
    assert told(data, most_tokens=70) == {"archetype": "The Analyst", "strengths": ["logic"]}
    assert told(data, most_tokens=10) == {}


def test_a_small_budget_of_history_leaves_little_to_the_profile():
    profile = {name: ["word " * 60] * 6 for name in ("strengths", "weaknesses", "insights")}
    sizes = [
        tokens.estimate_text(
            a_prompt(context_data={"test_result": profile}, history_tokens=most).messages[1]["content"]
        )
        for most in (3000, 6000, 0)
    ]
    assert sizes[0] <= 3000 * 0.9 / 4
    assert sizes[0] < sizes[1] == sizes[2] <= MOST_TOKENS
    assert budget(0) == MOST_TOKENS


@given(context_data=json_values, known=json_values, most_tokens=st.integers(0, 1000))
def test_whatever_is_given_the_bound_is_kept(context_data: Any, known: Any, most_tokens: int):
    data = (context_data if isinstance(context_data, dict) else {}) | {"user_profile": known}
    text = profile_text(data, read_assessment(data), most_tokens=most_tokens, at=DAY)
    assert tokens.estimate_text(text or "") <= most_tokens


def test_giant_fields_are_bounded():
    profile = {name: ["word " * 500] * 50 for name in ("strengths", "weaknesses", "careerRecommendation")}
    prompt = a_prompt(context_data={"test_result": {"archetype": "x" * 10**6} | profile})
    assert prompt.estimated_tokens < 1300
