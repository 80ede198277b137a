"""Every failure in the middle of an answer, and every way a model goes on: the intended text, exactly once."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any, Literal

import pytest

from server.embedded.openrouter.behaviour import Behaviour, Failure, FailureHow, Insertion
from server.embedded.openrouter.continuation import GARBAGE
from server.embedded.services import EmbeddedServices
from server.metrics import Metrics
from tests.node.turns import Case, Turn, ask_all, intended, wrong
from tests.running import MODELS, RunningNode, new_uuid, of_type, running_node
from tests.scripted.recording import Frame
from tests.services import Database

# every delta ends with its white space, so that a model which leaves out leading white space loses nothing
DELTAS = (
    "# Karier ", "dan ", "minat 😀\n\n", "A career is a ", "long ", "walk — ", "let us begin with naïve ",
    "questions, e\u0301tude after ", "étude.\n\n", "1. What do you ", "like?\n", "2. ", "Why? ", "職業とは",
    "何か\n", "3. And then ", "**who** ", "with?\n\n", "```python\n", "def walk(steps: int) -> None:\n",
    "print(steps)\n", "```\n\n", "The 👩🏽‍🔧 and the ", "🇮🇩 go ", "further, ", "step by ", "step.",
)  # fmt: skip
TEXT = "".join(DELTAS)
GOOD = Behaviour(text=TEXT)
MIDDLE, LAST, BEYOND = len(DELTAS) // 2, len(DELTAS) - 1, len(DELTAS)
PLACES = {"middle": MIDDLE, "last token": LAST, "before the finish": BEYOND}

PREMIUM = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4.5", "deepseek/deepseek-v4-pro")
"""The second and third go on from an assistant message, the free ones when a user's turn asks them to."""

SETTINGS: dict[str, Any] = {
    "premium_models": ",".join(PREMIUM),
    "use_free_models_only": False,
    "stall_timeout_seconds": 1.5,
    "seam_hold_seconds": 0.7,
}

CAUSES: dict[FailureHow, str] = {
    "error": "upstream_status",
    "error_empty_choices": "upstream_status",
    "error_string_code": "upstream_status",
    "error_choice_only": "upstream_error",
    "error_native_only": "upstream_error",
    "error_availability": "upstream_status",
    "reset": "upstream_truncated",
    "close": "upstream_truncated",
    "eof": "upstream_truncated",
    "stall": "stall_timeout",
    "stall_comments": "stall_timeout",
    "malformed": "malformed",
    "not_sse": "upstream_truncated",
    "endless_line": "malformed",
}
MANNERS = (
    "clean", "stripped", "overlap:8", "overlap:40", "overlap:9999", "restart", "verbatim", "preamble",
    "preamble+restart",
)  # fmt: skip


def breaks(how: FailureHow, at: int, **fields: Any) -> Behaviour:
    return Behaviour(tokens=DELTAS, comment_every_ms=50, fail=Failure(how=how, at=at, **fields))


def goes_on(manner: str = "clean", **fields: Any) -> Behaviour:
    return Behaviour(text=TEXT, continuation=manner, **fields)


def spans(finished: Frame) -> list[tuple[int, int]]:
    return [(segment["from"], segment["to"]) for segment in finished["segments"]]


def asked(finished: Frame) -> list[str]:
    return [segment["model"] for segment in finished["segments"]]


async def run_table(
    running: RunningNode, cases: dict[str, Case], **claims: Any
) -> tuple[dict[str, Turn], dict[str, Frame]]:
    """All of it, under the oracle; every text is the intended one, on the client's screen and in the message."""
    clients = [await running.client(**claims) for _ in range(4)]
    turns = await ask_all(running, clients, cases)
    ends = {name: await turn.finished() for name, turn in turns.items()}
    shown = {name: turn.client.text(turn.generation) for name, turn in turns.items()}
    assert not wrong((name, shown[name], case.text) for name, case in cases.items() if case.text is not None)
    await running.assert_holds(*clients, intended=intended(turns, cases))
    assert not wrong(
        (name, [call.model for call in turns[name].calls], asked(end)) for name, end in ends.items()
    )
    return turns, ends


TIERS: Any = pytest.mark.parametrize(
    ("tier", "chain"),
    [pytest.param("free", MODELS, id="user turn"), pytest.param("premium", PREMIUM, id="prefill")],
)


