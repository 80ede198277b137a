"""The circuit breaker (breaker.py) as a machine: no clock, no network."""

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.adapters.atma.breaker import Breaker

LIMIT, REST = 3, 10.0


def an_open_one(now: float = 0.0) -> Breaker:
    breaker = Breaker(failures=LIMIT, rest_seconds=REST)
    for _ in range(LIMIT):
        assert breaker.admit(now)
        breaker.failed(now)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row_and_not_before():
    breaker = Breaker(failures=LIMIT, rest_seconds=REST)
    for _ in range(5):
        for _ in range(LIMIT - 1):
            breaker.failed(0)
        assert breaker.admit(0)
        breaker.succeeded()
    assert not an_open_one().admit(REST - 0.001)


def test_after_its_rest_one_may_try_and_the_others_wait_for_that_one():
    breaker = an_open_one()
    assert [breaker.admit(REST) for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.admit(REST) for _ in range(3)] == [True, True, True]


def test_a_failed_probe_begins_another_rest():
    breaker = an_open_one()
    assert breaker.admit(REST)
    breaker.failed(REST)
    assert not breaker.admit(2 * REST - 0.001)
    assert breaker.admit(2 * REST)


def test_an_abandoned_probe_lets_the_next_one_try():
    breaker = an_open_one()
    assert breaker.admit(REST)
    breaker.abandoned()
    assert breaker.admit(REST)


@given(st.integers(1, 20), st.floats(0, REST))
def test_failures_of_calls_under_way_do_not_make_the_rest_longer(late: int, when: float):
    breaker = an_open_one()
    for _ in range(late):
        breaker.failed(min(when, REST - 0.001))
    assert breaker.admit(REST)


class Calls(RuleBasedStateMachine):
    """Calls begin and end in any order, time passes: the neighbour is never left alone for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(failures=LIMIT, rest_seconds=REST)
        self.now = 0.0
        self.running = 0

    @rule(seconds=st.floats(0, 2 * REST))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        if self.breaker.admit(self.now):
            self.running += 1

    @precondition(lambda self: self.running)
    @rule(end=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end(self, end: str) -> None:
        self.running -= 1
        if end == "failed":
            self.breaker.failed(self.now)
        elif end == "succeeded":
            self.breaker.succeeded()
        else:
            self.breaker.abandoned()

    @invariant()
    def when_nothing_runs_it_can_be_asked_after_a_rest(self) -> None:
        if not self.running:
            later = self.now + REST
            assert self.breaker.admit(later)
            self.breaker.abandoned()


TestCalls = Calls.TestCase
