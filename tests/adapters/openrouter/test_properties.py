"""Whatever an upstream sends, and however it is cut: the same facts, one end, no exception."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.adapters.openrouter.reply import Reply
from server.embedded.openrouter import stream, tokens
from server.embedded.openrouter.behaviour import Behaviour, Failure, Framing, Insertion
from server.embedded.openrouter.catalogue import DEFAULT_MODELS
from server.embedded.openrouter.ledger import priced
from server.embedded.openrouter.steps import Write
from server.embedded.openrouter.wire import Envelope
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Opened,
    Progress,
    Reasoning,
    Served,
    Text,
    UpstreamFact,
    UsageReported,
)
from tests.adapters.openrouter.asking import a_request, an_adapter, reasoning_of, text_of
from tests.scripted.raw_upstream import EVENT_STREAM, LAST_CHUNK, Exchange, RawUpstream, chunked

NOW = 1_790_000_000.0
MODEL = DEFAULT_MODELS[1]
GENERATION = "gen-1790000000-abcdefghijklmnopqrst"

_texts = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from(["😀", "\u2028", "\x85", "\x0b", "\0", "é", " ", "\n"]),
    max_size=30,
)
_in_band = st.sampled_from(
    [
        "error",
        "error_empty_choices",
        "error_string_code",
        "error_choice_only",
        "error_native_only",
        "error_availability",
    ]
)
_failures = st.builds(
    Failure,
    how=_in_band | st.sampled_from(["eof", "malformed", "not_sse"]),
    at=st.integers(0, 12),
    code=st.sampled_from([400, 402, 403, 404, 408, 429, 500, 502, 503, 504, 524, 529]),
    done=st.booleans(),
)
_behaviours = st.builds(
    Behaviour,
    text=_texts,
    reasoning=_texts,
    layout=st.sampled_from(["2025", "2026"]),
    empty_first_chunk=st.none() | st.booleans(),
    usage=st.sampled_from(["empty_choice", "no_choices", "with_finish", "with_content", "none"]),
    usage_finish=st.none() | st.sampled_from(["repeat", "null"]),
    duplicate_finish=st.booleans(),
    done=st.booleans(),
    split_surrogates=st.booleans(),
    comments_first=st.integers(0, 3),
    finish_reason=st.sampled_from(["stop", "length", "content_filter", "tool_calls"]),
    insert=st.lists(
        st.builds(
            Insertion,
            at=st.integers(0, 12),
            what=st.sampled_from(["comment", "empty", "null", "no_choices", "unknown_fields", "huge"]),
            size=st.integers(0, 300),
        ),
        max_size=3,
    ).map(tuple),
    framing=st.builds(
        Framing, newline=st.sampled_from(["lf", "crlf", "cr"]), space=st.booleans()
    ),
    fail=st.none() | _failures,
)  # fmt: skip
_places = st.lists(st.integers(0, 1 << 16), max_size=20)


def body_of(behaviour: Behaviour) -> bytes:
    """The event stream that the simulator writes for a behaviour."""
    deltas = tokens.split(behaviour.text or "")
    if behaviour.split_surrogates:
        deltas = tokens.split_surrogates(deltas)
    thought = tokens.count(behaviour.reasoning)
    reply = stream.Reply(
        behaviour,
        b"",
        Envelope(
            generation=GENERATION,
            created=1_790_000_000,
            model=MODEL.slug,
            provider=MODEL.provider,
            layout=behaviour.layout,
        ),
        deltas,
        tokens.split(behaviour.reasoning),
        priced(MODEL, 7, tokens.count(behaviour.text or "") + thought, thought),
        behaviour.finish_reason,
    )
    return b"".join(step.data for step in stream.streamed(reply) if isinstance(step, Write))


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """`body` in pieces, some of them empty."""
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(edges)]


def facts_in(reads: Sequence[bytes]) -> list[UpstreamFact]:
    reply = Reply()
    facts = [fact for read in reads for fact in reply.feed(read, NOW)]
    return [*facts, *reply.end(NOW)]


def whole(facts: Sequence[UpstreamFact]) -> list[UpstreamFact]:
    """Neighbouring texts as one: all that the cuts may change."""
    joined: list[UpstreamFact] = []
    for fact in facts:
        last = joined[-1] if joined else None
        if isinstance(fact, Text) and isinstance(last, Text):
            joined[-1] = Text(last.text + fact.text)
        elif isinstance(fact, Reasoning) and isinstance(last, Reasoning):
            joined[-1] = Reasoning(last.text + fact.text)
        elif not (isinstance(fact, Progress) and isinstance(last, Progress)):
            joined.append(fact)
    return joined


def ends_of(facts: Sequence[UpstreamFact]) -> list[UpstreamFact]:
    return [fact for fact in facts if isinstance(fact, Done | Failed)]


@given(_behaviours, _places)
def test_the_cuts_of_a_stream_change_nothing(behaviour: Behaviour, places: list[int]):
    body = body_of(behaviour)

    assert whole(facts_in(cut(body, places))) == whole(facts_in([body]))


@given(_behaviours)
def test_byte_by_byte_changes_nothing(behaviour: Behaviour):
    body = body_of(behaviour)

    assert whole(facts_in([body[at : at + 1] for at in range(len(body))])) == whole(facts_in([body]))


@given(_behaviours)
def test_line_ends_layout_and_oddities_change_no_text_finish_or_bill(behaviour: Behaviour):
    """A good stream means the same in every shape; what it says is the simulator's own ledger."""
    facts = facts_in([body_of(behaviour)])

    text, thoughts = tokens.clean(behaviour.text or ""), tokens.clean(behaviour.reasoning)
    assert ends_of(facts) == [facts[-1]]
    # half a character may be all that came of it
    assert text.startswith(text_of(facts).removesuffix("\ufffd"))
    assert (
        thoughts == reasoning_of(facts)
        if behaviour.fail is None
        else thoughts.startswith(reasoning_of(facts))
    )
    if behaviour.fail is None and text:
        assert text_of(facts) == text
        assert facts[-1] == Done()
        assert {fact.reason for fact in facts if isinstance(fact, Finish)} == {behaviour.finish_reason}
        bills = [fact for fact in facts if isinstance(fact, UsageReported)]
        thought = tokens.count(behaviour.reasoning)
        said = tokens.count(behaviour.text or "") + thought
        expected = UsageReported(7, said, thought, MODEL.cost(7, said))
        assert bills == ([] if behaviour.usage == "none" else [expected])
        assert [fact for fact in facts if isinstance(fact, Served)] == [Served(MODEL.slug, GENERATION)]
    else:
        assert isinstance(facts[-1], Failed)