@TIERS
def test_whatever_breaks_an_answer_off_and_wherever_the_next_model_goes_on_with_it(
    services: EmbeddedServices, database: Database, tier: str, chain: tuple[str, ...]
):
    cases = {
        f"{how}, {place}": Case((breaks(how, at), goes_on()), TEXT)
        for how, (place, at) in itertools.product(CAUSES, PLACES.items())
    }

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases, tier=tier)

            for (name, turn), how in zip(turns.items(), (how for how in CAUSES for _ in PLACES), strict=True):
                assert turn.switches == [(chain[0], chain[1], CAUSES[how], "continue")], name
                (switched,) = turn.of_type("generation.switched")
                (start, cut), (begin, end) = spans(ends[name])
                assert (start, end) == (0, len(TEXT)), name
                assert cut == begin <= switched["keep"], name
                assert ends[name]["status"] == "completed", name
                if how != "reset":  # which takes back what was not read yet
                    assert switched["keep"] == len("".join(DELTAS[: PLACES[name.split(", ")[1]]])), name

    asyncio.run(go())


@TIERS
@pytest.mark.parametrize("fallback", ["continue", "restart"])
def test_however_a_model_goes_on_nothing_is_lost_and_nothing_said_twice(
    services: EmbeddedServices, database: Database, tier: str, chain: tuple[str, ...], fallback: str
):
    how: tuple[FailureHow, ...] = ("error", "close")
    cases = {
        f"{how}, {place}, {manner}": Case((breaks(how, at), goes_on(manner)), TEXT, {"fallback": fallback})
        for how, (place, at), manner in itertools.product(how, PLACES.items(), MANNERS)
    }

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases, tier=tier)

            for name, turn in turns.items():
                (switched,) = turn.of_type("generation.switched")
                assert (switched["to_model"], switched["mode"]) == (chain[1], fallback), name
                if fallback == "restart":
                    assert switched["keep"] == 0, name
                    assert spans(ends[name]) == [(0, 0), (0, len(TEXT))], name
                else:
                    assert spans(ends[name])[0][1] > 0, name

    asyncio.run(go())


@TIERS
def test_the_next_model_is_asked_for_the_rest_in_the_way_it_understands(
    services: EmbeddedServices, database: Database, tier: str, chain: tuple[str, ...]
):
    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, _ = await run_table(
                running, {"one": Case((breaks("error", MIDDLE), goes_on()), TEXT)}, tier=tier
            )

            first, second = turns["one"].calls
            partial = "".join(DELTAS[:MIDDLE])
            more = second.messages[len(first.messages) :]
            if tier == "premium":
                assert more == [{"role": "assistant", "content": partial.rstrip()}]
            else:
                assert [message["role"] for message in more] == ["assistant", "user"]
                assert more[0]["content"] == partial
            assert first.max_tokens is not None
            assert second.max_tokens is not None
            assert second.max_tokens < first.max_tokens

    asyncio.run(go())


def test_a_model_that_refuses_or_ignores_a_prefill_goes_on_all_the_same(
    services: EmbeddedServices, database: Database
):
    cases = {"refused": Case((breaks("error", MIDDLE), goes_on()), TEXT)}

    async def go(prefill: Literal["reject", "ignore"]) -> list[str]:
        async with running_node(services, database, **SETTINGS) as running:
            models = running.simulator.models
            models[PREMIUM[1]] = replace(models[PREMIUM[1]], prefill=prefill)
            _, ends = await run_table(running, cases, tier="premium")
            return asked(ends["refused"])

    assert asyncio.run(go("reject")) == [PREMIUM[0], PREMIUM[1], PREMIUM[1]]
    assert asyncio.run(go("ignore")) == [PREMIUM[0], PREMIUM[1]]


def test_a_model_that_cannot_go_on_begins_again(services: EmbeddedServices, database: Database):
    settings = {**SETTINGS, "premium_models": "openai/gpt-4o-mini,perplexity/sonar"}
    cases = {"one": Case((breaks("error", MIDDLE), GOOD), TEXT)}

    async def go() -> None:
        async with running_node(services, database, **settings) as running:
            models = running.simulator.models
            models["perplexity/sonar"] = replace(models[PREMIUM[0]], slug="perplexity/sonar")
            await running.node.openrouter.refresh_models()
            turns, ends = await run_table(running, cases, tier="premium")

            (switched,) = turns["one"].of_type("generation.switched")
            assert (switched["mode"], switched["keep"]) == ("restart", 0)
            assert spans(ends["one"]) == [(0, 0), (0, len(TEXT))]

    asyncio.run(go())


