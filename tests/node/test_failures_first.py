"""Every failure before the first token moves to the next model or ends clearly, and every attempt is billed.

The tables say what the rules of `server/generations/policy.py` mean for a chain of three free models, in
words of their own: who is asked after a failure, and what an answer ends with when everybody fails so.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from server.embedded.openrouter.behaviour import Behaviour, Failure, FailureHow
from server.embedded.openrouter.errors import ERRORS
from server.embedded.ports import free_port
from server.embedded.services import EmbeddedServices
from tests.node.turns import Case, Turn, ask, ask_all, intended, wrong
from tests.running import MODELS, RunningNode, running_node
from tests.scripted.recording import Frame
from tests.services import Database

TEXT = "A career is a long walk — 😀 begin it."
GOOD = Behaviour(text=TEXT)


@dataclass(frozen=True)
class Kind:
    """What follows from a failure: the cause told, who is asked if only the first fails, if all do, and then
    the code. Models are named by their place in the chain."""

    cause: str
    next: str
    all: str
    code: str


# the next model, and round again: it may pass
PASSING = Kind("upstream_status", "01", "0120", "all_models_failed")
BROKEN = Kind("upstream_error", "01", "0120", "all_models_failed")
TRUNCATED = Kind("upstream_truncated", "01", "0120", "all_models_failed")
MALFORMED = Kind("malformed", "01", "0120", "all_models_failed")
EMPTY = Kind("empty_answer", "01", "0120", "all_models_failed")
LATE = Kind("first_token_timeout", "01", "0120", "all_models_failed")
# the next model, and no model twice: it will not pass
REFUSED = Kind("upstream_status", "01", "012", "all_models_failed")
GONE = Kind("upstream_status", "01", "012", "model_unavailable")
TOO_LONG = Kind("upstream_status", "01", "012", "context_too_long")
FILTERED = Kind("upstream_status", "01", "012", "content_filtered")
LIMITED = Kind("rate_limited", "01", "012", "upstream_rate_limited")
# the same model once more
PREFILL = Kind("upstream_status", "00", "0011", "all_models_failed")
KEY = Kind("upstream_status", "00", "00", "unavailable")
UNREACHED = Kind("upstream_error", "00", "0011", "all_models_failed")
# nobody else can help
BUDGET = Kind("", "0", "0", "budget_exhausted")
POOL = Kind("", "0", "0", "upstream_rate_limited")

REFUSALS = {
    "bad_request": REFUSED,
    "invalid_model": GONE,
    "context_length": TOO_LONG,
    "prefill_rejected": PREFILL,
    "trailing_whitespace": PREFILL,
    "wrong_endpoint": GONE,
    "refusal": FILTERED,
    "missing_auth": KEY,
    "no_credentials": KEY,
    "user_not_found": KEY,
    "insufficient_credits": BUDGET,
    "cannot_afford": BUDGET,
    "moderation": FILTERED,
    "guardrail": FILTERED,
    "key_forbidden": KEY,
    "region": GONE,
    "no_endpoints": GONE,
    "data_policy": GONE,
    "model_deprecated": GONE,
    "free_variant_ended": GONE,
    "guardrail_policy": GONE,
    "unavailable_upstream": GONE,
    "constraint_filtered": GONE,
    "timeout": PASSING,
    "too_large": TOO_LONG,
    "unprocessable": REFUSED,
    "free_per_minute": POOL,
    "free_per_day": POOL,
    "free_per_day_high_balance": POOL,
    "upstream_rate_limited": LIMITED,
    "upstream_limit_explained": LIMITED,
    "capacity_exhausted": LIMITED,
    "internal": PASSING,
    "provider_error": PASSING,
    "html": PASSING,
    "empty": PASSING,
    "broken_json": PASSING,
    "unavailable": PASSING,
    "temporarily_unavailable": PASSING,
    "gateway_timeout": PASSING,
    "edge_timeout": PASSING,
    "overloaded": PASSING,
}
BREAKS: dict[FailureHow, Kind] = {
    "error": PASSING,
    "error_empty_choices": PASSING,
    "error_string_code": PASSING,
    "error_choice_only": BROKEN,
    "error_native_only": BROKEN,
    "error_availability": PASSING,
    "reset": TRUNCATED,
    "close": TRUNCATED,
    "eof": TRUNCATED,
    "stall": LATE,
    "stall_comments": LATE,
    "malformed": MALFORMED,
    "not_sse": MALFORMED,
    "endless_line": MALFORMED,
}


def broken(how: FailureHow, **fields: Any) -> Behaviour:
    return Behaviour(text=TEXT, comment_every_ms=50, fail=Failure(how=how, **fields))


FAILURES: dict[str, tuple[Behaviour, Kind]] = {
    **{f"refused, {name}": (Behaviour(error=name), kind) for name, kind in REFUSALS.items()},
    "refused, 418": (Behaviour(status=418), REFUSED),
    "refused, 599": (Behaviour(status=599), BROKEN),
    "refused, 520": (Behaviour(status=520), PASSING),
    "refused late": (Behaviour(error="overloaded", headers_ms=100), PASSING),
    "no headers, silence": (Behaviour(before_headers="hang"), LATE),
    "no headers, reset": (Behaviour(before_headers="reset"), UNREACHED),
    "no headers, closed": (Behaviour(before_headers="close"), UNREACHED),
    "no headers, garbage": (Behaviour(before_headers="garbage"), MALFORMED),
    **{f"in band, {how}": (broken(how), kind) for how, kind in BREAKS.items()},
    "in band, with DONE": (broken("error", done=True), PASSING),
    "in band, 400": (broken("error", code=400, error_type="invalid_request"), REFUSED),
    "in band, 402": (broken("error", code=402, error_type="payment_required", message="No credits"), BUDGET),
    "in band, 404": (broken("error", code=404, error_type="not_found", message="Gone"), GONE),
    "in band, 429": (broken("error", code=429, error_type="rate_limit_exceeded"), LIMITED),
    "in band, 429 of the pool": (
        broken("error", code=429, error_type="rate_limit_exceeded", message="Rate limit exceeded: free-models-per-min. "),
        POOL,
    ),
    "in band, too long": (broken("error", code=400, error_type="context_length_exceeded"), TOO_LONG),
    "in band, refused": (broken("error", code=403, error_type="content_policy_violation"), FILTERED),
    "after thoughts": (
        Behaviour(text=TEXT, reasoning="Let me think. ", fail=Failure(how="error")),
        PASSING,
    ),
    "after comments": (Behaviour(text=TEXT, comments_first=50, fail=Failure(how="reset")), TRUNCATED),
    "after an empty chunk": (Behaviour(text=TEXT, layout="2025", fail=Failure(how="eof")), TRUNCATED),
    "after half an event": (Behaviour(text=TEXT, fail=Failure(how="reset", at_byte=90)), TRUNCATED),
    "silence after half an event": (Behaviour(text=TEXT, fail=Failure(how="stall", at_byte=90)), LATE),
    "empty": (Behaviour(text=""), EMPTY),
    "empty, without DONE": (Behaviour(text="", done=False), EMPTY),
    "empty, without a bill": (Behaviour(text="", usage="none"), EMPTY),
    "empty after thoughts that used up the limit": (
        Behaviour(text="", reasoning="Let me think. ", finish_reason="length"),
        EMPTY,
    ),
    "empty, filtered": (Behaviour(text="", finish_reason="content_filter"), FILTERED),
}  # fmt: skip

SILENT = {name: case for name, case in FAILURES.items() if case[1] is LATE}
AT_ONCE = {name: case for name, case in FAILURES.items() if case[1] is not LATE}
TABLES: Any = pytest.mark.parametrize(
    ("failures", "settings"),
    [
        pytest.param(AT_ONCE, {}, id="at once"),
        # long enough for a call that answers at once, however busy the machine is
        pytest.param(SILENT, {"first_token_timeout_seconds": 1.5, "max_attempts": 2}, id="by silence"),
    ],
)
Failures = dict[str, tuple[Behaviour, Kind]]


def models(chain: str) -> list[str]:
    return [MODELS[int(place)] for place in chain]


def switches(chain: str, cause: str, mode: str = "continue") -> list[tuple[str, str, str, str]]:
    return [(before, after, cause, mode) for before, after in itertools.pairwise(models(chain))]


def asked(finished: Frame) -> list[str]:
    return [segment["model"] for segment in finished["segments"]]


async def run_table(running: RunningNode, cases: dict[str, Case]) -> tuple[dict[str, Turn], dict[str, Frame]]:
    """All of it, under the oracle."""
    clients = [await running.client() for _ in range(4)]
    turns = await ask_all(running, clients, cases)
    ends = {name: await turn.finished() for name, turn in turns.items()}
    await running.assert_holds(*clients, intended=intended(turns, cases))
    assert not wrong(
        (name, [call.model for call in turns[name].calls], asked(end)) for name, end in ends.items()
    )
    return turns, ends


def test_the_table_has_every_refusal_known():
    assert set(REFUSALS) == set(ERRORS)


@TABLES
def test_a_failure_before_the_first_token_asks_another_model_or_ends_clearly(
    services: EmbeddedServices, database: Database, failures: Failures, settings: dict[str, Any]
):
    cases = {
        name: Case((call, GOOD), TEXT if len(kind.next) > 1 else None)
        for name, (call, kind) in failures.items()
    }

    async def go() -> None:
        async with running_node(services, database, **settings) as running:
            turns, ends = await run_table(running, cases)

            kinds = {name: kind for name, (_, kind) in failures.items()}
            assert not wrong((n, asked(ends[n]), models(k.next)) for n, k in kinds.items())
            assert not wrong((n, turns[n].switches, switches(k.next, k.cause)) for n, k in kinds.items())
            assert {s["keep"] for t in turns.values() for s in t.of_type("generation.switched")} == {0}
            for name, kind in kinds.items():
                end = ends[name]
                if len(kind.next) > 1:
                    assert (end["status"], end["message"]["content"]) == ("completed", TEXT), name
                    assert [(s["from"], s["to"]) for s in end["segments"]] == [(0, 0), (0, len(TEXT))], name
                else:
                    assert (end["status"], end["message"], end["error"]["code"]) == (
                        "failed",
                        None,
                        kind.code,
                    ), name

    asyncio.run(go())


@TABLES
def test_when_every_model_fails_so_the_answer_fails_with_the_code_that_says_most(
    services: EmbeddedServices, database: Database, failures: Failures, settings: dict[str, Any]
):
    cases = {name: Case((call,), repeat=True) for name, (call, _) in failures.items()}

    async def go() -> None:
        async with running_node(services, database, **settings) as running:
            turns, ends = await run_table(running, cases)

            kinds = {name: kind for name, (_, kind) in failures.items()}
            assert not wrong(
                (n, asked(ends[n]), models(k.all[: running.settings.max_attempts])) for n, k in kinds.items()
            )
            assert not wrong(
                (n, turns[n].switches, switches(k.all[: running.settings.max_attempts], k.cause))
                for n, k in kinds.items()
            )
            assert not wrong((n, ends[n]["error"]["code"], k.code) for n, k in kinds.items())
            assert not wrong(
                (n, (end["status"], end["message"], end["length"]), ("failed", None, 0))
                for n, end in ends.items()
            )

    asyncio.run(go())


@TABLES
def test_with_fallback_off_the_first_failure_is_the_end(
    services: EmbeddedServices, database: Database, failures: Failures, settings: dict[str, Any]
):
    cases = {
        name: Case((call,), fields={"fallback": "off"}, repeat=True) for name, (call, _) in failures.items()
    }

    async def go() -> None:
        async with running_node(services, database, **settings) as running:
            _, ends = await run_table(running, cases)

            # but for a question asked in the wrong way: that is not the model's fault
            wanted = {name: "00" if kind is PREFILL else "0" for name, (_, kind) in failures.items()}
            assert not wrong((n, asked(ends[n]), models(chain)) for n, chain in wanted.items())
            assert not wrong((n, ends[n]["error"]["code"], kind.code) for n, (_, kind) in failures.items())
            assert {(end["status"], end["message"]) for end in ends.values()} == {("failed", None)}

    asyncio.run(go())


def test_with_fallback_restart_every_switch_says_so(services: EmbeddedServices, database: Database):
    names = ("refused, html", "in band, error", "no headers, reset", "empty", "after thoughts")
    cases = {name: Case((FAILURES[name][0], GOOD), TEXT, {"fallback": "restart"}) for name in names}

    async def go() -> None:
        async with running_node(services, database) as running:
            turns, ends = await run_table(running, cases)

            for name in names:
                kind = FAILURES[name][1]
                assert turns[name].switches == switches(kind.next, kind.cause, "restart")
                assert ends[name]["message"]["content"] == TEXT

    asyncio.run(go())


def test_different_failures_end_with_no_code_in_particular(services: EmbeddedServices, database: Database):
    cases = {
        "mixed": Case((Behaviour(error="moderation"), Behaviour(error="region"), Behaviour(error="overloaded"),
                       Behaviour(error="overloaded"))),
        "alike": Case((Behaviour(error="moderation"), Behaviour(error="guardrail"), Behaviour(error="moderation"))),
    }  # fmt: skip

    async def go() -> None:
        async with running_node(services, database) as running:
            _, ends = await run_table(running, cases)

            # the last one may pass, so it is asked once more
            assert asked(ends["mixed"]) == models("0122")
            assert ends["mixed"]["error"]["code"] == "all_models_failed"
            assert ends["alike"]["error"]["code"] == "content_filtered"

    asyncio.run(go())


def test_a_short_rate_limit_is_waited_for_when_no_other_model_is_left(
    services: EmbeddedServices, database: Database
):
    limited = Behaviour(error="capacity_exhausted", headers={"Retry-After": "1"})
    cases = {"waits": Case((limited, limited, limited, GOOD), TEXT)}

    async def go() -> None:
        async with running_node(services, database) as running:
            turns, ends = await run_table(running, cases)

            assert asked(ends["waits"]) == models("0122")
            assert turns["waits"].switches == switches("0122", "rate_limited")
            third, fourth = turns["waits"].calls[2:]
            assert fourth.received_at - third.received_at > 0.9

    asyncio.run(go())


def test_the_pools_rate_limit_leaves_only_models_that_cost(services: EmbeddedServices, database: Database):
    cases = {"pool": Case((Behaviour(error="free_per_minute"), GOOD), TEXT)}

    async def go() -> None:
        async with running_node(services, database, use_free_models_only=False) as running:
            _, ends = await run_table(running, cases)

            assert asked(ends["pool"]) == [MODELS[0], "openai/gpt-4o-mini"]
            assert Decimal(ends["pool"]["usage"]["cost"]) > 0

    asyncio.run(go())


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_no_more_attempts_are_made_than_configured(
    services: EmbeddedServices, database: Database, attempts: int
):
    cases = {"bounded": Case((Behaviour(error="overloaded"),), repeat=True)}

    async def go() -> None:
        async with running_node(services, database, max_attempts=attempts) as running:
            _, ends = await run_table(running, cases)

            assert asked(ends["bounded"]) == models("012"[:attempts])

    asyncio.run(go())


@pytest.mark.parametrize("where", ["refuses", "hangs"])
def test_an_upstream_that_cannot_be_reached_ends_in_failure_and_costs_nothing(
    services: EmbeddedServices, database: Database, where: str
):
    cause = {"refuses": "upstream_error", "hangs": "connect_timeout"}[where]

    async def go() -> None:
        async with (
            running_node(services, database) as elsewhere,
            running_node(
                services,
                database,
                simulator=elsewhere.simulator,
                openrouter_url=elsewhere.simulator.unreachable_url
                if where == "hangs"
                else f"http://127.0.0.1:{free_port()}/api/v1",
                connect_timeout_seconds=0.2,
            ) as running,
        ):
            client = await running.client()
            turn = await ask(running, client, GOOD)
            finished = await turn.finished()

            assert turn.calls == []
            assert turn.switches == switches("0011", cause)
            assert (finished["status"], finished["message"]) == ("failed", None)
            assert finished["error"]["code"] == "all_models_failed"
            assert finished["usage"] == {
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "total_tokens": 0,
                "cost": "0",
                "state": "settled",
            }
            await running.assert_holds(client)

    asyncio.run(go())


def test_a_failed_call_of_a_paid_model_costs_what_the_upstream_says_it_does(
    services: EmbeddedServices, database: Database
):
    """Whether an error is billed, and whether a provider goes on when its reader leaves, is the upstream's."""
    paid = ("anthropic/claude-haiku-4.5", "mistralai/mistral-small-3.2-24b-instruct")
    thoughts: dict[str, Any] = {"text": TEXT, "reasoning": "Let me think about what you ask. "}
    cases = {
        "an error, free": Case((Behaviour(**thoughts, fail=Failure(how="error")), GOOD), TEXT),
        "an error, billed": Case((Behaviour(**thoughts, fail=Failure(how="error"), bill_errors=True), GOOD), TEXT),
        "left while it stalled": Case((Behaviour(**thoughts, fail=Failure(how="stall")), GOOD), TEXT),
        "left, and it went on": Case(
            (Behaviour(**thoughts, fail=Failure(how="stall"), provider="Google"), GOOD), TEXT
        ),
        "cut off": Case((Behaviour(**thoughts, fail=Failure(how="reset")), GOOD), TEXT),
        "refused": Case((Behaviour(error="overloaded"), GOOD), TEXT),
    }  # fmt: skip
    settings: dict[str, Any] = {
        "premium_models": ",".join(paid),
        "use_free_models_only": False,
        "stall_timeout_seconds": 1.0,
    }

    async def go() -> None:
        async with running_node(services, database, **settings) as running:
            client = await running.client(tier="premium")
            turns = await ask_all(running, [client], cases)
            ends = {name: await turn.finished() for name, turn in turns.items()}
            await running.assert_holds(client, intended=intended(turns, cases))

            assert not wrong((name, asked(end), list(paid)) for name, end in ends.items())
            costs = {}
            for name, turn in turns.items():
                first, _ = turn.calls
                assert first.bill is not None
                costs[name] = first.bill.cost
                if ends[name]["usage"]["state"] != "settled":
                    told = await turn.heard("usage.settled")
                    assert told["usage"]["state"] == "settled"
            assert costs["an error, free"] == costs["refused"] == 0
            assert min(costs["an error, billed"], costs["left while it stalled"]) > 0
            assert costs["left, and it went on"] > costs["left while it stalled"]

    asyncio.run(go())


