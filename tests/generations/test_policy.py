"""What follows from a failed attempt (policy.py)."""

from collections.abc import Collection
from typing import get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given

from protocol.codes import ErrorCode
from protocol.frames import Fallback, SwitchCause
from server.generations import policy
from server.generations.effects import AttemptNote, Plan
from server.generations.policy import RULES, GiveUp, Remedy, Retry, Rule
from server.generations.upstream import FailureKind
from tests.generations.notes import a_note, a_plan, failed

A, B, C = "a/one:free", "b/two:free", "c/three"
PLAN = a_plan(A, B, C)

# the table a second time, as the contract has it: silent, spoken
REMEDIES = {
    "key_rejected": ("again", "again"),
    "budget_exhausted": ("end", "end"),
    "context_too_long": ("next", "end"),
    "content_filtered": ("next", "end"),
    "prefill_rejected": ("again", "again"),
    "rate_limited_model": ("next", "next"),
    "rate_limited_pool": ("paid", "paid"),
    "model_unavailable": ("next", "next"),
    "bad_request": ("next", "next"),
    "connect_timeout": ("again", "again"),
    "connect_refused": ("again", "again"),
    "connection_lost": ("again", "again"),
    "overloaded": ("next", "next"),
    "upstream_error": ("next", "next"),
    "truncated": ("next", "next"),
    "malformed": ("next", "next"),
    "empty": ("next", "next"),
    "first_token_timeout": ("next", "next"),
    "stall_timeout": ("next", "next"),
}
TRANSIENT = [
    "overloaded",
    "upstream_error",
    "truncated",
    "malformed",
    "empty",
    "first_token_timeout",
    "stall_timeout",
]
LASTING = ["context_too_long", "content_filtered", "rate_limited_model", "model_unavailable", "bad_request"]


def decide(
    plan: Plan,
    notes: list[AttemptNote],
    *,
    spoke: bool = False,
    max_attempts: int = 4,
    cooling: Collection[str] = (),
    retry_after_seconds: float | None = None,
) -> policy.Decision:
    return policy.decide(
        plan,
        notes,
        spoke=spoke,
        max_attempts=max_attempts,
        cooling=lambda model: model in cooling,
        retry_after_seconds=retry_after_seconds,
    )


def test_every_failure_an_upstream_can_have_has_its_row():
    assert set(RULES) == {*FailureKind, policy.FIRST_TOKEN_TIMEOUT, policy.STALL_TIMEOUT} == set(REMEDIES)
    assert {rule.cause for rule in RULES.values()} <= set(get_args(SwitchCause))


@pytest.mark.parametrize("spoke", [False, True])
@pytest.mark.parametrize("fallback", get_args(Fallback))
@pytest.mark.parametrize("kind", REMEDIES)
def test_a_first_failure_gets_its_rows_remedy(kind: str, fallback: Fallback, spoke: bool):
    plan = a_plan(A, B, C, fallback=fallback)
    decision = decide(plan, failed((A, kind)), spoke=spoke)
    remedy = REMEDIES[kind][spoke]
    rule = RULES[kind]
    if remedy == "end" or (fallback == "off" and kind != "prefill_rejected"):
        assert decision == GiveUp(rule.code)
    elif remedy == "again":
        assert decision == Retry(A, rule.pause_seconds)
    else:
        assert decision == Retry(C if remedy == "paid" else B)


@pytest.mark.parametrize("kind", REMEDIES)
def test_another_key_and_another_way_to_ask_come_at_once_and_a_connection_after_a_pause(kind: str):
    assert RULES[kind].pause_seconds == (0.25 if kind.startswith("connect") else 0.0)


@pytest.mark.parametrize(
    "kind", ["connect_timeout", "connect_refused", "connection_lost", "prefill_rejected"]
)
def test_the_same_model_is_asked_again_once_then_the_next(kind: str):
    assert decide(PLAN, failed((A, kind), (A, kind))) == Retry(B)
    assert decide(PLAN, failed((A, kind), (A, kind), (B, kind))) == Retry(B, RULES[kind].pause_seconds)


