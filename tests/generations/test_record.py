"""From the last effect to the sealed end (record.py, sealed.py)."""

import hashlib
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from protocol.codes import ErrorCode
from protocol.frames import Usage
from server.generations import policy, record
from server.generations.continuation import rough_tokens
from server.generations.effects import AttemptNote, End
from server.generations.order import GenerationOrder
from server.generations.sealed import SealedEnd, decode_end, encode_end
from server.generations.upstream import UsageReported
from tests.generations.notes import CHAIN, a_note, a_plan, usages

FREE, _, PAID = CHAIN


def an_order(**changes: Any) -> GenerationOrder:
    fields: dict[str, Any] = {
        "user": "u",
        "generation": "g",
        "conversation": "c",
        "message": "m",
        "reply_to": "q",
        "plan": a_plan(),
        "events": (),
        "prompt": None,
        "request_id": "r",
    }
    return GenerationOrder(**fields | changes)


def an_end(
    *notes: AttemptNote, text: str = "", end: End | None = None, order: GenerationOrder | None = None, **changes: Any
) -> SealedEnd:  # fmt: skip
    fields: dict[str, Any] = {
        "model": PAID,
        "elapsed_ms": 1234,
        "now_ms": 1_790_000_000_123,
        "count": rough_tokens,
    }
    ending = end or End("completed", "stop", None, notes)
    return record.build_end(order or an_order(), ending, text=text, **fields | changes)


def a_bill(note: AttemptNote, text: str = "") -> tuple[str, int, int, str, bool]:
    bill = an_end(note, text=text).bills[0]
    return bill.state, bill.prompt_tokens, bill.completion_tokens, bill.cost, bill.due


def test_the_message_is_the_whole_text():
    end = an_end(a_note(1, PAID, start=0, to=4, served_model="c/three-0901"), text="Héy!")
    finished = end.finished
    assert finished.message is not None
    assert finished.message.content == "Héy!"
    assert finished.message.id == end.message == "m"
    assert finished.message.parent_message_id == end.reply_to == "q"
    assert finished.message.sender_type == "assistant"
    assert finished.message.created_at == "2026-09-21T14:13:20.123Z"
    assert finished.message.metadata == {
        "model": PAID,
        "is_free_model": False,
        "status": "completed",
        "generation": "g",
    }
    assert finished.length == 4
    assert finished.sha256 == hashlib.sha256("Héy!".encode()).hexdigest()
    assert (finished.model, finished.served_model) == (PAID, "c/three-0901")
    assert (finished.status, finished.finish_reason, finished.error) == ("completed", "stop", None)
    assert (finished.processing_time_ms, finished.persisted) == (1234, True)
    assert (end.user, end.generation, end.conversation, end.finished_ms) == ("u", "g", "c", 1_790_000_000_123)


def test_without_any_text_there_is_no_message():
    end = an_end(end=End("failed", None, ErrorCode.ALL_MODELS_FAILED, (a_note(1, failure="empty"),)))
    assert end.finished.message is None
    assert end.finished.length == 0
    assert end.finished.sha256 == hashlib.sha256(b"").hexdigest()
    assert end.finished.error is not None
    assert end.finished.error.code == ErrorCode.ALL_MODELS_FAILED


def test_a_generation_that_asked_nobody_has_an_end_too():
    end = an_end(end=End("cancelled", None, None, ()), model=FREE)
    assert (end.finished.model, end.finished.served_model, end.finished.segments) == (FREE, None, [])
    assert end.finished.usage == Usage(
        prompt_tokens=0, completion_tokens=0, total_tokens=0, cost="0", state="settled"
    )
    assert (end.bills, end.is_free_model) == ((), False)


def test_the_last_attempts_model_is_told_as_asked_and_as_served():
    end = an_end(a_note(1, FREE, served_model="x"), a_note(2, PAID), text="")
    assert (end.finished.model, end.finished.served_model) == (PAID, None)


@pytest.mark.parametrize(
    ("models", "free"), [([FREE], True), ([FREE, CHAIN[1]], True), ([FREE, PAID], False), ([PAID], False)]
)  # fmt: skip
def test_an_answer_is_free_if_every_model_that_was_reached_is(models: list[str], free: bool):
    notes = [a_note(number, model) for number, model in enumerate(models, 1)]
    assert an_end(*notes).is_free_model is free
    assert [bill.is_free_model for bill in an_end(*notes).bills] == [model != PAID for model in models]


def test_a_paid_model_that_was_never_reached_makes_no_answer_dear():
    assert an_end(a_note(1, PAID, reached=False), a_note(2, FREE)).is_free_model
    assert an_end(a_note(1, PAID, refused=True), a_note(2, FREE)).is_free_model


@pytest.mark.parametrize(("model", "free"), [(FREE, True), (PAID, False)])
def test_where_no_model_was_reached_an_answer_is_as_free_as_those_asked(model: str, free: bool):
    assert an_end(a_note(1, model, reached=False), text="").is_free_model is free


# --- bills ---------------------------------------------------------------------------------


