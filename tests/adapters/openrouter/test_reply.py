"""Sans-I/O. The body of a 200 to facts: rules 1 to 6 of its module, over every shape seen on the wire."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.openrouter.reply import Reply
from server.generations.upstream import (
    Done,
    Failed,
    FailureKind,
    Finish,
    Progress,
    Reasoning,
    Served,
    Text,
    UpstreamFact,
    UsageReported,
)

NOW = 1_790_000_000.0
STOP = Finish("stop", "stop")
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "cost": 7.434e-07,
    "completion_tokens_details": {"reasoning_tokens": 2},
}
BILL = UsageReported(12, 5, 2, Decimal("7.434E-7"))


def chunk(content: Any = "", *, finish: Any = None, native: Any = "as finish", **more: Any) -> dict[str, Any]:
    delta = {"role": "assistant", "content": content, **more.pop("delta", {})}
    native = finish if native == "as finish" else native
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": native}
    return {"id": "gen-1", "model": "a/b", "choices": [choice], **more}


def event(document: Any) -> bytes:
    return b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n\n"


def stream(*documents: Any, done: bool = True) -> bytes:
    return b"".join(map(event, documents)) + (b"data: [DONE]\n\n" if done else b"")


def facts_of(*reads: bytes, broken: str = "", limit_bytes: int = 1 << 20) -> list[UpstreamFact]:
    reply = Reply(limit_bytes=limit_bytes)
    facts = [fact for read in reads for fact in reply.feed(read, NOW)]
    return facts + reply.end(NOW, broken=broken)


def without_details(facts: Sequence[UpstreamFact]) -> list[UpstreamFact]:
    return [replace(fact, detail="") if isinstance(fact, Failed) else fact for fact in facts]


def shown(*documents: Any, done: bool = True) -> list[UpstreamFact]:
    """The facts without the `Served` that every one of these begins with."""
    facts = without_details(facts_of(stream(*documents, done=done)))
    return [fact for fact in facts if not isinstance(fact, Served)]


def joined(facts: Sequence[UpstreamFact]) -> list[UpstreamFact]:
    """Neighbouring texts as one: all that depends on how the bytes were cut (rule 2)."""
    whole: list[UpstreamFact] = []
    for fact in facts:
        last = whole[-1] if whole else None
        if isinstance(fact, Text) and isinstance(last, Text):
            whole[-1] = Text(last.text + fact.text)
        elif isinstance(fact, Reasoning) and isinstance(last, Reasoning):
            whole[-1] = Reasoning(last.text + fact.text)
        elif not (isinstance(fact, Progress) and isinstance(last, Progress)):
            whole.append(fact)
    return whole


def test_the_layout_of_2026():
    facts = facts_of(
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
        stream(chunk("Hel"), chunk("lo"), done=False),
        stream(chunk(finish="stop"), chunk(finish="stop", usage=USAGE)),
    )

    assert facts == [Progress(), Served("a/b", "gen-1"), Text("Hello"), STOP, BILL, Done()]


def test_the_layout_of_2025():
    """An empty first chunk; the usage chunk's finish_reason is null."""
    assert shown(chunk(""), chunk("Hi"), chunk(finish="stop"), chunk(usage=USAGE)) == [
        Text("Hi"),
        STOP,
        BILL,
        Done(),
    ]


@pytest.mark.parametrize(
    ("documents", "facts"),
    [
        ([chunk("a"), chunk(finish="stop"), {"model": "a/b", "choices": [], "usage": USAGE}], [Text("a"), STOP, BILL, Done()]),
        ([chunk("a"), chunk(finish="stop"), {"usage": USAGE}], [Text("a"), STOP, BILL, Done()]),
        ([chunk("a", finish="stop", usage=USAGE)], [Text("a"), STOP, BILL, Done()]),
        ([chunk("a", usage=USAGE), chunk(finish="stop", usage=USAGE)], [Text("a"), BILL, STOP, Done()]),
        ([chunk("a"), chunk(finish="stop", native="end_turn"), chunk(finish="stop", native="end_turn")], [Text("a"), Finish("stop", "end_turn"), Done()]),
        ([chunk("a", finish="stop", usage={"prompt_tokens": 1})], [Text("a"), STOP, Done()]),
        ([chunk("a", finish="stop", usage={**USAGE, "cost": None})], [Text("a"), STOP, Done()]),
        ([chunk("a", finish="stop", usage={**USAGE, "cost": -1})], [Text("a"), STOP, Done()]),
        ([chunk("a", finish="stop", usage={**USAGE, "is_byok": True, "cost": 1e-7, "cost_details": {"upstream_inference_cost": 0.5}})], [Text("a"), STOP, replace(BILL, cost=Decimal("0.5000001")), Done()]),
        ([chunk("a", finish="stop", usage={**USAGE, "is_byok": False, "cost_details": {"upstream_inference_cost": None}, "completion_tokens_details": None})], [Text("a"), STOP, replace(BILL, reasoning_tokens=0), Done()]),
    ],
)  # fmt: skip
def test_usage_is_read_wherever_it_stands_and_only_when_it_is_a_bill(
    documents: list[Any], facts: list[UpstreamFact]
):
    """Rule 3."""
    assert shown(*documents) == facts