def test_a_second_key_that_is_rejected_is_the_end_whichever_model_it_was_for():
    assert decide(PLAN, failed((A, "key_rejected"), (B, "key_rejected"))) == GiveUp(ErrorCode.UNAVAILABLE)


def test_where_the_house_asked_wrongly_it_asks_otherwise_though_there_is_no_fallback():
    plan = a_plan(A, fallback="off")
    assert decide(plan, failed((A, "prefill_rejected"))) == Retry(A)
    assert decide(plan, failed((A, "prefill_rejected"), (A, "prefill_rejected"))) == GiveUp(
        ErrorCode.ALL_MODELS_FAILED
    )


@pytest.mark.parametrize("kind", TRANSIENT)
def test_after_the_last_model_the_walk_begins_again(kind: str):
    notes = failed((A, kind), (B, kind), (C, kind))
    assert decide(PLAN, notes) == Retry(A, policy.WALK_AGAIN_SECONDS)


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_chain_of_one_is_asked_until_the_attempts_are_used_up(kind: str):
    plan = a_plan(C)
    assert decide(plan, failed((C, kind))) == Retry(C, policy.WALK_AGAIN_SECONDS)
    assert decide(plan, failed(*[(C, kind)] * 4)) == GiveUp(ErrorCode.ALL_MODELS_FAILED)


@pytest.mark.parametrize("kind", LASTING)
def test_a_model_that_will_fail_again_is_not_asked_twice(kind: str):
    assert decide(PLAN, failed((A, kind), (B, "overloaded"), (C, kind))) == Retry(
        B, policy.WALK_AGAIN_SECONDS
    )
    assert decide(a_plan(C), failed((C, kind))) == GiveUp(RULES[kind].code)


def test_a_model_that_refused_prefill_may_be_asked_again_after_another_failure():
    notes = failed((C, "prefill_rejected"), (C, "overloaded"))
    assert decide(a_plan(C), notes) == Retry(C, policy.WALK_AGAIN_SECONDS)


def test_a_limit_of_the_pool_leaves_every_free_model_out():
    assert decide(PLAN, failed((A, "rate_limited_pool"))) == Retry(C)
    assert decide(a_plan(A, B), failed((A, "rate_limited_pool"))) == GiveUp(ErrorCode.UPSTREAM_RATE_LIMITED)


def test_the_walk_goes_on_behind_the_model_that_failed_last():
    notes = failed((A, "overloaded"), (B, "overloaded"), (C, "overloaded"), (A, "bad_request"))
    assert decide(PLAN, notes, max_attempts=9) == Retry(B, policy.WALK_AGAIN_SECONDS)


@pytest.mark.parametrize(
    ("cooling", "model"), [([], B), ([B], C), ([B, C], B), ([C], B)]
)  # fmt: skip
def test_a_cooling_model_is_passed_over_while_another_is_left(cooling: list[str], model: str):
    assert decide(PLAN, failed((A, "overloaded")), cooling=cooling) == Retry(model)


def test_the_walk_passes_cooling_models_over_too():
    notes = failed((A, "overloaded"), (B, "overloaded"), (C, "overloaded"))
    assert decide(PLAN, notes, cooling=[A]) == Retry(B, policy.WALK_AGAIN_SECONDS)
    assert decide(PLAN, notes, cooling=[A, B, C]) == Retry(A, policy.WALK_AGAIN_SECONDS)


