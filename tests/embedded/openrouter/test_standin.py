"""The stand-in: real answers in Markdown, in the language it is asked in, at a reader's pace."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.conversations import welcome
from server.embedded.openrouter import stream, tokens
from server.embedded.openrouter.answers import Language, language_of, page
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.openrouter.continuation import find_question
from server.embedded.openrouter.ledger import NOTHING
from server.embedded.openrouter.simulator import Simulator
from server.embedded.openrouter.standin import StandInModel, answer_text
from server.embedded.openrouter.steps import Wait, Write
from server.embedded.openrouter.wire import Envelope
from tests.embedded.openrouter.listening import ask, with_simulator

# a question, the section that answers it, and words of that answer
ENGLISH = {
    "Hello!": ("greeting", "career adviser"),
    "What is my RIASEC code?": ("riasec", "Your RIASEC in plain words"),
    "Explain the Big Five": ("big_five", "Openness"),
    "What are VIA character strengths?": ("via", "signature strengths"),
    "Which careers suit somebody who loves drawing and biology?": (
        "careers",
        "Careers for drawing and biology",
    ),
    "Help me with an interview": ("interview", "STAR"),
    "Make me a study plan": ("study_plan", "four weeks"),
    "How do I find my strengths?": ("strengths", "Energy"),
    "Show me a table": ("table", "Typical way in"),
    "Write some Python code": ("code", "```python"),
    "Answer with emoji": ("emoji", "👩🏽‍🔬"),
    "Tell me a joke": ("joke", "ladder"),
    "Thank you": ("thanks", "welcome"),
    "Are you a real AI?": ("identity", "not a real language model"),
    "Show me other scripts": ("scripts", "あなたの道に幸運を"),
    "Why is the sky blue?": ("default", "Why is the sky blue?"),
}
INDONESIAN = {
    "Halo!": ("greeting", "karier"),
    "Apa kode RIASEC saya?": ("riasec", "RIASEC-mu"),
    "Apa itu RIASEC?": ("riasec", "RIASEC-mu"),
    "Jelaskan kepribadian Big Five": ("big_five", "Lima sifat"),
    "Apa kekuatan karakter saya?": ("via", "kekuatan khasmu"),
    "Karier apa yang cocok untuk saya?": ("careers", "Karier"),
    "Bantu saya latihan wawancara": ("interview", "pewawancara"),
    "Buatkan rencana belajar untuk saya": ("study_plan", "minggu"),
    "Terima kasih!": ("thanks", "sama"),
    "Kamu siapa?": ("identity", "bukan model bahasa sungguhan"),
    "Apakah langit itu biru?": ("default", "Apakah langit itu biru?"),
}
LANGUAGES: tuple[Language, ...] = ("en", "id")
MARKDOWN = re.compile(r"^(?:#{2,3} |\|.*\||- |\d\. |> |```)|\*\*\S", re.MULTILINE)
TABLE = re.compile(r"^\|.*\|\n\|[:| -]+\|\n(?:\|.*\|\n?)+", re.MULTILINE)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def answer(*messages: dict[str, Any]) -> str:
    return answer_text(messages, find_question(messages))


@pytest.mark.parametrize(("language", "questions"), [("en", ENGLISH), ("id", INDONESIAN)])
def test_every_question_is_answered_in_its_language(language: Any, questions: dict[str, tuple[str, str]]):
    for question, (section, words) in questions.items():
        assert language_of(question) == language, question
        assert page(language).pick(question) == section, question
        assert words in answer(user(question)), question


def test_both_languages_answer_the_same_questions():
    english, indonesian = (
        [name for name in page(language).sections if not name.startswith("careers ")]
        for language in LANGUAGES
    )

    assert english == indonesian
    assert len(page("en").sections) == len(page("id").sections)


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_long_answers_are_markdown_with_sound_tables_and_fences(language: Any):
    for name, section in page(language).sections.items():
        assert section.text.count("```") % 2 == 0, name
        for table in TABLE.findall(section.text):
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
            assert len(columns) == 1, name
    long = [section.text for section in page(language).sections.values() if len(section.text) > 400]
    assert len(long) >= 8
    assert all(MARKDOWN.search(text) for text in long)
    assert sum(bool(re.search(r"^#{2,3} ", text, re.MULTILINE)) for text in long) >= 4
    assert sum(bool(TABLE.search(text)) for text in long) >= 4


@pytest.mark.parametrize("language", ["en", "id"])
def test_no_field_is_left_unfilled(language: Any):
    for name, section in page(language).sections.items():
        known = {"name", "bare_name", "quote", "history", "topic", "careers", "scores", "ranking", "code"}
        known |= {"insights", "questions"}
        fields = set(re.findall(r"\{(\w+)\}", re.sub(r"```.*?```", "", section.text, flags=re.DOTALL)))
        assert fields <= known, name


@pytest.mark.parametrize("language", ["en", "id"])
def test_a_welcome_says_what_it_is_asked_to_say(language: Any):
    scores = {"riasec": {"investigative": 92, "artistic": 78}, "viaIs": {"creativity": 90, "zest": 80}}
    data = {"assessment_language": language, "test_data": scores, "user_profile": {"name": "Siti Rahmawati"}}
    asked = welcome.instruction(data)

    said = answer(user(asked))

    assert language_of(asked) == language
    assert ", Siti" in said
    for line in (*welcome.insights(data), *welcome.first_questions(data)):
        assert f"- {line}" in said
    assert len(said.split()) <= welcome.MAX_WORDS


@pytest.mark.parametrize(
    ("question", "first"),
    [("What is my RIASEC code?", "Investigative"), ("Apa kode RIASEC saya?", "Investigative")],
)
def test_it_knows_the_scores_and_the_name_it_is_given_of_a_user(question: str, first: str):
    system = {
        "role": "system",
        "content": "The user's assessment: RIASEC (I: 92, A: 78, S: 66), Big Five (O: 88)",
    }
    known = user('For reference:\n{"name": "Siti Rahmawati", "age": 17}')

    assert f"1. **{first}**: 92" in answer(system, known, user(question))
    assert ", Siti" in answer(system, known, user("Hello!"))


def test_it_remembers_the_name_it_was_told_and_nothing_else():
    told = [user("Hi, my name is ratna"), assistant("Hello Ratna!")]

    assert "Hello, Ratna!" in answer(told[0])
    assert "**Ratna**" in answer(*told, user("What is my name?"))
    assert "have not told me" in answer(user("What is my name?"))
    assert "**Budi**" in answer(user("Nama saya Budi"), assistant("Halo"), user("Siapa nama saya?"))


def test_it_recalls_what_the_user_said():
    messages = [user("I love *boats*."), assistant("Nice."), user("Do you remember what I said?")]

    assert "1. *I love boats .*" in answer(*messages)


def test_careers_are_for_what_the_user_likes():
    both = answer(user("Which careers are there for somebody who loves drawing and biology?"))

    assert "Architect" in both
    assert "Biotechnologist" in both
    assert "Actuary" not in both
    assert "Actuary" in answer(user("Which jobs are there in statistics?"))


def test_the_users_own_scores_are_used_where_the_prompt_has_them():
    system = {
        "role": "system",
        "content": "RIASEC: artistic: 88, social: 75, realistic: 20, investigative: 81",
    }

    told = answer(system, user("What is my RIASEC code?"))
    assert "Your code is **AIS**" in told
    assert "1. **Artistic**: 88" in told
    assert "Your code is" not in answer(user("What is my RIASEC code?"))


@given(st.text(max_size=400))
def test_any_question_gets_a_whole_answer_without_the_users_markup(question: str):
    text = answer(user(question))

    assert len(text) > 40
    assert "{" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace(question, "") or "{" in question
    assert text == answer(user(question))


def test_what_the_user_wrote_cannot_break_the_markdown():
    text = answer(user("**bold** | <script> `x` [a](b) {name} \n# head"))

    assert "bold" in text
    for markup in ("<script>", "`x`", "| ", "[a]"):
        assert markup not in text
    assert "{name}" in text


@pytest.mark.parametrize("question", [*ENGLISH, *INDONESIAN])
@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("how", ["prefill", "Continue exactly where you stopped."])
def test_it_goes_on_with_its_own_partial_answer(question: str, share: float, how: str):
    whole = answer(user(question))
    partial = whole[: int(len(whole) * share)].rstrip()
    messages = [user(question), assistant(partial), *([] if how == "prefill" else [user(how)])]

    async def act(simulator: Simulator) -> str:
        return (await ask(simulator, model="meta-llama/llama-3.3-70b-instruct:free", messages=messages)).text

    assert partial + with_simulator(act) == whole


def test_asked_to_go_on_after_the_end_it_says_that_this_was_all():
    whole = answer(user("Hello!"))

    assert "That was all of it" in answer(user("Hello!"), assistant(whole), user("continue please"))
    assert "Itu" in answer(user("Halo!"), assistant(answer(user("Halo!"))), user("lanjutkan ya"))


def test_after_the_end_another_question_is_another_question():
    whole = answer(user("Hello!"))

    assert "ladder" in answer(user("Hello!"), assistant(whole), user("Continue with a joke"))


def test_it_is_heard_through_the_wire_and_keeps_to_the_limit():
    async def act(simulator: Simulator) -> None:
        heard = await ask(simulator, messages=[user("Apa itu RIASEC?")])
        assert heard.text == answer(user("Apa itu RIASEC?"))
        assert heard.finishes[0] == "stop"
        short = await ask(simulator, messages=[user("Apa itu RIASEC?")], max_tokens=10)
        assert short.text == heard.text[:40]
        assert short.finishes[0] == "length"
        assert {call.behaviour.name for call in simulator.calls()} == {"stand-in"}

    with_simulator(act)


# --- its pace ---------------------------------------------------------------------------------------


def times_of(question: str) -> tuple[float, list[float]]:
    """Seconds to the first token, and between the others, as they are planned."""
    messages = [user(question)]
    behaviour = StandInModel(human_speed=True).answer(messages, find_question(messages))
    text = behaviour.text
    assert text is not None
    envelope = Envelope(generation="g", created=1, model="m", provider="p", layout="2026")
    reply = stream.Reply(behaviour, b"", envelope, tokens.split(text), (), NOTHING, "stop", seed=7)
    between, seconds = [], 0.0
    for step in stream.streamed(reply):
        seconds += step.seconds if isinstance(step, Wait) else step.after if isinstance(step, Write) else 0.0
        if isinstance(step, Write) and step.tokens:
            between.append(seconds)
            seconds = 0.0
    first, *between = between
    return first, between


@pytest.mark.parametrize("question", [*ENGLISH, *INDONESIAN])
def test_it_speaks_at_the_pace_of_a_reader(question: str):
    """The first word after 0.6 to 1.2 s, then 30 to 45 tokens a second with a breath between sentences."""
    first, between = times_of(question)

    assert 0.6 <= first <= 1.2
    assert 30 <= len(between) / sum(between) <= 45
    assert max(between) < 0.2
    assert len(set(between)) > len(between) / 2


def test_its_pace_is_its_own_for_every_question_and_the_same_each_time():
    assert len({times_of(question)[0] for question in ENGLISH}) > 8
    assert times_of("Hello!") == times_of("Hello!")


def test_at_full_speed_it_waits_for_nothing():
    messages = [user("Hello!")]
    behaviour = StandInModel(human_speed=False).answer(messages, find_question(messages))

    assert behaviour == Behaviour(name="stand-in", text=behaviour.text, obey_max_tokens=True)
