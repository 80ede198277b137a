"""Every bound that the description announces, at it and one beyond it, at every endpoint that has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from server.embedded.services import EmbeddedServices
from server.gateway.openapi import document
from server.gateway.routes import ENDPOINTS
from tests.node.rest import AS_SERVICE, begin, client, next_door, say, serving, their_urls
from tests.running import RunningNode, new_uuid
from tests.services import Database

USER, RESULT = new_uuid(), new_uuid()
SOME_ID = "0190d0f0-7c1a-7a51-8c6e-3f5a1b2c4d5e"
NO_LIMIT = {"api_rate_limit_per_15_minutes": 0, "rate_limit_conversations_per_day": 0}
STREAMS = {"/events", "/generations/{generation}/events"}  # tests of streams
INTERNAL = {endpoint.path for endpoint in ENDPOINTS if endpoint.who == "internal"}
DESCRIPTION = document(ENDPOINTS, "1")


class Case(NamedTuple):
    """A value in one place of a request, and whether it is within the bounds."""

    method: str
    path: str
    place: str
    name: str
    value: Any
    within: bool
    required: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = "" if self.value is MISSING else f"={str(self.value)[:12]}({len(str(self.value))})"
        return f"{self.method} {self.path} {self.place} {self.name}{said}"


MISSING = object()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def values_of(schema: dict[str, Any]) -> Iterator[tuple[Any, bool]]:
    """Values at each bound of a schema, and one beyond it, or of another type."""
    schema = resolved(schema)
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from values_of(each)
        return
    for name, beyond in (("minimum", -1), ("maximum", 1)):
        if name in schema:
            yield schema[name], True
            yield schema[name] + beyond, False
    if "enum" in schema:
        yield from ((each, True) for each in schema["enum"])
        yield "something else", False
    elif "pattern" in schema:  # ids
        yield SOME_ID, True
        yield from ((value, False) for value in ("", "x", SOME_ID[:-1], SOME_ID + "0"))
    else:
        if "maxLength" in schema:
            yield "y" * schema["maxLength"], True
            yield "y" * (schema["maxLength"] + 1), False
        if schema.get("minLength"):
            yield "y" * schema["minLength"], True
            yield "y" * (schema["minLength"] - 1), False
    kind = schema.get("type")
    if kind in {"integer", "boolean"}:
        yield "x", False
    elif kind in {"string", "object"}:
        yield [1], False


def cases() -> Iterator[Case]:
    for path, methods in DESCRIPTION["paths"].items():
        if path in STREAMS:
            continue
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query":
                    for value, within in values_of(parameter["schema"]):
                        if not isinstance(value, list):
                            yield Case(method, path, "query", parameter["name"], value, within)
                if parameter["in"] == "path":
                    for value in ("x", SOME_ID[:-1], "0" * 37, "%00", "..;"):
                        yield Case(method, path, "path", parameter["name"], value, within=False)
            if "requestBody" in operation:
                schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
                required = tuple(schema.get("required", ()))
                for name, field in schema["properties"].items():
                    for value, within in values_of(field):
                        yield Case(method, path, "body", name, value, within, required)
                    if name in required:
                        yield Case(method, path, "body", name, MISSING, within=False, required=required)


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with next_door() as neighbours:
        neighbours.add_result(USER, result_id=RESULT)
        with serving(services, module_database, **NO_LIMIT, **their_urls(neighbours)) as running:
            yield running


@pytest.fixture(scope="module")
def api(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, USER) as mine:
        yield mine


@pytest.fixture(scope="module")
def ids(node: RunningNode, api: httpx.Client) -> dict[str, str]:
    """What is there, by the name of the field or the part of a path that means it."""
    conversation = begin(api)
    turn = say(node, api, conversation)
    answer = turn["assistant_message"]["id"]
    return {
        "conversation": conversation,
        "message": answer,
        "before_id": answer,
        "after_id": answer,
        "generation": turn["generation"],
        "user_id": USER,
        "assessment": RESULT,
        "assessment_id": RESULT,
        "content": "hi",
    }


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_a_bound_holds_where_it_is_announced(case: Case, api: httpx.Client, ids: dict[str, str]):
    path, body = case.path, {name: ids[name] for name in case.required}
    value = ids.get(case.name, case.value) if case.value == SOME_ID else case.value
    if case.place == "path":
        path = path.replace(f"{{{case.name}}}", case.value)
    elif case.place == "body" and case.value is MISSING:
        del body[case.name]
    elif case.place == "body":
        body[case.name] = value
    answered = api.request(
        case.method,
        path.format(**ids),
        params={case.name: value} if case.place == "query" else None,
        json=body if case.place == "body" else None,
        headers=AS_SERVICE if case.path in INTERNAL else None,
    )

    problem = answered.json() if answered.content else {}
    fields = {error["field"] for error in problem.get("errors", ())} if answered.status_code == 400 else set()
    if case.within:
        assert case.name not in fields
        assert answered.status_code < 500
    elif case.place == "path":
        assert answered.status_code in {400, 404}
    else:
        assert (answered.status_code, problem["code"]) == (400, "VALIDATION_ERROR")
        assert case.name in fields