@pytest.mark.parametrize(
    ("wait", "decision"),
    [
        (None, GiveUp(ErrorCode.UPSTREAM_RATE_LIMITED)),
        (5.1, GiveUp(ErrorCode.UPSTREAM_RATE_LIMITED)),
        (5.0, Retry(C, 5.0)),
        (0.0, Retry(C, policy.WALK_AGAIN_SECONDS)),
    ],
)
def test_a_short_rate_limit_is_waited_for_when_no_other_model_is_left(
    wait: float | None, decision: policy.Decision
):
    assert decide(a_plan(C), failed((C, "rate_limited_model")), retry_after_seconds=wait) == decision


def test_a_rate_limit_is_not_waited_for_while_another_model_is_left():
    assert decide(PLAN, failed((A, "rate_limited_model")), retry_after_seconds=1.0) == Retry(B)


def test_other_failures_are_not_waited_for():
    notes = failed((C, "model_unavailable"))
    assert decide(a_plan(C), notes, retry_after_seconds=1.0) == GiveUp(ErrorCode.MODEL_UNAVAILABLE)


def test_attempts_of_dead_nodes_count_as_no_failure():
    notes = [
        a_note(1, A, failure="node_lost"),
        a_note(2, A, failure="node_drained"),
        a_note(3, A, failure="overloaded"),
    ]
    assert decide(PLAN, notes, max_attempts=2) == Retry(B)
    assert policy.failures(notes) == notes[2:]


def test_the_code_is_the_one_all_failures_share():
    busy = failed((A, "rate_limited_model"), (B, "rate_limited_model"))
    assert policy.telling_code(busy) == ErrorCode.UPSTREAM_RATE_LIMITED
    assert policy.telling_code(failed((A, "rate_limited_model"), (B, "empty"))) == ErrorCode.ALL_MODELS_FAILED


def test_the_first_model_asked_is_the_first_that_is_not_cooling():
    assert policy.first_model(PLAN, cooling=lambda _: False) == A
    assert policy.first_model(PLAN, cooling=lambda model: model == A) == B
    assert policy.first_model(PLAN, cooling=lambda _: True) == A


def test_the_next_model_without_any_failure_is_the_first():
    assert policy.next_model(PLAN, [], cooling=lambda _: False) == A


def test_a_failure_of_a_model_that_left_the_chain_is_counted_all_the_same():
    assert policy.next_model(PLAN, failed(("gone/x", "empty")), cooling=lambda _: False) == A


def test_a_refusal_of_prefill_is_remembered_of_the_model_that_refused():
    notes = failed((A, "prefill_rejected"), (B, "empty"))
    assert policy.refuses_prefill(notes, A)
    assert not policy.refuses_prefill(notes, B)


@given(
    st.integers(1, 4).flatmap(lambda size: st.permutations([A, B, C, "d/four"]).map(lambda chain: chain[:size])),
    st.sampled_from(get_args(Fallback)),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.booleans(), st.sets(st.sampled_from([A, B, C]))), min_size=8),
)  # fmt: skip
def test_every_walk_over_the_chain_ends_within_its_attempts(
    chain: list[str],
    fallback: Fallback,
    max_attempts: int,
    fates: list[tuple[str, bool, set[str]]],
):
    plan = a_plan(*chain, fallback=fallback)
    notes: list[AttemptNote] = []
    model = chain[0]
    for number, (kind, spoke, cooling) in enumerate(fates, 1):
        notes.append(a_note(number, model, failure=kind))
        decision = decide(plan, notes, spoke=spoke, max_attempts=max_attempts, cooling=cooling)
        if isinstance(decision, GiveUp):
            assert decision.code in {rule.code for rule in RULES.values()}
            break
        assert decision.model in chain
        assert decision.pause_seconds >= 0
        model = decision.model
    assert len(notes) <= max_attempts
    assert isinstance(decision, GiveUp)


@given(st.sampled_from(sorted(RULES)), st.booleans())
def test_a_rule_that_asks_again_says_how_often(kind: str, spoke: bool):
    rule: Rule = RULES[kind]
    asks_again = Remedy.AGAIN in (rule.silent, rule.spoken)
    assert asks_again == (rule.again > 0)
