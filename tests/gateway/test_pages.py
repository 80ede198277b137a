"""The wire's description, and the pages for people: whole, escaped, under a policy that lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from protocol.codec import COMMAND_TYPES, SERVER_TYPES
from protocol.codes import CloseCode, ErrorCode
from server.gateway import asyncapi, openapi, page
from server.gateway.routes import ENDPOINTS
from tests.gateway.test_routes import references

API = openapi.document(ENDPOINTS, "1.0.0")
WIRE = asyncapi.document("1.0.0")
PAGES = {"api": page.of_api(API), "wire": page.of_wire(WIRE)}


class Reader(HTMLParser):
    """What a browser would meet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_wire_is_described_frame_by_frame_in_its_direction():
    assert set(WIRE["components"]["messages"]) == {*COMMAND_TYPES, *SERVER_TYPES}
    directions = {
        name: (operation["action"], {each["$ref"].rpartition("/")[2] for each in operation["messages"]})
        for name, operation in WIRE["operations"].items()
    }
    assert directions["command"] == ("receive", set(COMMAND_TYPES))
    assert directions["frame"] == ("send", set(SERVER_TYPES))
    assert directions["event"] == ("send", set(SERVER_TYPES) - {"ack", "pong"})
    assert [each["address"] for each in WIRE["channels"].values()] == ["/api/chat/ws", "/api/chat/events"]


def test_every_reference_of_the_wire_leads_somewhere():
    for reference in references(WIRE):
        place: Any = WIRE
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_brings_nothing_from_elsewhere(name: str):
    reader = Reader(PAGES[name])

    assert reader.open == []
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "form", "object"}
    for _, attributes in reader.tags:
        assert not any(each.startswith("on") or each == "style" for each in attributes)
        assert str(attributes.get("href", "/api/chat/")).startswith("/api/chat/")


def test_the_policy_lets_in_the_style_of_the_page_and_nothing_else():
    found = re.search(r"<style>(.*?)</style>", PAGES["api"], re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()

    policy = page.HEADERS["Content-Security-Policy"]

    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy


def test_the_pages_name_everything():
    for each in ENDPOINTS:
        assert each.path in PAGES["api"]
        assert each.summary.replace("'", "&#x27;") in PAGES["api"]
    for kind in (
        *COMMAND_TYPES,
        *SERVER_TYPES,
        *map(str, ErrorCode),
        *(str(int(code)) for code in CloseCode),
    ):
        assert kind in PAGES["wire"]


def test_what_documents_say_is_text_and_never_markup():
    evil = "<script>alert(1)</script>`<b>`"
    described = {**API, "info": {**API["info"], "title": evil, "description": evil}}

    shown = page.of_api(described)

    assert "<script" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown
