"""Queries, ids and bodies into structs; what is refused is refused by field and never repeated."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.requests import Request

from protocol.frames import Uuid
from server.gateway.problems import Problem
from server.gateway.requests import accepts, prefers, read_body, read_ids, read_query

ID = "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e07"


class Query(msgspec.Struct, frozen=True):
    """A query with a field of every kind."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    month: Annotated[int, msgspec.Meta(ge=1, le=12)] | None = None
    status: Literal["active", "archived"] = "active"
    full: bool = False
    after: Uuid | None = None
    text: str | None = None


class Body(msgspec.Struct, frozen=True):
    """A body with a field of every kind."""

    content: str
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=5)] | None = None
    key: Uuid | None = None
    kind: Literal["text", "image"] = "text"
    data: dict[str, Any] | None = None
    count: Annotated[int, msgspec.Meta(ge=0)] = 0


def query(text: str) -> Query:
    return read_query(QueryParams(text), Query)


MAX_BYTES = 1000


def body(raw: bytes, **headers: str) -> Body:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "headers": sent}, receive)
    return asyncio.run(read_body(request, Body, max_bytes=MAX_BYTES))


def test_a_query_is_read_by_the_kinds_of_its_fields():
    read = query(f"limit=5&month=12&status=archived&full=TRUE&after={ID.upper()}&text=a%20b&other=x")

    assert read == Query(5, 12, "archived", True, ID, "a b")
    assert query("") == Query()
    assert query("limit=1&limit=2").limit == 2


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("limit=0", "limit", "must be at least 1"),
        ("limit=101", "limit", "must be at most 100"),
        ("limit=", "limit", "must be a whole number"),
        ("limit=1.0", "limit", "must be a whole number"),
        ("limit=1e1", "limit", "must be a whole number"),
        ("limit=%201", "limit", "must be a whole number"),
        ("limit=+1", "limit", "must be a whole number"),
        ("limit=%2B1", "limit", "must be a whole number"),
        ("limit=" + "9" * 400, "limit", "must be a whole number"),
        ("month=13", "month", "must be at most 12"),
        ("status=other", "status", "has a value that is not allowed"),
        ("full=1", "full", "must be true or false"),
        ("after=x", "after", "must be a UUID"),
        ("after=", "after", "must be a UUID"),
        (f"after={ID}%0A", "after", "must be at most 36 long"),
    ],
)
def test_a_query_that_is_none_is_refused_by_field(text: str, field: str, message: str):
    with pytest.raises(Problem) as refused:
        query(text)

    assert refused.value.errors == [{"field": field, "message": message}]


def test_ids_come_out_in_lower_case():
    assert read_ids({"conversation": ID.upper(), "message": ID}) == {"conversation": ID, "message": ID}
    with pytest.raises(Problem) as refused:
        read_ids({"conversation": ID, "message": "x"})
    assert refused.value.errors == [{"field": "message", "message": "must be a UUID"}]


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({}, "content", "is required"),
        ({"content": None}, "content", "must be a string"),
        ({"content": 5}, "content", "must be a string"),
        ({"content": "x", "title": ""}, "title", "must be at least 1 long"),
        ({"content": "x", "title": "123456"}, "title", "must be at most 5 long"),
        ({"content": "x", "title": []}, "title", "must be a string"),
        ({"content": "x", "key": "y"}, "key", "must be a UUID"),
        ({"content": "x", "key": 5}, "key", "must be a string"),
        ({"content": "x", "kind": "video"}, "kind", "has a value that is not allowed"),
        ({"content": "x", "kind": 5}, "kind", "must be a string"),
        ({"content": "x", "data": "y"}, "data", "must be an object"),
        ({"content": "x", "count": 1.5}, "count", "must be a whole number"),
        ({"content": "x", "count": -1}, "count", "must be at least 0"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_field(given: dict[str, Any], field: str, message: str):
    with pytest.raises(Problem) as refused:
        body(json.dumps(given).encode())

    assert refused.value.errors == [{"field": field, "message": message}]


def test_a_body_is_read_and_what_is_unknown_is_ignored():
    sent = {"content": "x", "key": ID.upper(), "data": {"any": [1]}, "else": 1}

    assert body(json.dumps(sent).encode()) == Body("x", None, ID, "text", {"any": [1]}, 0)


def test_a_body_that_never_ends_is_not_waited_for_for_ever():
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever came")

    async def go() -> None:
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        with pytest.raises(Problem) as refused:
            await read_body(request, Body, max_bytes=1000, seconds=0.01)
        assert (refused.value.status, refused.value.headers) == (400, {"Connection": "close"})

    asyncio.run(go())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.one_of(
        st.binary(max_size=60),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(("content", "title", "key", "kind", "data", "count"), json_values),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_whatever_comes_is_a_body_or_a_problem(raw: bytes):
    read = attempt(raw)

    if len(raw) > MAX_BYTES:
        assert isinstance(read, Problem)
        assert (read.status, read.code) == (413, "PAYLOAD_TOO_LARGE")
    elif isinstance(read, Problem):
        assert (read.status, read.code) == (400, "VALIDATION_ERROR")
    else:
        assert isinstance(read.content, str)


def attempt(raw: bytes) -> Body | Problem:
    try:
        return body(raw)
    except Problem as problem:
        return problem


def asking(*lines: tuple[str, str]) -> Request:
    headers = [(name.encode(), value.encode()) for name, value in lines]
    return Request({"type": "http", "method": "POST", "headers": headers})


@pytest.mark.parametrize(
    ("lines", "preferred"),
    [
        (["respond-async"], True),
        (["Respond-Async; x=1"], True),
        (["wait=5, respond-async"], True),
        (["wait=5", "respond-async"], True),
        ([], False),
        (["respond-asynchronously"], False),
        (['foo="respond-async"'], False),
    ],
)
def test_a_preference_is_one_by_its_name(lines: list[str], preferred: bool):
    request = asking(*(("prefer", line) for line in lines))
    assert prefers(request, "respond-async") is preferred


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.1", True),
        ("text/event-stream;charset=utf-8", True),
        ("*/*", False),
        ("text/event-stream;q=0, application/json", False),
        ("text/event-stream; q=0.000", False),
        ("text/event-streams", False),
    ],
)
def test_a_stream_is_for_who_names_it_and_does_not_exclude_it(accept: str, accepted: bool):
    assert accepts(asking(("accept", accept)), "text/event-stream") is accepted


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=8, max_size=40))
def test_what_was_sent_is_not_repeated(secret: str):
    secret = f"s3cret{secret}"
    for sent in (
        {"content": "x", "kind": secret},
        {"content": {secret: secret}},
        {"content": "x", "key": secret},
    ):
        with pytest.raises(Problem) as refused:
            body(json.dumps(sent).encode())
        assert secret not in refused.value.detail
