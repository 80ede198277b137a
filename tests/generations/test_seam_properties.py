"""What the seam promises for every text, every place it was cut and every way the rest comes (seam.py)."""

import hypothesis.strategies as st
from hypothesis import assume, given

from server.generations.graphemes import joined
from server.generations.overlap import _goes_on, _spoken, period, tells
from server.generations.seam import Seam
from tests.generations.texts import PREAMBLES, chunkings, join_all, prose


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, str]:
    text = draw(prose())
    at = draw(st.integers(1, len(text)))
    return text[:at], text[at:]


def overlaps(shown: str) -> list[int]:
    """Ends that are evidence: "amu namun" is none, since to letters it is the same twice."""
    return [size for size in range(8, len(shown) + 1) if tells(shown[-size:]) and not is_run(shown, size)]


def is_run(shown: str, size: int) -> bool:
    said = _spoken(shown[-size:])
    return period(said) > 0 or _goes_on(_spoken(shown), len(said))


@given(cut_texts(), st.data())
def test_a_clean_continuation_gives_the_text(cut, data):
    shown, rest = cut
    assert join_all(shown, data.draw(chunkings(rest))) == shown + rest


@given(cut_texts(), st.data())
def test_a_clean_continuation_gives_the_text_however_slowly_it_comes(cut, data):
    shown, rest = cut
    chunks = data.draw(chunkings(rest))
    pauses = data.draw(st.lists(st.floats(0, 4), min_size=len(chunks), max_size=len(chunks)))
    assert join_all(shown, chunks, pauses=pauses) == shown + rest


@given(cut_texts(), st.data())
def test_a_repeated_overlap_is_cut(cut, data):
    shown, rest = cut
    sizes = overlaps(shown)
    assume(sizes)
    again = shown[-data.draw(st.sampled_from(sizes)) :] + rest
    assert join_all(shown, data.draw(chunkings(again))) == shown + rest


@given(cut_texts(), st.data())
def test_an_overlap_is_cut_whether_or_not_the_model_saw_the_white_space_at_the_end(cut, data):
    shown, rest = cut
    kept = shown.rstrip()
    sizes = overlaps(kept)
    assume(sizes)
    again = kept[-data.draw(st.sampled_from(sizes)) :] + shown[len(kept) :] + rest
    assert join_all(shown, data.draw(chunkings(again)), trimmed=True) == shown + rest


@given(cut_texts(), st.booleans(), st.data())
def test_an_answer_begun_again_gives_the_text_once(cut, trimmed, data):
    shown, rest = cut
    assume(len(shown) >= 8 and tells(shown))
    assert join_all(shown, data.draw(chunkings(shown + rest)), trimmed=trimmed) == shown + rest


@given(cut_texts(), st.data())
def test_an_answer_begun_again_with_other_white_space_gives_its_words_once(cut, data):
    shown, rest = cut
    assume(len("".join(shown.split())) >= 40)
    again = "  ".join(shown.split(" ")) + rest
    result = join_all(shown, data.draw(chunkings(again)))
    assert result.split() == (shown + rest).split()


@given(cut_texts(), st.sampled_from(PREAMBLES), st.booleans(), st.data())
def test_a_preamble_is_left_out(cut, preamble, trimmed, data):
    shown, rest = cut
    continuation = preamble + rest
    assert join_all(shown, data.draw(chunkings(continuation)), trimmed=trimmed) == shown + rest


@given(cut_texts(), st.sampled_from(PREAMBLES), st.data())
def test_a_preamble_before_a_repetition_is_left_out_with_it(cut, preamble, data):
    shown, rest = cut
    sizes = overlaps(shown)
    assume(sizes)
    continuation = preamble + shown[-data.draw(st.sampled_from(sizes)) :] + rest
    assert join_all(shown, data.draw(chunkings(continuation))) == shown + rest


@given(cut_texts(), st.sampled_from([" ", "  ", "\n", "\n\n", " \n"]), st.booleans(), st.data())
def test_white_space_that_prefill_cut_off_is_right_whether_the_model_brings_it_or_not(
    cut, space, brings, data
):
    before, rest = cut
    rest = rest.lstrip()
    assume(rest and rest[0] not in ",.;:!?)]}%…—")
    shown = before.rstrip() + space
    continuation = (space if brings else "") + rest
    assert join_all(shown, data.draw(chunkings(continuation)), trimmed=True) == shown + rest


@given(cut_texts(), st.data())
def test_a_joint_never_splits_a_grapheme(cut, data):
    shown, rest = cut
    sizes = overlaps(shown)
    continuation = data.draw(st.sampled_from([rest, shown + rest, *(shown[-size:] + rest for size in sizes)]))
    seam = Seam(shown, hold_chars=200, hold_seconds=0.7, now=0.0)
    released = seam.feed(continuation, 0.0)
    if released is None:
        released = seam.close()
    assert not joined(shown[: seam.begin], released)


# lines, rules, runs, fences, indentations and greetings, in any order and any number
_UNITS = st.sampled_from(
    ["ha ho he ", "abc", "abcdefgh", "x", " ", "    ", "\n", "- ", "1. ", "2. ", "---", "| a | b |\n", "```", "~~~",
     "```py\n", "the rest ", "Sure, ", "continuing", "from where I left off", ":", "Lanjut", "🇮🇩", "👍🏽", "\u0301"]
)  # fmt: skip
_MIXED = st.lists(st.tuples(_UNITS, st.integers(1, 40)), max_size=8).map(
    lambda units: "".join(unit * times for unit, times in units)
)


@st.composite
def repetitive(draw: st.DrawFn) -> tuple[str, str]:
    shown = draw(_MIXED)
    new = draw(
        st.sampled_from(["", *PREAMBLES])
        | st.integers(0, max(0, len(shown) - 1)).map(lambda at: shown[at:])
        | st.integers(0, len(shown)).map(lambda end: shown[:end])
        | _MIXED
    )
    return shown, new + draw(_MIXED | st.integers(0, len(shown)).map(lambda at: shown[at:]))


@given(repetitive(), st.booleans(), st.sampled_from([40, 200]), st.data())
def test_in_which_pieces_a_continuation_comes_does_not_matter(texts, trimmed, hold_chars, data):
    shown, new = texts
    whole = join_all(shown, [new] if new else [], trimmed=trimmed, hold_chars=hold_chars)
    pieces = data.draw(chunkings(new))
    assert join_all(shown, pieces, trimmed=trimmed, hold_chars=hold_chars) == whole


@given(repetitive(), st.data())
def test_the_result_is_a_beginning_of_what_was_shown_and_an_end_of_what_came(texts, data):
    shown, new = texts
    chunks = data.draw(chunkings(new))
    pauses = data.draw(st.lists(st.floats(0, 4), min_size=len(chunks), max_size=len(chunks)))
    result = join_all(shown, chunks, pauses=pauses)

    def kept_before(ending: str) -> str | None:
        return result.removesuffix(ending) if result.endswith(ending) else None

    kept = [kept_before(new[skip:]) for skip in range(len(new) + 1)]
    # a list item that follows an item gets its line break; nothing else is ever invented
    assert any(each is not None and (shown.startswith(each) or each == shown + "\n") for each in kept)
