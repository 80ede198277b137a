"""Which fault a request meets (faults.py): by service, path, time and number."""

import hypothesis.strategies as st
from hypothesis import given

from server.embedded.neighbours.faults import Fault, FaultBook, FaultKind, Service


def a_fault(kind: FaultKind = FaultKind.DOWN, **other: object) -> Fault:
    return Fault(**({"service": Service.ARCHIVE, "kind": kind} | other))  # type: ignore[arg-type]


def met(book: FaultBook, now: float = 0, path: str = "/archive/results", service: Service = Service.ARCHIVE):
    fault = book.meet(service, path, now)
    return None if fault is None else fault.kind


def test_a_fault_stays_until_it_is_cleared():
    book = FaultBook()
    book.set(a_fault(), 0)
    assert met(book, 10**9) is FaultKind.DOWN
    book.clear()
    assert met(book) is None


def test_seconds_are_counted_from_when_it_was_set():
    book = FaultBook()
    book.set(a_fault(seconds=2), 100)
    assert [met(book, now) for now in (100, 101.9, 102)] == [FaultKind.DOWN, FaultKind.DOWN, None]


def test_only_its_service_and_its_path_meet_it():
    book = FaultBook()
    book.set(a_fault(path="/results/7", times=1), 0)
    assert met(book, service=Service.AUTH, path="/auth/results/7") is None
    assert met(book, path="/archive/results/8") is None
    assert met(book, path="/archive/results/7") is FaultKind.DOWN
    assert met(book, path="/archive/results/7") is None


def test_faults_set_one_after_the_other_are_met_in_that_order():
    book = FaultBook()
    book.set(a_fault(FaultKind.NOT_FOUND, times=2), 0)
    book.set(a_fault(FaultKind.MALFORMED, times=1), 0)
    assert [met(book) for _ in range(4)] == [
        FaultKind.NOT_FOUND,
        FaultKind.NOT_FOUND,
        FaultKind.MALFORMED,
        None,
    ]


@given(st.integers(0, 20), st.integers(0, 40))
def test_so_many_times_are_exactly_so_many(times: int, requests: int):
    book = FaultBook()
    book.set(a_fault(times=times), 0)
    assert sum(met(book) is not None for _ in range(requests)) == min(times, requests)