def test_a_model_that_is_rate_limited_is_passed_over_by_the_answers_that_follow(
    services: EmbeddedServices, database: Database
):
    async def go() -> None:
        async with running_node(services, database, model_cooldown_seconds=15) as running:
            client = await running.client()
            first = await ask(running, client, Behaviour(error="upstream_rate_limited"), GOOD, name="first")
            await first.finished()
            second = await ask(running, client, GOOD, name="second")

            assert asked(await second.finished()) == models("1")
            started = await second.heard("generation.started")
            assert started["model"] == MODELS[1]
            await running.assert_holds(client)

    asyncio.run(go())


@pytest.mark.parametrize(("error", "passed_over"), [("overloaded", True), ("moderation", False)])
def test_a_model_that_fails_five_times_running_is_passed_over_unless_the_questions_were_at_fault(
    services: EmbeddedServices, database: Database, error: str, passed_over: bool
):
    async def go() -> None:
        async with running_node(services, database, model_cooldown_seconds=15) as running:
            client = await running.client()
            for number in range(5):
                turn = await ask(running, client, Behaviour(error=error), GOOD, name=f"number {number}")
                assert asked(await turn.finished()) == models("01")
            turn = await ask(running, client, GOOD, name="the sixth")

            assert asked(await turn.finished()) == models("1" if passed_over else "0")
            await running.assert_holds(client)

    asyncio.run(go())
