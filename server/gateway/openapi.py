"""The OpenAPI 3.1 document, made of the endpoints' definitions.

Sans-I/O. What it says of bodies and queries is what reads them, so it cannot say anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from server.gateway.endpoint import Answer, Endpoint
from server.gateway.house_schemas import ProblemView
from server.gateway.problems import TITLES

PROBLEM = "application/problem+json"
LIMIT_HEADERS = {
    "RateLimit-Limit": "Of the limit nearest to its end: how many it allows. 0: it is off.",
    "RateLimit-Remaining": "How many are left of it.",
    "RateLimit-Reset": "Seconds until the oldest use leaves its window.",
    "RateLimit-Policy": "Its number, its window in seconds, its name.",
}
_UNLISTED = {"accept", "content-type", "authorization"}  # header parameters OpenAPI does not let be listed
_DESCRIPTION = """\
The chatbot service of ATMA. The same paths answer under `/api/chat`, `/api/chatbot` and at the root.

Answers stream over WebSocket and server-sent events: see `/api/chat/docs/wire`. Unknown body fields and query
parameters are ignored. Times are ISO 8601 in UTC; costs are exact decimal strings. Every answer carries
`X-Request-ID`; every refusal is a problem (RFC 9457) whose `code` says what it is.

A user asks with a bearer token. A service says `X-Internal-Service: true` and has `X-Service-Key`; with the
key it may ask for a user, whom `X-User-ID` names.

Another user's things are not found, exactly like things that are not there."""


def document(endpoints: Iterable[Endpoint[Any, Any]], version: str) -> dict[str, Any]:
    """The whole document."""
    listed = list(endpoints)
    types = _types(listed)
    found, named = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in listed:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ATMA chat", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/api/chat"}, {"url": "/api/chatbot"}, {"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in listed)],
        "paths": paths,
        "components": {
            "schemas": named,
            "headers": {
                **{name: _header(text) for name, text in LIMIT_HEADERS.items()},
                "Retry-After": _header("Seconds until it is worth another try."),
                "X-Request-ID": _header("The correlation id: the caller's, if it is a sane one."),
                "Allow": _header("The methods this path has."),
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
                "service": {"type": "apiKey", "in": "header", "name": "X-Service-Key"},
                "internal": {"type": "apiKey", "in": "header", "name": "X-Internal-Service"},
            },
        },
    }


def statuses(endpoint: Endpoint[Any, Any]) -> list[int]:
    """Every status of a refusal an endpoint may answer with."""
    found = {500, *endpoint.refusals}
    if endpoint.id_names or endpoint.query is not None or endpoint.body is not None:
        found.add(400)
    if endpoint.id_names and endpoint.who != "internal":
        found.add(404)
    if endpoint.body is not None:
        found |= {413, 415}
    if endpoint.who != "anyone":
        found |= {401, 403, 503}
    if endpoint.limited:
        found.add(429)
    return sorted(found - endpoint.answers.keys())


def answers_of(endpoint: Endpoint[Any, Any], status: int) -> tuple[Answer, ...]:
    """What may come with a status that is no refusal."""
    given = endpoint.answers[status]
    return given if isinstance(given, tuple) else (given,)


# --- parts ------------------------------------------------------------------------------------


def _types(endpoints: list[Endpoint[Any, Any]]) -> list[Any]:
    types: dict[Any, None] = {ProblemView: None}
    for each in endpoints:
        for struct in (each.body, each.query):
            if struct is not None:
                types[struct] = None
        for status in each.answers:
            types.update(
                (answer.body, None) for answer in answers_of(each, status) if answer.body is not None
            )
    return list(types)


def _operation(
    endpoint: Endpoint[Any, Any], schemas: dict[Any, Any], named: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": _security(endpoint),
        "parameters": _parameters(endpoint, schemas, named),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.streams:
        operation["description"] = "It may answer as an event stream: see the description of the wire."
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {"application/json": {"schema": schemas[endpoint.body]}},
        }
    return operation


def _operation_id(endpoint: Endpoint[Any, Any]) -> str:
    words = [
        word.strip("{}").replace("-", "_").replace(".", "_") for word in endpoint.path.split("/") if word
    ]
    return "_".join([endpoint.method.lower(), *words])


def _security(endpoint: Endpoint[Any, Any]) -> list[dict[str, list[str]]]:
    by_user: list[dict[str, list[str]]] = [{"token": []}]
    if endpoint.ticket:
        by_user.append({"ticket": []})
    by_service: list[dict[str, list[str]]] = [{"service": [], "internal": []}]
    return {
        "anyone": [],
        "user": by_user,
        "internal": by_service,
        "user_or_internal": by_user + by_service,
    }[endpoint.who]


def _parameters(
    endpoint: Endpoint[Any, Any], schemas: dict[Any, Any], named: dict[str, Any]
) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for name in endpoint.id_names
    ]
    if endpoint.query is not None:
        # it is spread over parameters, so the schema itself is nobody's
        struct = named[schemas[endpoint.query]["$ref"].rpartition("/")[2]]
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in struct.get("required", ()),
                "schema": _without_null(schema),
            }
            for name, schema in struct["properties"].items()
        ]
    parameters += [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in endpoint.headers.items()
        if name.lower() not in _UNLISTED
    ]
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: what may be absent is not required."""
    kept = {name: value for name, value in schema.items() if (name, value) != ("default", None)}
    choices = [choice for choice in kept.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**kept, **choices[0]}
    return {**kept, "anyOf": choices} if choices else kept


def _responses(endpoint: Endpoint[Any, Any], schemas: dict[Any, Any]) -> dict[str, Any]:
    headers = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
    if endpoint.limited:
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in LIMIT_HEADERS}
    responses: dict[str, Any] = {}
    for status in sorted(endpoint.answers):
        answers = answers_of(endpoint, status)
        responses[str(status)] = {
            "description": " ".join(answer.description for answer in answers),
            "headers": headers,
            **_content(answers, schemas),
        }
    for status in statuses(endpoint):
        extra = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if status in {429, 503} else {}
        responses[str(status)] = {
            "description": TITLES[status],
            "headers": {**headers, **extra},
            "content": {PROBLEM: {"schema": schemas[ProblemView]}},
        }
    return responses


def _content(answers: tuple[Answer, ...], schemas: dict[Any, Any]) -> dict[str, Any]:
    by_type: dict[str, list[Any]] = {}
    for answer in answers:
        if answer.body is not None:
            by_type.setdefault(answer.media_type, []).append(schemas[answer.body])
    if not by_type:
        return {}
    return {
        "content": {
            media_type: {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
            for media_type, found in by_type.items()
        }
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": inspect.cleandoc(text), "schema": {"type": "string"}}