@given(st.binary(max_size=400), _places)
@example(b"data: [DONE]\n\n", [])
@example(b"data:\n\ndata\n\n:\n\n", [1, 2, 3])
@example(b'{"choices":[{"delta":', [5])
@example(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', [])
def test_arbitrary_bytes_end_in_exactly_one_end(body: bytes, places: list[int]):
    facts = facts_in(cut(body, places))

    assert ends_of(facts) == [facts[-1]]
    assert whole(facts) == whole(facts_in([body]))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "model", "choices", "delta", "content", "reasoning", "reasoning_details", "text", "error",
                 "message", "code", "metadata", "usage", "cost", "finish_reason", "native_finish_reason", "index",
                 "object", "prompt_tokens", "completion_tokens", "error_type", "headers", "retry_after"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=15,
)  # fmt: skip
_choices = st.fixed_dictionaries(
    {"choices": st.lists(_json, max_size=2)}, optional={"error": _json, "usage": _json}
)


@given(st.lists(_json | _choices, max_size=4), st.booleans())
def test_any_json_in_the_events_ends_in_exactly_one_end(documents: list[Any], done: bool):
    events = b"".join(b"data: %b\n\n" % json.dumps(document).encode() for document in documents)
    facts = facts_in([events + (b"data: [DONE]\n\n" if done else b"")])

    assert ends_of(facts) == [facts[-1]]
    for fact in facts:
        match fact:
            case Text() | Reasoning():
                assert fact.text.encode()
            case UsageReported():
                assert fact.prompt_tokens >= 0
                assert fact.completion_tokens >= 0
                assert fact.cost >= Decimal(0)
            case Served():
                assert fact.model.encode()
            case Failed():
                assert fact.retry_after_seconds is None or 0 <= fact.retry_after_seconds <= 86_400
            case _:
                pass


# --- through HTTP -------------------------------------------------------------------------------------


async def facts_through(responses: Sequence[tuple[Sequence[bytes], str]]) -> list[list[UpstreamFact]]:
    """The facts of calls that are answered with exactly these bytes, and the end named."""
    left = iter(responses)

    async def script(exchange: Exchange) -> None:
        reads, end = next(left)
        for read in reads:
            if read:
                await exchange.send(read)
                await asyncio.sleep(0)
        if end != "keep":
            getattr(exchange, end)()

    async with (
        RawUpstream(script) as upstream,
        aclosing(an_adapter(upstream.base_url)) as openrouter,
        asyncio.timeout(30),
    ):
        told = []
        for _ in responses:
            async with aclosing(openrouter.stream(a_request())) as facts:
                told.append([fact async for read in facts for fact in read])
        return told


@settings(max_examples=15)
@given(st.lists(st.tuples(_behaviours, _places, st.integers(1, 300)), min_size=1, max_size=6))
def test_cuts_of_http_and_of_the_network_change_nothing(calls: list[tuple[Behaviour, list[int], int]]):
    responses = []
    for behaviour, places, size in calls:
        body = body_of(behaviour)
        framed = b"".join(chunked(body[at : at + size]) for at in range(0, len(body), size))
        responses.append((cut(EVENT_STREAM + framed + LAST_CHUNK, places), "keep"))

    told = asyncio.run(facts_through(responses))

    for (behaviour, _, _), facts in zip(calls, told, strict=True):
        assert isinstance(facts[0], Opened)
        assert whole(facts[1:]) == whole(facts_in([body_of(behaviour)]))


_heads = st.one_of(
    st.just(b""),
    st.just(EVENT_STREAM),
    st.just(b"HTTP/1.1 200 OK\r\n\r\n"),
    st.just(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"),
    st.just(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"),
    st.just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n"),
    st.integers(100, 599).map(lambda status: b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n\r\n" % status),
)  # fmt: skip


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(_heads, st.binary(max_size=120), _places, st.sampled_from(["close", "reset"])),
        min_size=1,
        max_size=8,
    )
)
def test_arbitrary_bytes_on_the_connection_end_in_exactly_one_end(
    calls: list[tuple[bytes, bytes, list[int], str]],
):
    told = asyncio.run(facts_through([(cut(head + body, places), end) for head, body, places, end in calls]))

    for facts in told:
        assert ends_of(facts) == [facts[-1]]
        assert isinstance(facts[-1], Failed)
        assert facts[-1].kind in FailureKind
