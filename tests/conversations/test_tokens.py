"""Token estimates (tokens.py): safe for any text, corrected per model."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.conversations import tokens
from server.conversations.tokens import Calibration

ENGLISH = (
    "I have just finished my assessment and I'm not sure which career fits me. My scores say that I am "
    "investigative and realistic, but I enjoy drawing, too."
)
INDONESIAN = (
    "Saya baru saja menyelesaikan asesmen dan belum yakin karier apa yang cocok untuk saya. Bisakah kamu "
    "menjelaskan jurusan kuliah, keterampilan, dan pekerjaan pertama yang sesuai?"
)
CHINESE = "我刚刚完成了测评还不确定哪种职业适合我。我的分数显示我是研究型和实用型但我也喜欢画画。"
JSON = '{"riasec":{"realistic":85,"investigative":92,"artistic":78,"social":60},"viaIs":{"creativity":90}}'


# Counted with the real o200k and cl100k encodings. An estimate within a factor of two is put right by
# the reserve and by calibration.
@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [(ENGLISH, 32, 33), (INDONESIAN, 38, 51), (CHINESE, 35, 50), (JSON, 33, 33)],
)
def test_an_estimate_is_within_half_and_double_of_real_tokenizers(text: str, o200k: int, cl100k: int):
    assert max(o200k, cl100k) / 2 <= tokens.estimate_text(text) <= min(o200k, cl100k) * 2


@given(st.text())
def test_a_text_has_no_more_tokens_than_characters_and_some_unless_empty(text: str):
    assert (1 if text else 0) <= tokens.estimate_text(text) <= len(text)


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_longer_text_never_costs_much_less(text: str, more: str):
    # joining two texts can merge tokens at the seam only
    together = tokens.estimate_text(text + more)
    assert together >= tokens.estimate_text(text) + tokens.estimate_text(more) - 3


def test_an_image_costs_the_same_whatever_its_address():
    assert tokens.estimate_content("data:image/png;base64,AAAA", "image") == tokens.IMAGE_TOKENS
    assert tokens.estimate_text("hello there") == tokens.estimate_content("hello there", "text")


def test_a_model_nobody_heard_of_has_factor_one():
    assert Calibration().factor("any/model") == 1.0


def test_a_factor_moves_towards_what_the_upstream_reports():
    calibration = Calibration()
    for _ in range(40):
        calibration.observe("a", estimated=100, reported=150)
    assert calibration.factor("a") == pytest.approx(1.5, abs=0.01)
    assert calibration.factor("b") == 1.0


@given(st.lists(st.tuples(st.integers(-5, 10**6), st.integers(-5, 10**6)), max_size=60))
def test_a_factor_stays_within_its_bounds(reports: list[tuple[int, int]]):
    calibration = Calibration()
    for estimated, reported in reports:
        calibration.observe("a", estimated=estimated, reported=reported)
        assert 0.7 <= calibration.factor("a") <= 2.0


def test_a_report_of_nothing_teaches_nothing():
    calibration = Calibration()
    calibration.observe("a", estimated=0, reported=100)
    calibration.observe("a", estimated=100, reported=0)
    assert calibration.factor("a") == 1.0


def test_the_table_of_models_does_not_grow_without_bound():
    calibration = Calibration()
    for index in range(1000):
        calibration.observe("kept", estimated=100, reported=200)
        calibration.observe(f"model-{index}", estimated=100, reported=200)
    assert len(calibration._factors) <= 256
    assert calibration.factor("kept") > 1.9
    assert calibration.factor("model-0") == 1.0


@pytest.mark.parametrize(
    ("budget", "factor", "expected"),
    [(6000, 1.0, 5400), (6000, 2.0, 2700), (6000, 0.75, 7200), (1, 1.0, 1), (0, 1.5, 0), (-1, 1.0, 0)],
)
def test_a_tenth_of_a_budget_stays_in_reserve(budget: int, factor: float, expected: int):
    assert tokens.usable(budget, factor) == expected
