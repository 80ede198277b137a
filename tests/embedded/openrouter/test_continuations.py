"""Being asked to go on: who the question is from, and every manner of going on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.embedded.openrouter import continuation
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.continuation import GARBAGE, PREAMBLE, Question, continued, continues
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import ask, with_simulator

ANSWER = "One two three.\n\nFour five."
LLAMA = "meta-llama/llama-3.3-70b-instruct:free"
GPT = "openai/gpt-4o-mini"


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def said_to(messages: list[dict[str, Any]], how: str = "clean", model: str = LLAMA) -> str:
    async def act(simulator: Simulator) -> str:
        simulator.script(Behaviour(text=ANSWER, continuation=how))
        return (await ask(simulator, messages=messages, model=model)).text

    return with_simulator(act)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("clean", " three.\n\nFour five."),
        ("stripped", "three.\n\nFour five."),
        ("overlap:4", " two three.\n\nFour five."),
        ("overlap:0", " three.\n\nFour five."),
        ("overlap:999", ANSWER),
        ("restart", ANSWER),
        ("verbatim", ANSWER),
        ("preamble", PREAMBLE + "three.\n\nFour five."),
        ("preamble+restart", PREAMBLE + ANSWER),
        ("garbage", GARBAGE),
    ],
)
@pytest.mark.parametrize(
    "messages",
    [
        [user("Count."), assistant("One two")],
        [user("Count."), assistant("One two"), user("Continue exactly where you stopped.")],
        [user("Hitung."), assistant("One two"), user("Lanjutkan jawabanmu yang terpotong.")],
    ],
)
def test_a_model_goes_on_in_every_manner(messages: list[dict[str, Any]], how: str, expected: str):
    assert said_to(messages, how) == expected


@pytest.mark.parametrize("how", ["clean", "garbage"])
def test_a_model_without_prefill_starts_anew_after_a_partial_answer(how: str):
    assert said_to([user("Count."), assistant("One two")], how, GPT) == ANSWER


def test_a_model_without_prefill_goes_on_when_a_user_asks_it_to():
    messages = [user("Count."), assistant("One two"), user("Continue.")]

    assert said_to(messages, model=GPT) == " three.\n\nFour five."


@pytest.mark.parametrize(
    "messages",
    [
        [user("Count.")],
        [user("Count."), assistant("Something else"), user("Continue.")],
        [user("Count."), assistant("One two"), user("And now something else?")],
        [user("Count."), assistant(ANSWER), user("Continue.")],
        [user("Count."), assistant("  "), user("Continue.")],
    ],
)
def test_what_is_no_beginning_of_the_answer_is_answered_whole(messages: list[dict[str, Any]]):
    assert said_to(messages) == ANSWER


def test_a_script_is_found_by_the_question_and_by_the_request_to_go_on():
    async def act(simulator: Simulator) -> None:
        for match in ("Count", "exactly where"):
            simulator.script(Behaviour(text=ANSWER), match=match)
            messages = [user("Count."), assistant("One two"), user("Go on exactly where you stopped.")]
            assert (await ask(simulator, messages=messages, model=LLAMA)).text == " three.\n\nFour five."

    with_simulator(act)


# --- without a connection -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([], Question("")),
        ([{"role": "system", "content": "Be kind."}], Question("")),
        ([user("Hi")], Question("Hi")),
        ([user([{"type": "text", "text": "H"}, {"type": "image_url"}, {"text": "i"}])], Question("Hi")),
        ([user(None)], Question("")),
        ([user("Hi"), assistant("He")], Question("Hi", "He", prefill=True)),
        ([assistant("He")], Question("", "He", prefill=True)),
        ([user("Hi"), assistant("He"), user("Please continue.")], Question("Hi", "He")),
        ([user("Hi"), assistant("He"), user("Thanks.")], Question("Thanks.")),
        ([user("Hi"), assistant("He"), {"role": "system", "content": "x"}, user("lanjutkan")], Question("Hi", "He")),
        ([user("A"), assistant("B"), user("C"), assistant("D"), user("go on")], Question("C", "D")),
    ],
)  # fmt: skip
def test_the_question_and_its_partial_answer_are_found(messages: list[dict[str, Any]], question: Question):
    assert continuation.find_question(messages) == question


_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from([" ", "\n", "😀"]),
    max_size=40,
)


@given(_texts, st.integers(0, 40))
def test_going_on_cleanly_gives_the_whole_answer(text: str, length: int):
    partial = text[:length]
    if continues(text, partial):
        assert partial + continued(text, partial, "clean") == text
        assert partial.rstrip() + continued(text, partial.rstrip(), "clean") == text


@given(_texts, st.integers(0, 40), st.integers(0, 50))
def test_an_overlap_repeats_exactly_so_many_characters(text: str, length: int, overlap: int):
    partial = text[:length].rstrip()
    if continues(text, partial):
        rest = continued(text, partial, f"overlap:{overlap}")
        repeated = min(overlap, len(partial))
        assert rest == text[len(partial) - repeated :]


@given(_texts, _texts)
def test_only_a_proper_beginning_continues(text: str, partial: str):
    if continues(text, partial):
        assert text.startswith(partial.rstrip())
        assert len(partial.rstrip()) < len(text.rstrip())


def test_a_partial_answer_is_known_as_its_reader_stored_it():
    assert continues("a\0b c", "a\ufffdb")
    assert continues("a\ud83d b", "a\ufffd")