def test_what_the_upstream_reported_is_settled():
    usage = UsageReported(10, 20, 5, Decimal("0.00012"))
    assert a_bill(a_note(usage=usage, generation_id="gen-1")) == ("settled", 10, 20, "0.00012", False)


def test_what_was_never_reached_costs_nothing():
    assert a_bill(a_note(reached=False, prompt_tokens_estimate=50)) == ("settled", 0, 0, "0", False)


def test_what_was_refused_costs_nothing_and_counts_as_a_request():
    end = an_end(a_note(1, refused=True, prompt_tokens_estimate=50), text="")
    assert [(bill.state, bill.prompt_tokens, bill.cost, bill.reached) for bill in end.bills] == [
        ("settled", 0, "0", True)
    ]


def test_what_was_not_told_is_estimated_and_due_where_there_is_an_id_to_ask_by():
    note = a_note(to=8, generation_id="gen-1", prompt_tokens_estimate=50, completion_chars=14)
    # eight characters shown are two tokens, six unshown two more
    assert a_bill(note, "abcdefgh") == ("estimated", 50, 4, "0", True)


def test_without_an_id_nobody_ever_can_tell():
    note = a_note(to=4, completion_chars=4, key="k1", prompt_tokens_estimate=50)
    assert a_bill(note, "abcd") == ("unknown", 50, 1, "0", False)


def test_of_a_call_without_headers_nothing_is_made_up():
    assert a_bill(a_note(prompt_tokens_estimate=50)) == ("unknown", 0, 0, "0", False)


def test_a_bill_keeps_what_settling_needs():
    note = a_note(2, PAID, generation_id="gen-1", key="k1", failure="stall_timeout", served_model="s")
    bill = an_end(note).bills[0]
    assert (bill.attempt, bill.model, bill.served_model) == (2, PAID, "s")
    assert (bill.upstream_id, bill.key, bill.failure, bill.reached) == ("gen-1", "k1", "stall_timeout", True)
    assert bill.processing_time_ms == 1234


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.none() | usages, st.none() | st.just("gen"), st.booleans()),
        max_size=5,
    ),
)
def test_segments_cover_the_text_and_usage_is_the_sum_of_the_bills(
    parts: list[tuple[int, UsageReported | None, str | None, bool]],
):
    notes, text = [], ""
    for number, (chars, usage, identity, reached) in enumerate(parts, 1):
        notes.append(
            a_note(
                number, start=len(text), to=len(text) + chars, usage=usage, generation_id=identity, reached=reached
            )
        )  # fmt: skip
        text += "x" * chars
    end = an_end(*notes, text=text)
    finished = end.finished
    assert [(each.start, each.to) for each in finished.segments] == [(note.start, note.to) for note in notes]
    assert len(end.bills) == len(finished.segments) == len(notes)
    for segment, bill in zip(finished.segments, end.bills, strict=True):
        assert segment.usage.cost == bill.cost
        assert segment.usage.state == bill.state
        assert bill.due == (bill.state == "estimated")
    assert finished.usage.prompt_tokens == sum(bill.prompt_tokens for bill in end.bills)
    assert finished.usage.completion_tokens == sum(bill.completion_tokens for bill in end.bills)
    assert finished.usage.total_tokens == finished.usage.prompt_tokens + finished.usage.completion_tokens
    assert Decimal(finished.usage.cost) == sum((Decimal(bill.cost) for bill in end.bills), Decimal(0))
    states = {bill.state for bill in end.bills}
    least_sure = next((each for each in ("unknown", "estimated") if each in states), "settled")
    assert finished.usage.state == least_sure
    assert decode_end(encode_end(end)) == end


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("7.434e-07", "0.0000007434"),
        ("1E+2", "100"),
        ("10", "10"),
        ("0.10", "0.1"),
        ("1.2345678901234", "1.234567890123"),
        ("1e-13", "0"),
        ("-1e-13", "0"),
    ],
)
def test_an_amount_is_plain(amount: str, text: str):
    assert record.plain(Decimal(amount)) == text


# --- failures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    sorted(
        {rule.code for rule in policy.RULES.values()}
        | {ErrorCode.GENERATION_TIMEOUT, ErrorCode.NODE_LOST, ErrorCode.NOT_FOUND, ErrorCode.ALL_MODELS_FAILED}
    ),
)  # fmt: skip
def test_every_way_to_fail_has_a_sentence_of_its_own(code: ErrorCode):
    sentence = record.failure_sentence(code)
    assert sentence != record.failure_sentence(ErrorCode.INTERNAL)
    assert sentence.endswith(".")


def test_a_code_without_a_sentence_is_told_as_internal():
    assert record.failure_sentence(ErrorCode.FORBIDDEN) == record.failure_sentence(ErrorCode.INTERNAL)


# --- the sealed record ---------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"nonsense", encode_end(an_end())[:-1]])
def test_what_is_no_sealed_end_is_refused(raw: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode_end(raw)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_survives_the_store(text: str):
    end = an_end(a_note(1, PAID, to=len(text)), text=text)
    assert decode_end(encode_end(end)) == end