def test_an_answer_that_has_barely_begun_begins_again(services: EmbeddedServices, database: Database):
    """In so little nobody can tell what is said again from what follows."""
    sure = "Sure, I can help you with that."
    cases = {
        "a word": Case(
            (Behaviour(text=sure, fail=Failure(how="eof", at=1)), Behaviour(text=sure, continuation="restart")),
            sure,
        ),
        "a rule": Case(
            (Behaviour(tokens=("-" * 20, "\n", sure), fail=Failure(how="eof", at=2)), Behaviour(text=sure)), sure
        ),
    }  # fmt: skip

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases)

            for name, turn in turns.items():
                (switched,) = turn.of_type("generation.switched")
                assert (switched["mode"], switched["keep"]) == ("restart", 0), name
                assert spans(ends[name]) == [(0, 0), (0, len(sure))], name

    asyncio.run(go())


def test_with_fallback_off_the_text_shown_is_the_message_of_a_failed_answer(
    services: EmbeddedServices, database: Database
):
    cases = {str(how): Case((breaks(how, MIDDLE),), fields={"fallback": "off"}) for how in CAUSES}

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases)

            partial = "".join(DELTAS[:MIDDLE])
            for how, end in ends.items():
                assert (end["status"], end["error"]["code"]) == ("failed", "all_models_failed"), how
                assert turns[how].switches == [], how
                content = end["message"]["content"]
                assert content == partial or (how == "reset" and partial.startswith(content)), how
                assert end["message"]["metadata"]["status"] == "failed", how

    asyncio.run(go())


def test_when_every_model_breaks_off_the_answer_fails_with_what_was_shown(
    services: EmbeddedServices, database: Database
):
    text = "".join(f"{number} words, " for number in range(500))
    broken = tuple(Behaviour(text=text, fail=Failure(how="error", at=300)) for _ in range(4))
    cases = {"all": Case(broken)}

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases)

            end = ends["all"]
            assert (end["status"], end["error"]["code"]) == ("failed", "all_models_failed")
            assert asked(end) == [*MODELS, "openai/gpt-4o-mini"]
            assert text.startswith(end["message"]["content"])
            widths = [after - before for before, after in spans(end)]
            assert min(widths) > 0
            assert turns["all"].client.text(turns["all"].generation) == end["message"]["content"]

    asyncio.run(go())


ENDS = {
    "too long": ({"code": 400, "error_type": "context_length_exceeded"}, "context_too_long"),
    "filtered": ({"code": 403, "error_type": "content_policy_violation"}, "content_filtered"),
    "no credit": ({"code": 402, "error_type": "payment_required", "message": "No credits"}, "budget_exhausted"),
}  # fmt: skip


def test_what_no_other_model_can_mend_ends_the_answer_with_what_was_shown(
    services: EmbeddedServices, database: Database
):
    cases = {name: Case((breaks("error", MIDDLE, **fields),)) for name, (fields, _) in ENDS.items()}

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            turns, ends = await run_table(running, cases)

            for name, (_, code) in ENDS.items():
                assert (ends[name]["status"], ends[name]["error"]["code"]) == ("failed", code)
                assert ends[name]["message"]["content"] == "".join(DELTAS[:MIDDLE])
                assert turns[name].switches == []

    asyncio.run(go())


