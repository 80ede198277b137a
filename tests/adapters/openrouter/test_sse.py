"""Sans-I/O. The event decoder: rules 1 to 6 of its module."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.sse import EventDecoder


def decode(*reads: bytes, limit_bytes: int = 1 << 20) -> list[bytes | None]:
    decoder = EventDecoder(limit_bytes=limit_bytes)
    return [event for read in reads for event in decoder.feed(read)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\r\n\ndata: b\r\n\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\ndata: b\n\n", [b"\nb"]),
        (b"data\n\n", [b""]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b": OPENROUTER PROCESSING\n\n", [None]),
        (b":\n: x\ndata: a\n\n", [None, None, b"a"]),
        (b"event: x\nid: 1\nretry: 5\nnonsense\ndata: a\n\n", [b"a"]),
        (b"datafile: a\n\n", []),
        (b"\n\n\n\n", []),
        (b"data: a\n", []),
        (
            "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
            ["a\u2028b\u2029c\u0085d\x0be\x0cf".encode()],
        ),
    ],
)
def test_lines_end_at_cr_lf_and_crlf_only_and_fields_follow_the_standard(
    body: bytes, events: list[bytes | None]
):
    """Rules 1 to 5."""
    assert decode(body) == events


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_end_cut_in_two_is_one_line_end(end: bytes):
    """Rule 1: a CRLF that straddles two reads."""
    body = b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end

    assert decode(*(body[i : i + 1] for i in range(len(body)))) == [b"a\nb", b"c"]


def test_an_empty_read_between_cr_and_lf_changes_nothing():
    assert decode(b"data: a\r", b"", b"\n\r\n") == [b"a"]


@given(
    st.lists(st.sampled_from([b"data: x", b"data:", b"data", b": c", b"id: 1", b"\n", b"\r", b"\r\n", "é\u2028".encode()]))
    .map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
)  # fmt: skip
def test_any_chunking_gives_the_same_events(body: bytes, places: list[int]):
    whole, pieces = EventDecoder(), EventDecoder()

    assert whole.feed(body) == [event for read in cut(body, places) for event in pieces.feed(read)]
    assert whole.leftover() == pieces.leftover()


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=6))
def test_a_line_beyond_the_limit_ends_decoding_wherever_it_was_cut(body: bytes, places: list[int]):
    """Rule 6, and that it does not depend on the reads."""
    body = b"data: a\n\n" + body
    whole, pieces = EventDecoder(limit_bytes=12), EventDecoder(limit_bytes=12)

    assert whole.feed(body) == [event for read in cut(body, places) for event in pieces.feed(read)]
    assert whole.overflowed == pieces.overflowed
    assert whole.leftover() == pieces.leftover()


@pytest.mark.parametrize(
    "body",
    [b"data: 0123456789", b": 0123456789abcdef\n", b"x" * 13 + b"\n", b"data: 1\ndata: 2\n", b"data\n" * 4],
)
def test_too_long_a_line_or_event_is_an_overflow_and_nothing_comes_after_it(body: bytes):
    """Rule 6."""
    decoder = EventDecoder(limit_bytes=12)

    assert decoder.feed(b"data: a\n\n" + body) == [b"a"]
    assert decoder.overflowed
    assert decoder.feed(b"\n\ndata: b\n\n") == []
    assert decoder.leftover() == b""


@pytest.mark.parametrize(
    ("body", "leftover"),
    [
        (b"data: {}", b"{}"),
        (b"data: {}\n", b"{}"),
        (b"data: {\ndata: }", b"{\n}"),
        (b"data: {}\n\n", b""),
        (b": x", b""),
        (b"", b""),
    ],
)
def test_what_no_empty_line_has_ended_is_left_over(body: bytes, leftover: bytes):
    decoder = EventDecoder()
    decoder.feed(body)

    assert decoder.leftover() == leftover
