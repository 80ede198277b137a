"""What the headers say of a message's way (envelope.py)."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from server.adapters.rabbitmq.envelope import Envelope, read_envelope

NOW = 1_772_353_800_000


def read(headers: Any, now_ms: int = NOW) -> Envelope:
    return read_envelope(headers, exchange="events", routing_key="analysis.completed", now_ms=now_ms)


def test_a_message_without_headers_is_at_its_first_attempt_now():
    assert read(None) == read({}) == Envelope("events", "analysis.completed", 1, NOW, {})


def test_where_it_came_from_and_since_when_survives_every_attempt():
    envelope = read({"theirs": 1})
    for attempt in (2, 3, 4):
        headers = envelope.again(f"reason {attempt}")
        assert headers["x-reason"] == f"reason {attempt}"
        # on its way back it comes from the default exchange, by the queue's name
        envelope = read_envelope(headers, exchange="", routing_key="queue", now_ms=NOW + attempt * 1000)
        assert envelope == Envelope("events", "analysis.completed", attempt, NOW, {"theirs": 1})
        assert envelope.age_seconds(NOW + attempt * 1000) == attempt


def test_put_aside_it_says_after_which_attempt():
    envelope = read(read({}).again("first"))
    headers = envelope.aside("never")
    assert (headers["x-attempt"], headers["x-reason"]) == (2, "never")
    assert headers["x-original-routing-key"] == "analysis.completed"


def test_what_the_broker_writes_is_not_sent_back_to_it():
    theirs = {
        "x-death": [{"count": 1}],
        "x-first-death-reason": "expired",
        "x-last-death-queue": "q",
        "x-delivery-count": 3,
        "x-acquired-count": 3,
        "x-mine": True,
    }
    assert read(theirs).foreign == {"x-mine": True}


def test_a_reason_is_cut():
    assert len(read({}).again("x" * 10_000)["x-reason"]) == 500


def test_a_clock_that_went_back_makes_nothing_younger_than_now():
    assert read({}).age_seconds(NOW - 5000) == 0


values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
names = st.sampled_from(
    ["x-attempt", "x-first-seen", "x-original-exchange", "x-original-routing-key", "x-reason"]
) | st.text(max_size=3)


@given(st.dictionaries(names, values))
def test_any_headers_can_be_read_and_written_again(headers: dict[str, Any]):
    envelope = read(headers)
    assert envelope.attempt >= 1
    again = read(envelope.again("r"))
    assert again.attempt == envelope.attempt + 1
    assert (again.exchange, again.routing_key, again.first_seen_ms, again.foreign) == (
        envelope.exchange,
        envelope.routing_key,
        envelope.first_seen_ms,
        envelope.foreign,
    )