def test_what_comes_after_the_failure_of_a_failed_attempt(services: EmbeddedServices, database: Database):
    """A successor that says nothing takes nothing away; the one after it goes on from the same text."""
    middle = breaks("error", MIDDLE)
    silent = Behaviour(text="")
    cases = {
        "refused": Case((middle, Behaviour(error="overloaded"), goes_on()), TEXT),
        "broken off at once": Case((middle, goes_on(fail=Failure(how="error", at=0)), goes_on()), TEXT),
        "broken off inside the seam": Case(
            (middle, goes_on("overlap:9999", fail=Failure(how="close", at=9)), goes_on()), TEXT
        ),
        "broken off while it began again": Case(
            (middle, goes_on("preamble+restart", fail=Failure(how="eof", at=20)), goes_on("restart")), TEXT
        ),
        "in the middle of its preamble": Case(
            (middle, goes_on("preamble", fail=Failure(how="error", at=4)), goes_on()), TEXT
        ),
        "after it went on": Case((middle, goes_on(fail=Failure(how="error", at=20)), goes_on()), TEXT),
        "nothing to add, then more": Case((middle, silent, goes_on()), TEXT),
        "nothing to add, says the next one too": Case((breaks("eof", BEYOND), silent, silent), TEXT),
        "thoughts before it goes on": Case((middle, goes_on(reasoning="Where was I? ")), TEXT),
        "a line that is no JSON": Case(
            (Behaviour(tokens=DELTAS, insert=(Insertion(at=MIDDLE, what="malformed"),)), goes_on()), TEXT
        ),
        "half of a character": Case(
            (Behaviour(text="Go 😀 on", split_surrogates=True, fail=Failure(how="eof", at=2)),
             Behaviour(text="Go 😀 on")),
            "Go 😀 on",
        ),
        "half of an event": Case((Behaviour(tokens=DELTAS, fail=Failure(how="close", at_byte=3_000)), goes_on()), TEXT),
        "something else": Case((middle, goes_on("garbage")), "".join(DELTAS[:MIDDLE]) + GARBAGE),
    }  # fmt: skip

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            _, ends = await run_table(running, cases)

            assert {end["status"] for end in ends.values()} == {"completed"}
            for name in (
                "refused",
                "broken off at once",
                "broken off inside the seam",
                "nothing to add, then more",
            ):
                second = spans(ends[name])[1]
                assert second[0] == second[1] == len("".join(DELTAS[:MIDDLE])), name

    asyncio.run(go())


def test_random_chains_of_failures_and_continuations_end_in_the_intended_text(
    services: EmbeddedServices, database: Database, seed: int
):
    rng = random.Random(seed)
    hows: tuple[FailureHow, ...] = (
        *("error", "error_empty_choices", "error_choice_only", "error_native_only", "reset", "close", "eof"),
        *("malformed", "endless_line"),
    )
    manners = ("clean", "overlap:16", "overlap:35", "overlap:120", "restart", "preamble+restart")

    def answer() -> str:
        words = (
            "karier",
            "naïve",
            "職業",
            "👩🏽‍🚀",
            "skills",
            "—",
            "\n\n- item",
            "**bold**",
            "ß",
            "\n1. first",
            "e\u0301",
        )
        return "".join(f"{number} {rng.choice(words)} " for number in range(rng.randint(20, 150)))

    def chain(text: str) -> tuple[Behaviour, ...]:
        failing = rng.randint(1, 3)
        return tuple(
            Behaviour(
                text=text,
                continuation=rng.choice(manners),
                split_surrogates=rng.random() < 0.3,
                interval_ms=rng.choice((0, 0, 1)),
                reasoning=rng.choice(("", "Let me see. ")),
                fail=Failure(how=rng.choice(hows), at=rng.randint(0, 300), done=rng.random() < 0.3)
                if number < failing
                else None,
            )
            for number in range(failing + 1)
        )

    cases = {}
    for number in range(40):
        text = answer()
        cases[f"random {number}"] = Case(chain(text), text)

    async def go() -> None:
        async with running_node(services, database, **SETTINGS) as running:
            await run_table(running, cases, tier=rng.choice(("free", "premium")))

    asyncio.run(go())


@pytest.mark.parametrize("fails", ["first_token", "end"])
def test_an_answer_ends_though_the_house_itself_is_at_fault(
    services: EmbeddedServices, database: Database, monkeypatch: pytest.MonkeyPatch, fails: str
):
    """I4: every answer ends once, with the text that was shown."""
    observe = Metrics.observe

    def broken(self: Metrics, name: str, labels: dict[str, str], value: float) -> None:
        if name == fails:
            raise RuntimeError("a mistake of the house")
        observe(self, name, labels, value)

    async def scenario() -> None:
        monkeypatch.setattr(Metrics, "observe", broken)
        async with running_node(services, database, **SETTINGS) as running:
            client = await running.client()
            running.simulator.script(GOOD)
            await client.send("message.send", content="hi", client_message_id=new_uuid())
            finished = await client.wait_for(of_type("generation.finished"))
            told = (finished["status"], (finished["error"] or {}).get("code"))
            assert told == {"first_token": ("failed", "internal"), "end": ("completed", None)}[fails]
            await running.settled()
            await running.assert_holds(client)

    asyncio.run(scenario())
