"""The table of endpoints: all that the contract names, each defined once, found before what is more general."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import Response

from server.gateway.documents import document_endpoints
from server.gateway.endpoint import Answer, Asked, Endpoint, Nothing
from server.gateway.front import Front
from server.gateway.openapi import document, statuses
from server.gateway.routes import ENDPOINTS, by_path

CONTRACT = """
POST /conversations
GET /conversations
GET /conversations/{conversation}
PUT /conversations/{conversation}
DELETE /conversations/{conversation}
GET /conversations/{conversation}/suggestions
GET /conversations/{conversation}/usage
GET /conversations/{conversation}/messages
POST /conversations/{conversation}/messages
POST /conversations/{conversation}/messages/{message}/regenerate
GET /generations/{generation}
POST /generations/{generation}/stop
GET /generations/{generation}/events
GET /events
POST /tickets
GET /usage/summary
DELETE /internal/users/{user_id}
GET /internal/users/{user_id}/export
POST /internal/users/{user_id}/revoke
GET /health
GET /health/live
GET /health/ready
GET /metrics
"""
DOCUMENTS = document_endpoints(ENDPOINTS, "1.0.0")
EVERYTHING = (*ENDPOINTS, *DOCUMENTS)


def an_endpoint(method: str, path: str) -> Endpoint[Any, Any]:
    async def handler(front: Front, asked: Asked[Nothing, Nothing]) -> Response:
        return Response()

    return Endpoint(
        method=method, path=path, handler=handler, summary="x", tag="x", answers={200: Answer("x")}
    )


def test_every_endpoint_of_the_contract_is_there():
    there = {f"{each.method} {each.path}" for each in ENDPOINTS}

    assert set(CONTRACT.split("\n")) - {""} <= there


def test_the_documents_are_at_their_addresses():
    paths = ["/openapi.json", "/asyncapi.json", "/docs", "/docs/wire"]

    assert [each.path for each in DOCUMENTS] == paths
    assert {each.who for each in DOCUMENTS} == {"anyone"}


def test_only_health_and_figures_are_not_limited():
    assert {each.path for each in EVERYTHING if not each.limited} == {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }


def test_what_is_internal_is_for_services_alone():
    for each in EVERYTHING:
        assert (each.who == "internal") == each.path.startswith("/internal/"), each.path


def test_words_come_before_ids_whatever_the_order():
    paths = ["/a/{x}", "/a/{x}/{y}", "/a/b", "/a/{x}/c", "/a/b/c", "/{z}"]

    found = list(by_path(an_endpoint("GET", path) for path in paths))

    assert found.index("/a/b") < found.index("/a/{x}")
    assert found.index("/a/b/c") < found.index("/a/{x}/c") < found.index("/a/{x}/{y}")


def test_nothing_is_defined_twice():
    with pytest.raises(ValueError, match="twice"):
        by_path([an_endpoint("GET", "/a"), an_endpoint("PUT", "/a"), an_endpoint("GET", "/a")])


# --- the description --------------------------------------------------------------------------


DESCRIBED = document(EVERYTHING, "1.2.3")


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    if isinstance(value, list):
        return set().union(*map(references, value))
    return set()


def test_every_reference_leads_somewhere():
    for reference in references(DESCRIBED):
        place: Any = DESCRIBED
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_endpoint_is_described_with_its_body_query_and_answers():
    for each in EVERYTHING:
        operation = DESCRIBED["paths"][each.path][each.method.lower()]
        assert ("requestBody" in operation) == (each.body is not None)
        queried = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        assert queried == set(each.query.__struct_fields__ if each.query else ())
        assert set(operation["responses"]) == {str(status) for status in (*each.answers, *statuses(each))}
    ids = [
        operation["operationId"] for methods in DESCRIBED["paths"].values() for operation in methods.values()
    ]
    assert len(ids) == len(set(ids)) == len(EVERYTHING)
    assert DESCRIBED["info"]["version"] == "1.2.3"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("get", "/conversations", {400, 401, 403, 429, 500, 503}),
        ("put", "/conversations/{conversation}", {400, 401, 403, 404, 413, 415, 429, 500, 503}),
        (
            "post",
            "/conversations/{conversation}/messages",
            {400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503},
        ),
        ("get", "/health/live", {500}),
        ("get", "/docs", {429, 500}),
        ("delete", "/internal/users/{user_id}", {400, 401, 403, 429, 500, 503}),
    ],
)
def test_refusals_are_described(method: str, path: str, expected: set[int]):
    found = {int(status) for status in DESCRIBED["paths"][path][method]["responses"]}

    assert {status for status in found if status >= 400} == expected
