"""Pages for people, made of the machines' documents: plain HTML, no script, nothing from elsewhere.

Sans-I/O.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
code, .path { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: 0 .8rem }
summary { cursor: pointer; padding: .5rem 0; display: flex; gap: .8rem; flex-wrap: wrap }
details[open] summary { border-bottom: 1px solid var(--line) }
.method { font-weight: 700; min-width: 4.5rem } .what { opacity: .8 }
table { border-collapse: collapse; width: 100%; margin: .8rem 0 } h3 { font-size: 1rem; margin: 1rem 0 .2rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0 }
td { border-top: 1px solid var(--line) }
nav a { margin-right: 1rem }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-cache",
}


def of_api(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    parts = [_paragraphs(document["info"]["description"])]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        parts += [
            _operation(document, path, method, operation)
            for path, method, operation in operations
            if tag["name"] in operation["tags"]
        ]
    parts.append("<h2>Shapes</h2>")
    parts += [_shape(document, name, schema) for name, schema in document["components"]["schemas"].items()]
    return _page(document["info"]["title"], "".join(parts))


def of_wire(document: Mapping[str, Any]) -> str:
    """The page of an AsyncAPI document."""
    parts = [_paragraphs(document["info"]["description"])]
    for channel in document["channels"].values():
        parts.append(f"<h2>{escape(channel['title'])}: <code>{escape(channel['address'])}</code></h2>")
        parts.append(_paragraphs(channel["description"]))
    messages = document["components"]["messages"]
    told: set[str] = set()
    for operation in document["operations"].values():
        kinds = [each["$ref"].rpartition("/")[2] for each in operation["messages"]]
        fresh = [kind for kind in kinds if kind not in told]
        told.update(fresh)
        if fresh:
            parts.append(f"<h2>{escape(operation['summary'])}</h2>")
            parts += [_frame(document, messages[kind]) for kind in fresh]
    parts.append("<h2>Error codes</h2>")
    errors = document["x-error-codes"].items()
    parts.append(
        _table(
            ("code", "worth another try"),
            ((code, "yes" if rule["retryable"] else "no") for code, rule in errors),
        )
    )
    parts.append("<h2>Close codes</h2>")
    closes = document["x-close-codes"].items()
    parts.append(
        _table(
            ("code", "meaning", "a client"),
            ((code, rule["meaning"], rule["advice"]) for code, rule in closes),
        )
    )
    parts.append("<h2>Parts</h2>")
    frames = {message["payload"]["$ref"].rpartition("/")[2] for message in messages.values()}
    parts += [
        _shape(document, name, schema)
        for name, schema in document["components"]["schemas"].items()
        if name not in frames
    ]
    return _page(document["info"]["title"], "".join(parts))


# --- parts ------------------------------------------------------------------------------------


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    inside = []
    if operation["parameters"]:
        rows = [
            (each["name"], each["in"], _type(each["schema"]), each.get("description", ""))
            for each in operation["parameters"]
        ]
        inside.append("<h3>Parameters</h3>" + _table(("name", "in", "is", ""), rows))
    body = operation.get("requestBody")
    if body is not None:
        fields = _fields(_resolved(document, body["content"]["application/json"]["schema"]))
        note = "" if body["required"] else " (may be left out)"
        inside.append(f"<h3>Body{note}</h3>" + _table(("field", "is", ""), fields))
    answers = [
        (status, response["description"], ", ".join(map(_content, response.get("content", {}).items())))
        for status, response in operation["responses"].items()
    ]
    inside.append("<h3>Answers</h3>" + _table(("status", "means", "body"), answers))
    needs = " or ".join(" + ".join(each) for each in operation["security"]) or "nothing"
    inside.append(f"<p>Needs: {escape(needs)}</p>")
    head = f"{_span('method', method.upper())}{_span('path', path)}{_span('what', operation['summary'])}"
    return f"<details><summary>{head}</summary>{''.join(inside)}</details>"


def _frame(document: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    schema = _resolved(document, message["payload"])
    head = f"{_span('path', message['name'])}{_span('what', message['summary'])}"
    return f"<details><summary>{head}</summary>{_table(('field', 'is', ''), _fields(schema))}</details>"


def _shape(document: Mapping[str, Any], name: str, schema: Mapping[str, Any]) -> str:
    schema = _resolved(document, schema)
    inside = _table(("field", "is", ""), _fields(schema)) if "properties" in schema else _type(schema)
    head = f"{_span('path', name)}{_span('what', schema.get('description', ''))}"
    return f'<details id="{escape(name)}"><summary>{head}</summary>{inside}</details>'


def _content(item: tuple[str, Mapping[str, Any]]) -> str:
    media_type, content = item
    return f"{media_type}: {_type(content['schema'])}"


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    required = schema.get("required", ())
    return [
        (name if name in required else f"{name}?", _type(each), each.get("description", ""))
        for name, each in schema.get("properties", {}).items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"[{_type(schema.get('items', {}))}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{{…: {_type(schema['additionalProperties'])}}}"
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("maximum", "≤"), ("minLength", "≥"), ("maxLength", "≤"))
        if name in schema
    ]
    return " ".join([str(kind), *bounds])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    lines = "".join("<tr>" + "".join(f"<td>{_text(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _text(text: str) -> str:
    """Text with `code` in it."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(each)}</p>" for each in text.split("\n\n"))


def _span(name: str, text: str) -> str:
    return f'<span class="{name}">{_text(text)}</span>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        '<nav><a href="/api/chat/docs">REST</a><a href="/api/chat/docs/wire">Wire</a>'
        '<a href="/api/chat/openapi.json">OpenAPI</a><a href="/api/chat/asyncapi.json">AsyncAPI</a></nav>'
        f"{body}</body></html>"
    )
