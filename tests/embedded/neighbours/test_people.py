"""Made-up people (people.py): varied, the same for the same seed, and what the ecosystem writes."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations.assessment import read_assessment
from server.conversations.language import language_of
from server.conversations.suggestions import suggest
from server.embedded.neighbours.people import Language, made_up_name, made_up_scores, written_persona
from server.embedded.neighbours.samples import INDUSTRY, OCEAN, RIASEC, VIA, Sample, sample_result

LANGUAGES: tuple[Language, ...] = ("id", "en")
seeds = st.uuids(version=4).map(str)


@given(seeds)
def test_scores_are_whole_and_two_interests_stand_out(seed: str):
    scores = made_up_scores(seed)
    assert {scale: set(names) for scale, names in scores.items()} == {
        "riasec": set(RIASEC),
        "ocean": set(OCEAN),
        "viaIs": set(VIA),
        "industryScore": set(INDUSTRY),
    }
    assert all(
        type(score) is int and 0 <= score <= 100 for each in scores.values() for score in each.values()
    )
    first, second, third, *_ = sorted(scores["riasec"].values(), reverse=True)
    assert first > second > third
    assert made_up_scores(seed) == scores


@given(seed=seeds, language=st.sampled_from(LANGUAGES))
def test_a_persona_has_todays_fields_and_is_written_in_its_language(seed: str, language: Language):
    real = sample_result(Sample(), identity=seed, user=seed, created_at="")["test_result"]
    persona = written_persona(made_up_scores(seed), seed=seed, language=language)
    assert set(persona) == set(real)
    for career in persona["careerRecommendation"]:
        assert set(career) == set(real["careerRecommendation"][0])
        assert set(career["careerProspect"]) == set(real["careerRecommendation"][0]["careerProspect"])
    assert language_of([persona["shortSummary"], *persona["insights"]]) == language
    assert "{" not in str([text for text in persona.values() if isinstance(text, str)])


@pytest.mark.parametrize("language", LANGUAGES)
def test_people_differ_and_so_do_the_questions_they_are_offered(language: Language):
    offered, archetypes = set(), set()
    for number in range(40):
        scores = made_up_scores(str(number))
        persona = written_persona(scores, seed=str(number), language=language)
        assessment = read_assessment({"test_data": scores, "test_result": persona})
        archetypes.add(persona["archetype"])
        offered.add(suggest("assessment", assessment, language=language)[:3])
    assert len(archetypes) > 10
    assert len(offered) > 15
    assert len({made_up_name(str(number)) for number in range(40)}) > 4
