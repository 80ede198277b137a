"""Sans-I/O. `GET /generation` to a bill."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from server.adapters.openrouter.settlement import settlement_of
from server.generations.upstream import Settlement, SettlementUnavailable

DATA = {
    "native_tokens_prompt": 12,
    "native_tokens_completion": 5,
    "tokens_prompt": 99,
    "tokens_completion": 99,
    "model": "a/b",
    "cancelled": True,
}


def answer(total_cost: str = "7.434e-07", **changes: Any) -> bytes:
    """The body, its cost as written in the JSON text."""
    body = json.dumps({"data": {**DATA, **changes}})
    return body.replace('"data": {', f'"data": {{"total_cost": {total_cost}, ').encode()


def test_a_bill_has_native_tokens_and_the_exact_cost():
    assert settlement_of(200, answer()) == Settlement(12, 5, Decimal("7.434E-7"), "a/b", cancelled=True)


@pytest.mark.parametrize(
    ("changes", "settlement"),
    [
        ({"native_tokens_prompt": None}, Settlement(99, 5, Decimal(0), "a/b", cancelled=True)),
        ({"native_tokens_completion": None, "tokens_completion": None}, Settlement(12, 0, Decimal(0), "a/b", cancelled=True)),
        ({"model": None, "cancelled": None}, Settlement(12, 5, Decimal(0), None, cancelled=False)),
        ({"is_byok": True, "upstream_inference_cost": 0.25}, Settlement(12, 5, Decimal("0.25"), "a/b", cancelled=True)),
        ({"is_byok": True, "upstream_inference_cost": None}, Settlement(12, 5, Decimal(0), "a/b", cancelled=True)),
        ({"is_byok": False, "upstream_inference_cost": 0.25}, Settlement(12, 5, Decimal(0), "a/b", cancelled=True)),
    ],
)  # fmt: skip
def test_absent_fields_and_own_provider_keys(changes: dict[str, Any], settlement: Settlement):
    assert settlement_of(200, answer("0", **changes)) == settlement


@pytest.mark.parametrize(("status", "body"), [(404, b""), (200, answer("null")), (200, answer('"?"'))])
def test_not_yet_is_none(status: int, body: bytes):
    assert settlement_of(status, body) is None


@pytest.mark.parametrize(
    ("status", "final"),
    [(400, True), (410, True), (422, True), (401, False), (402, False), (403, False), (429, False), (500, False), (502, False), (524, False), (529, False), (302, False)],
)  # fmt: skip
def test_what_may_pass_is_not_final(status: int, final: bool):
    with pytest.raises(SettlementUnavailable) as told:
        settlement_of(status, b"")

    assert told.value.final == final


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data":null}'])
def test_another_answer_is_unavailable(body: bytes):
    with pytest.raises(SettlementUnavailable) as told:
        settlement_of(200, body)

    assert not told.value.final
