"""The same stream written differently: line ends, cuts, joins, and breaks at a byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.embedded.openrouter import framing
from server.embedded.openrouter.behaviour import Behaviour, Failure, Framing
from server.embedded.openrouter.steps import End, Hang, Step, Write
from tests.embedded.openrouter.listening import Heard, hear

TEXT = "Überlegen 😀 👩‍🔧."
VARYING = re.compile(rb'"id":"gen-\d+-\w+"|"created":\d+')


@cache
def plain() -> Heard:
    """The stream as it is written where nothing is asked."""
    heard, _ = hear(Behaviour(text=TEXT))
    return heard


def same(body: bytes) -> bytes:
    """A body without what differs from call to call."""
    return VARYING.sub(b"", body)


def test_without_framing_every_event_is_one_write():
    writes = plain().writes
    assert {write.count(b"\n\n") for write in writes} == {1}
    assert all(write.endswith(b"\n\n") for write in writes)
    assert b"\r" not in plain().body


@pytest.mark.parametrize(("newline", "end"), [("lf", b"\n"), ("crlf", b"\r\n"), ("cr", b"\r")])
@pytest.mark.parametrize("split", ["no", "newline"])
def test_lines_end_as_asked(newline: Any, end: bytes, split: Any):
    heard, call = hear(Behaviour(text=TEXT, framing=Framing(newline=newline, split=split)))

    assert same(heard.body) == same(plain().body).replace(b"\n", end)
    assert heard.text == call.sent == TEXT
    if split == "newline":
        assert not any(end * 2 in write for write in heard.writes)
        assert all(b"\r\n" not in write for write in heard.writes)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_writes_may_be_of_any_size(size: int):
    heard, call = hear(Behaviour(text=TEXT, framing=Framing(split="bytes", size=size)))

    assert max(map(len, heard.writes)) == size
    assert same(heard.body) == same(plain().body)
    assert call.bytes_sent == len(heard.body)


def test_writes_may_be_cut_inside_every_character():
    heard, _ = hear(Behaviour(text=TEXT, framing=Framing(split="utf8")))

    for write in heard.writes:
        for character in "Ü😀👩🔧":
            assert character.encode() not in write
    assert heard.text == TEXT


def test_writes_may_be_cut_inside_the_name_of_the_field():
    heard, _ = hear(Behaviour(text=TEXT, framing=Framing(split="field")))

    assert [write for write in heard.writes if b"data:" in write or b"ata:" in write] == []
    assert heard.text == TEXT


def test_the_space_after_the_field_may_be_missing():
    heard, _ = hear(Behaviour(text=TEXT, framing=Framing(space=False)))

    assert b"data: " not in heard.body
    assert heard.body.startswith(b'data:{"id"')
    assert heard.text == TEXT


@pytest.mark.parametrize("count", [2, 5, 999])
def test_several_events_may_be_one_write(count: int):
    heard, _ = hear(Behaviour(text=TEXT, framing=Framing(events_per_write=count)))

    assert [write.count(b"\n\n") for write in heard.writes[:-1]] == [count] * (len(heard.writes) - 1)
    assert len(heard.writes) == -(-len(plain().writes) // count)
    assert heard.text == TEXT


@pytest.mark.parametrize(("how", "end"), [("close", "closed"), ("eof", "whole")])
@pytest.mark.parametrize("at", [0, 1, 7, 1000])
@pytest.mark.parametrize("size", [None, 3])
def test_a_stream_breaks_at_exactly_the_byte(how: Any, end: str, at: int, size: int | None):
    cut = Framing() if size is None else Framing(split="bytes", size=size)
    heard, call = hear(Behaviour(text=TEXT, framing=cut, fail=Failure(how=how, at_byte=at)))

    assert (len(heard.body), heard.end) == (at, end)
    assert call.bytes_sent == at
    assert call.broken
    assert heard.text == call.sent


def test_a_stream_that_is_shorter_than_the_break_ends_well():
    heard, call = hear(Behaviour(text=TEXT, fail=Failure(how="reset", at_byte=1_000_000)))

    assert (heard.text, heard.end, call.state) == (TEXT, "whole", "complete")


def test_a_stream_stalls_at_exactly_the_byte():
    heard, call = hear(
        Behaviour(text=TEXT, fail=Failure(how="stall", at_byte=100)), until=lambda h: len(h.body) == 100
    )

    assert (len(heard.body), call.state) == (100, "aborted")


# --- without a connection ---------------------------------------------------------------------

_writes = st.lists(
    st.builds(
        Write,
        st.binary(min_size=1, max_size=20).map(lambda data: b"." + data + b"\n\n"),
        st.floats(0, 1),
        tokens=st.integers(0, 2),
        thoughts=st.integers(0, 2),
    ),
    max_size=8,
)
_framings = st.builds(
    Framing,
    split=st.sampled_from(["no", "bytes", "utf8", "field", "newline"]),
    size=st.integers(1, 5),
    events_per_write=st.integers(1, 4),
)


def copies(writes: list[Write]) -> Iterator[Step]:
    return iter([Write(each.data, each.after, each.tokens, each.thoughts) for each in writes] + [End()])


def totals(steps: list[Step]) -> tuple[bytes, float, int, int]:
    writes = [step for step in steps if isinstance(step, Write)]
    return (
        b"".join(each.data for each in writes),
        sum(each.after for each in writes),
        sum(each.tokens for each in writes),
        sum(each.thoughts for each in writes),
    )


def shown_by(writes: list[Write], sent: int) -> int:
    """How many tokens a reader knows after so many bytes, by the rule of the module."""
    shown = position = 0
    for each in writes:
        shown += each.tokens if position + len(each.data.rstrip(b"\r\n")) <= sent else 0
        position += len(each.data)
    return shown


@given(_writes, _framings)
def test_no_cut_changes_bytes_times_or_counts(writes: list[Write], asked: Framing):
    steps = list(framing.cut(copies(writes), asked))

    whole, seconds, *counts = totals(steps)
    expected, expected_seconds, *expected_counts = totals(list(copies(writes)))
    assert (whole, counts) == (expected, expected_counts)
    assert seconds == pytest.approx(expected_seconds)


@given(_writes, _framings, st.integers(0, 200))
def test_after_every_write_the_tokens_that_count_are_those_a_reader_knows(
    writes: list[Write], asked: Framing, limit: int
):
    steps = list(framing.cut(framing.broken_at_byte(copies(writes), limit, "stall"), asked))

    sent = tokens = 0
    for step in steps:
        if isinstance(step, Write):
            sent += len(step.data)
            tokens += step.tokens
            assert tokens == shown_by(writes, sent)
    whole, *_ = totals(list(copies(writes)))
    assert sent == min(limit, len(whole))
    assert isinstance(steps[-1], Hang) == (limit < len(whole))
