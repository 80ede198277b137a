"""The ecosystem's envelope (documents.py)."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.adapters.atma.documents import data_of, error_of, parse_document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "without a word"),
        ({}, "without a reason"),
        ({"success": False, "error": {"code": "NOT_FOUND", "message": "gone"}}, "NOT_FOUND"),
        ({"success": False, "error": {"message": "gone"}}, "gone"),
        ({"success": False, "error": "GATEWAY_TIMEOUT", "message": "late"}, "GATEWAY_TIMEOUT"),
        ({"error": "a text", "code": "CODE"}, "a text"),
        ({"code": "CODE"}, "CODE"),
        ({"message": "only this"}, "only this"),
        ({"error": {}, "message": 7}, "without a reason"),
        ({"error": "x" * 500}, "x" * 100),
    ],
)
def test_every_shape_of_an_error_says_something(document: dict[str, Any] | None, said: str):
    assert error_of(document) == said


@pytest.mark.parametrize(
    ("document", "data"),
    [
        ({"success": True, "data": {"a": 1}}, {"a": 1}),
        ({"data": {"a": 1}}, {"a": 1}),
        ({"success": False, "data": {"a": 1}}, None),
        ({"success": True, "data": []}, None),
        ({"success": True}, None),
    ],
)
def test_data_is_only_that_of_a_success(document: dict[str, Any], data: dict[str, Any] | None):
    assert data_of(document) == data


@given(st.binary(max_size=100))
def test_any_body_is_a_document_or_none(body: bytes):
    assert parse_document(body) is None or isinstance(parse_document(body), dict)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_no_document(body: bytes):
    assert parse_document(body) is None