@pytest.mark.parametrize(
    ("documents", "facts"),
    [
        ([chunk(None), chunk("a"), chunk(""), chunk("b", finish="length")], [Text("ab"), Finish("length", "length"), Done()]),
        ([chunk("a", finish="function_call")], [Text("a"), Finish("tool_calls", "function_call"), Done()]),
        ([chunk("a", finish="whatever", native=None)], [Text("a"), Finish("stop", None), Done()]),
        ([chunk("a", native="STOP"), chunk(finish="stop", native="STOP")], [Text("a"), Finish("stop", "STOP"), Done()]),
        ([chunk([{"type": "text", "text": "a"}, {"type": "image"}, "b"], finish="stop")], [Text("a"), STOP, Done()]),
        ([chunk("a\0b\ud83d"), chunk("\ude00", finish="stop")], [Text("a\ufffdb😀"), STOP, Done()]),
        ([chunk("a\ud83d", finish="stop")], [Text("a"), STOP, Text("\ufffd"), Done()]),
        ([chunk("\ud83d", finish="stop")], [STOP, Text("\ufffd"), Done()]),
        ([{"model": "a/b", "choices": [{"index": 1, "delta": {"content": "no"}}, {"delta": {"content": "a"}, "finish_reason": "stop"}]}], [Text("a"), Finish("stop", None), Done()]),
        ([{"choices": [{"text": "a", "finish_reason": "stop"}]}], [Text("a"), Finish("stop", None), Done()]),
        ([{"choices": [None, 3, {"message": {"content": "a"}, "finish_reason": "stop"}]}], [Text("a"), Finish("stop", None), Done()]),
        ([{"model": "a/b", "debug": {}, "choices": []}, chunk("a", finish="stop")], [Text("a"), STOP, Done()]),
        ([chunk("a", finish="stop", error=None), chunk(finish="stop", error="")], [Text("a"), STOP, Done()]),
        ([b"", chunk("a", finish="stop")], [Text("a"), STOP, Done()]),
        ([b'{"choices":[{"delta":{"content":"a\tb"},"finish_reason":"stop"}],"x":NaN}'], [Text("a\tb"), Finish("stop", None), Done()]),
        ([b'{"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}'], [Text("a\ufffdb"), Finish("stop", None), Done()]),
        ([chunk("a")], [Text("a"), Done()]),
    ],
)  # fmt: skip
def test_every_shape_of_an_answer_gives_its_text_and_its_end(documents: list[Any], facts: list[UpstreamFact]):
    """Rules 1 and 3."""
    assert shown(*documents) == facts


