"""Sans-I/O. Scripts and behaviours: who gets which, and what is none."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.embedded.openrouter import tokens
from server.embedded.openrouter.behaviour import Behaviour, Failure, Framing, Insertion, Pause
from server.embedded.openrouter.script import Script, ScriptBook, ScriptError, parse_script

MINI = "openai/gpt-4o-mini"


def named(*names: str, **more: Any) -> Script:
    return Script(calls=tuple(Behaviour(name=name) for name in names), **more)


def taken(book: ScriptBook, *questions: str, model: str = MINI) -> list[str | None]:
    found = [book.take(model, (question,)) for question in questions]
    return [None if behaviour is None else behaviour.name for behaviour in found]


def a_book(*scripts: Script) -> ScriptBook:
    book = ScriptBook()
    for script in scripts:
        book.add(script)
    return book


def test_each_call_takes_the_next_behaviour_and_then_none():
    assert taken(a_book(named("a", "b")), "", "", "") == ["a", "b", None]


def test_scripts_are_used_in_the_order_they_came():
    assert taken(a_book(named("a"), named("b", "c"), named("d")), *[""] * 5) == ["a", "b", "c", "d", None]


def test_a_repeating_script_keeps_its_last_behaviour_for_what_nobody_else_answers():
    book = a_book(named("a", "b", repeat=True), named("c"))

    assert taken(book, *[""] * 5) == ["a", "b", "c", "b", "b"]


def test_a_script_is_for_its_model_and_its_words():
    book = a_book(named("m", model="x/y"), named("w", match="boat"), named("other"))

    assert taken(book, "a boat?", model=MINI) == ["w"]
    assert taken(book, "a boat?", model="x/y") == ["m"]
    assert taken(book, "a boat?", model="x/y") == ["other"]
    assert taken(book, "a boat?", model="x/y") == [None]


def test_either_question_may_hold_the_words():
    book = a_book(named("w", match="boat"))

    behaviour = book.take(MINI, ("go on", "the boat"))
    assert behaviour is not None
    assert behaviour.name == "w"


def test_a_cleared_book_holds_nothing():
    book = a_book(named("a", repeat=True))
    book.clear()

    assert taken(book, "") == [None]


def test_a_script_of_json_is_the_script():
    value = json.loads(
        '{"calls":[{"text":"a","fail":{"how":"reset","at_byte":7},"pauses":[{"at":1,"ms":5}],'
        '"insert":[{"at":0,"what":"huge","size":9}],"framing":{"newline":"cr"},"headers":{"X":"1"}},'
        '{"tokens":["b"],"generation_statuses":[404]}],"model":"x/y","match":"z","repeat":true}'
    )

    assert parse_script(value) == Script(
        calls=(
            Behaviour(
                text="a",
                fail=Failure(how="reset", at_byte=7),
                pauses=(Pause(at=1, ms=5),),
                insert=(Insertion(at=0, what="huge", size=9),),
                framing=Framing(newline="cr"),
                headers={"X": "1"},
            ),
            Behaviour(tokens=("b",), generation_statuses=(404,)),
        ),
        model="x/y",
        match="z",
        repeat=True,
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "object"),
        ([], "object"),
        ({}, "calls"),
        ({"calls": []}, "at least one"),
        ({"calls": [{}], "modle": "x"}, "modle"),
        ({"calls": [{"txt": "x"}]}, "txt"),
        ({"calls": [{"text": 7}]}, "calls[0].text"),
        ({"calls": [{"fail": {"how": "burn"}}]}, "burn"),
        ({"calls": [{"fail": {}}]}, "how"),
        ({"calls": [{"text": "a", "tokens": ["b"]}]}, "exclude each other"),
        ({"calls": [{"error": "none"}]}, "unknown `error`"),
        ({"calls": [{"error": "internal", "status": 500}]}, "exclude each other"),
        ({"calls": [{"status": 200}]}, "400 to 599"),
        ({"calls": [{"continuation": "overlap"}]}, "continuation"),
        ({"calls": [{"jitter": 2}]}, "jitter"),
        ({"calls": [{"comment_every_ms": 0}]}, "comment_every_ms"),
        ({"calls": [{"first_token_ms": -1}]}, "first_token_ms"),
        ({"calls": [{"first_token_ms": math.inf}]}, "first_token_ms"),
        ({"calls": [{"interval_ms": math.nan}]}, "interval_ms"),
        ({"calls": [{"gate_at": -1}]}, "gate_at"),
        ({"calls": [{"gate": "a\nb"}]}, "line ends"),
        ({"calls": [{"headers": {"X": "a\r\nY: b"}}]}, "line ends"),
        ({"calls": [{"message": "\ud800", "status": 500}]}, "message"),
        ({"calls": [{"metadata": {"x": "\ud800"}}]}, "metadata"),
        ({"calls": [{"served_model": "\ud800"}]}, "served_model"),
        ({"calls": [{"fail": {"how": "error", "at": -1}}]}, "at"),
        ({"calls": [{"fail": {"how": "error", "at_byte": 1}}]}, "at_byte"),
        ({"calls": [{"fail": {"how": "error", "message": "\ud800"}}]}, "message"),
        ({"calls": [{"pauses": [{"at": 0, "ms": -1}]}]}, "ms"),
        ({"calls": [{"insert": [{"at": 0, "what": "raw"}]}]}, "raw"),
        ({"calls": [{"insert": [{"at": 0, "what": "empty", "count": -1}]}]}, "count"),
        ({"calls": [{"framing": {"size": 0}}]}, "framing.size"),
        ({"calls": [{"framing": {"events_per_write": 0}}]}, "events_per_write"),
    ],
)
def test_what_is_no_script_is_refused_with_its_place(value: Any, says: str):
    with pytest.raises(ScriptError, match=r".+") as told:
        parse_script(value)

    assert says in str(told.value)


def test_a_behaviour_made_in_python_is_checked_too():
    with pytest.raises(ValueError, match="exclude"):
        Behaviour(text="a", tokens=("b",))


@given(st.from_type(dict) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.sampled_from(["calls", "text", "fail", "how", "at"]), i), max_leaves=9))  # fmt: skip
def test_any_json_is_a_script_or_a_script_error(value: Any):
    try:
        assert isinstance(parse_script(value), Script)
    except ScriptError as error:
        assert str(error)  # noqa: PT017 - either of the two


def test_a_behaviour_survives_json():
    behaviour = Behaviour(text="a😀", fail=Failure(how="eof", at=3), framing=Framing(split="utf8"))

    assert msgspec.json.decode(msgspec.json.encode(behaviour), type=Behaviour) == behaviour


# --- tokens -----------------------------------------------------------------------------------------

_texts = st.text(max_size=60)


@given(_texts)
def test_deltas_are_the_text(text: str):
    assert "".join(tokens.split(text)) == text
    assert all(tokens.split(text))


@given(_texts)
def test_cut_characters_meet_again(text: str):
    cut = tokens.split_surrogates(tokens.split(text))

    assert tokens.join(cut) == text
    assert not any(ord(character) > 0xFFFF for piece in cut for character in piece)


@given(_texts)
def test_a_token_is_four_code_points(text: str):
    assert tokens.count(text) == math.ceil(len(text) / 4)


@given(st.text(st.characters(), max_size=30))
def test_every_text_is_written_as_json_and_read_again(text: str):
    assert json.loads(tokens.as_json(text)) == text


@given(st.text(st.characters(), max_size=30))
def test_a_clean_text_can_be_stored(text: str):
    clean = tokens.clean(text)

    assert len(clean) == len(text)
    assert clean.encode().decode() == clean
    assert "\0" not in clean