@pytest.mark.parametrize(
    ("documents", "facts"),
    [
        ([chunk(delta={"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]})], [Reasoning("hm")]),
        ([chunk(delta={"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}, {"type": "reasoning.encrypted", "data": "x"}, 3]})], [Reasoning("hm")]),
        ([chunk(delta={"reasoning_content": "hm"})], [Reasoning("hm")]),
        ([chunk(delta={"reasoning": "h"}), chunk(delta={"reasoning": "m"}), chunk(delta={"reasoning_details": [{"text": "hm"}]})], [Reasoning("hm")]),
        ([chunk(delta={"reasoning": "h\ud83d"}), chunk(delta={"reasoning": "\ude00"})], [Reasoning("h😀")]),
        ([chunk(delta={"reasoning": "\ud83d"})], [Reasoning("\ufffd")]),
    ],
)  # fmt: skip
def test_reasoning_is_taken_once_however_often_it_is_mirrored(
    documents: list[Any], facts: list[UpstreamFact]
):
    thoughts = [fact for fact in shown(*documents, chunk("a", finish="stop")) if isinstance(fact, Reasoning)]

    assert joined(thoughts) == facts


@pytest.mark.parametrize(
    ("documents", "served"),
    [
        ([chunk("a"), chunk("b", finish="stop")], [Served("a/b", "gen-1")]),
        ([chunk("a"), chunk("b", finish="stop", model="a/c")], [Served("a/b", "gen-1"), Served("a/c", "gen-1")]),
        ([chunk("a", id=None), chunk("b", finish="stop")], [Served("a/b", None), Served("a/b", "gen-1")]),
        ([chunk("a"), chunk("b", finish="stop", id=None, model="a/c")], [Served("a/b", "gen-1"), Served("a/c", "gen-1")]),
        ([chunk("a", model=None), chunk("b", finish="stop", model=3)], []),
    ],
)  # fmt: skip
def test_the_model_that_serves_is_told_when_it_becomes_known_or_changes(
    documents: list[Any], served: list[Served]
):
    assert [fact for fact in facts_of(stream(*documents)) if isinstance(fact, Served)] == served


ERROR = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "X"}}
OVERLOADED = Failed(FailureKind.OVERLOADED)
BROKEN = Failed(FailureKind.UPSTREAM_ERROR)


@pytest.mark.parametrize(
    ("document", "failed"),
    [
        (chunk(finish="error", error=ERROR), OVERLOADED),
        ({"model": "a/b", "choices": [], "error": ERROR}, OVERLOADED),
        ({"error": ERROR}, OVERLOADED),
        (chunk(finish="error", error={"code": "server_error", "message": "?"}), BROKEN),
        (chunk(finish="error"), BROKEN),
        (chunk(finish="error", native="SAFETY"), Failed(FailureKind.CONTENT_FILTERED)),
        (chunk(finish="error", native="MALFORMED_FUNCTION_CALL"), BROKEN),
        (chunk(finish="stop", native="network_error"), BROKEN),
        (chunk(finish=None, native="error"), BROKEN),
        ({"choices": [{"index": 0, "error": {"code": 429, "message": "?"}}]}, Failed(FailureKind.RATE_LIMITED_MODEL)),
        ({"error": {}}, BROKEN),
        ({"error": "server_error"}, BROKEN),
        ({"object": "error", "message": "out of memory", "code": 500}, BROKEN),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [[], [chunk("some")]])
@pytest.mark.parametrize("done", [True, False])
def test_an_error_is_one_wherever_it_stands(document: Any, failed: Failed, before: list[Any], done: bool):
    """Rule 4, before and after text, with and without `[DONE]`."""
    text: list[UpstreamFact] = [Text("some")] if before else []

    assert shown(*before, document, done=done) == [*text, failed]


def test_what_else_the_chunk_of_an_error_holds_is_taken_first():
    """Rule 4."""
    document = chunk("last words", finish="error", usage=USAGE, error=ERROR)

    assert shown(chunk("some "), document, chunk("never")) == [Text("some last words"), BILL, OVERLOADED]


def test_an_error_in_band_says_when_to_come_back():
    error = {
        "code": 429,
        "message": "?",
        "metadata": {"headers": {"X-RateLimit-Reset": str((NOW + 9) * 1000)}},
    }

    facts = facts_of(stream({"error": error}))

    assert without_details(facts) == [Failed(FailureKind.RATE_LIMITED_POOL, retry_after_seconds=9.0)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (stream(chunk(finish="stop")), FailureKind.EMPTY),
        (stream(chunk(delta={"reasoning": "hm"}), chunk(finish="length")), FailureKind.EMPTY),
        (stream(), FailureKind.EMPTY),
        (stream(chunk(finish="content_filter")), FailureKind.CONTENT_FILTERED),
        (stream(chunk("a"), done=False), FailureKind.TRUNCATED),
        (b"", FailureKind.TRUNCATED),
        (b" \n\n", FailureKind.TRUNCATED),
        (b": OPENROUTER PROCESSING\n\n", FailureKind.TRUNCATED),
        (stream(chunk("a"), done=False) + b'data: {"choices":[{"delta":{"con', FailureKind.TRUNCATED),
        (stream(chunk("a"), done=False) + b"data: 7", FailureKind.TRUNCATED),
        (stream(b"{oops"), FailureKind.MALFORMED),
        (stream(b"[]"), FailureKind.MALFORMED),
        (stream(b"null"), FailureKind.MALFORMED),
        (stream(b"[" * 100_000), FailureKind.MALFORMED),
        (stream(b'{"choices":' + b"9" * 5000 + b"}"), FailureKind.MALFORMED),
        (b"upstream connect error", FailureKind.MALFORMED),
        (b"  <!DOCTYPE html><html>", FailureKind.MALFORMED),
        (b"data: " + b"x" * (1 << 20), FailureKind.MALFORMED),
        (b"{" + b" " * (1 << 20), FailureKind.MALFORMED),
        (b'{"choices":', FailureKind.MALFORMED),
        (b"{}", FailureKind.MALFORMED),
        (b'{"choices":[]}', FailureKind.MALFORMED),
        (b'{"error":{"code":503,"message":"down"}}', FailureKind.OVERLOADED),
    ],
)
def test_what_ended_otherwise_has_failed(body: bytes, kind: FailureKind):
    """Rules 1, 5 and 6."""
    end = facts_of(body)[-1]

    assert isinstance(end, Failed)
    assert end.kind == kind
    assert end.detail


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (stream(chunk("a"), done=False), FailureKind.TRUNCATED),
        (b"", FailureKind.TRUNCATED),
        (b"upst", FailureKind.TRUNCATED),
        (b'{"choices":', FailureKind.TRUNCATED),
    ],
)
def test_a_connection_that_broke_is_named_in_the_detail(body: bytes, kind: FailureKind):
    assert facts_of(body, broken="reset by peer")[-1] == Failed(kind, detail="reset by peer")


@pytest.mark.parametrize("broken", ["", "reset by peer"])
def test_after_a_finish_the_end_of_the_body_is_an_end_even_without_done(broken: str):
    facts = facts_of(stream(chunk("a"), chunk(finish="stop"), done=False), broken=broken)

    assert facts == [Served("a/b", "gen-1"), Text("a"), STOP, Done()]


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", event(chunk(finish="stop")).rstrip()])
def test_a_missing_last_line_end_loses_nothing(tail: bytes):
    facts = facts_of(stream(chunk("a"), done=False) + tail)

    assert facts[-1] == Done()


@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf", b"\r\n \n"])
def test_a_whole_completion_instead_of_a_stream_is_an_answer(lead: bytes):
    """Rule 6."""
    body = {
        "id": "gen-1",
        "model": "a/b",
        "choices": [
            {"index": 0, "message": {"content": "Hello", "reasoning": "hm"}, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }

    assert facts_of(lead + json.dumps(body, indent=1).encode()) == [
        Served("a/b", "gen-1"),
        Reasoning("hm"),
        Text("Hello"),
        Finish("stop", None),
        BILL,
        Done(),
    ]


def test_a_long_history_of_small_reads_is_one_line():
    """A line that comes byte by byte must not cost the square of its length."""
    content = "x" * 200_000
    body = stream(chunk(content, finish="stop"))

    facts = facts_of(*(body[i : i + 1] for i in range(len(body))))

    assert facts == [Served("a/b", "gen-1"), Text(content), STOP, Done()]


def test_nothing_comes_after_the_end():
    reply = Reply()
    facts = reply.feed(stream(chunk("a", finish="stop")) + stream(chunk("never")), NOW)

    assert facts[-1] == Done()
    assert reply.feed(stream(chunk("never")), NOW) == []
    assert reply.end(NOW) == []


_documents = st.one_of(
    st.sampled_from(
        [
            chunk("wörld \u2028"),
            chunk("\ud83d"),
            chunk("\ude00"),
            chunk(None),
            chunk(delta={"reasoning": "\ud83d"}),
            chunk(delta={"reasoning": "\ude00hm"}),
            chunk(usage=USAGE),
            chunk(finish="stop"),
            chunk(finish="error"),
            {"error": ERROR},
            {"choices": []},
            {"choices": [{"delta": {"content": ["x"]}}]},
            {"model": "c/d", "id": 3},
        ]
    ).map(event),
    st.sampled_from([b": waiting\n\n", b"data: [DONE]\n\n", b"data: {", b"\r\n", b"\r", b"\n", b"{", b"<", b"\xef\xbb\xbf"]),
    st.binary(max_size=6),
)  # fmt: skip


@given(
    st.lists(_documents, max_size=10).map(b"".join),
    st.lists(st.integers(0, 2000), max_size=10),
    st.booleans(),
)
def test_any_bytes_in_any_pieces_give_the_same_facts_and_exactly_one_end(
    body: bytes, places: list[int], broken: bool
):
    """Rules 1 and 2."""
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    reads = [body[start:stop] for start, stop in itertools.pairwise(edges)]
    reason = "reset" if broken else ""

    facts = facts_of(*reads, broken=reason, limit_bytes=2000)

    ends = [fact for fact in facts if isinstance(fact, Done | Failed)]
    assert ends == [facts[-1]]
    assert joined(facts) == joined(facts_of(body, broken=reason, limit_bytes=2000))
    for fact in facts:
        if isinstance(fact, Text | Reasoning):
            assert fact.text
            assert "\0" not in fact.text
            assert fact.text.encode().decode() == fact.text
