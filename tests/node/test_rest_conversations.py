"""Conversations over REST: every field, every bound, every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.embedded.services import EmbeddedServices
from tests.node.rest import begin, begin_endless, client, fields, problem, say, serving
from tests.running import RunningNode, new_uuid
from tests.services import Database

NEVER = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database) as running:
        yield running


@pytest.fixture
def api(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, new_uuid()) as mine:
        yield mine


# --- beginning --------------------------------------------------------------------------------


def test_one_begins_with_what_is_given(api: httpx.Client):
    context = {"riasec": {"R": 80, "I": 91}, "deep": {"list": [1, 2.5, None, "x"]}}

    made = api.post(
        "/conversations", json={"title": "Careers", "context_type": "assessment", "context_data": context}
    )

    assert made.status_code == 201
    assert made.json().keys() == {"id", "title", "context_type", "created_at"}
    assert made.json()["title"] == "Careers"
    shown = api.get(f"/conversations/{made.json()['id']}").json()
    assert shown["conversation"]["context_data"] == context
    assert shown["conversation"]["context_type"] == "assessment"
    assert shown["messages"] == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"title": null, "unknown": [1]}'])
def test_one_may_begin_with_nothing_said(api: httpx.Client, body: bytes):
    made = api.post("/conversations", content=body)

    assert made.status_code == 201
    assert made.json()["title"] == "New Conversation"
    assert made.json()["context_type"] == "general"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": " \n "}, "title"),
        ({"title": "x" * 256}, "title"),
        ({"title": 5}, "title"),
        ({"context_type": "other"}, "context_type"),
        ({"context_type": None}, "context_type"),
        ({"context_data": []}, "context_data"),
        ({"context_data": "text"}, "context_data"),
    ],
)
def test_what_a_conversation_cannot_be_is_refused_by_field(
    api: httpx.Client, body: dict[str, Any], field: str
):
    refused = problem(api.post("/conversations", json=body), 400, "VALIDATION_ERROR")

    assert fields(refused) == {field}
    assert api.get("/conversations").json()["total"] == 0


def test_a_title_of_255_characters_is_kept(api: httpx.Client):
    title = "🎓" * 255

    assert api.get(f"/conversations/{begin(api, title=title)}").json()["conversation"]["title"] == title


# --- listing ----------------------------------------------------------------------------------


def test_the_newest_activity_comes_first_page_by_page(node: RunningNode, api: httpx.Client):
    first, second, third = begin(api), begin(api), begin(api)
    say(node, api, first)

    whole = api.get("/conversations").json()
    pages = [api.get("/conversations", params={"limit": 2, "offset": at}).json() for at in (0, 2, 4)]

    assert [each["id"] for each in whole["conversations"]] == [first, third, second]
    assert whole["pagination"] == {"limit": 20, "offset": 0, "has_next": False}
    assert [[each["id"] for each in page["conversations"]] for page in pages] == [
        [first, third],
        [second],
        [],
    ]
    assert [page["pagination"]["has_next"] for page in pages] == [True, False, False]
    assert [page["total"] for page in pages] == [3, 3, 3]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%EF%BC%91", "limit"),
        ("limit=1&limit=x", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("status=deleted", "status"),
        ("status=", "status"),
    ],
)
def test_a_query_out_of_bounds_is_refused(api: httpx.Client, query: str, field: str):
    assert fields(problem(api.get(f"/conversations?{query}"), 400, "VALIDATION_ERROR")) == {field}


@pytest.mark.parametrize("query", ["limit=1", "limit=100", "offset=100000000", "status=archived", "other=5"])
def test_a_query_within_bounds_is_not(api: httpx.Client, query: str):
    assert api.get(f"/conversations?{query}").status_code == 200


# --- changing ---------------------------------------------------------------------------------


def test_title_status_and_metadata_can_be_changed_and_the_rest_stays(api: httpx.Client):
    conversation = begin(api, title="Old", context_data={"kept": True})

    changed = api.put(f"/conversations/{conversation}", json={"status": "archived", "metadata": {"pin": 1}})
    renamed = api.put(f"/conversations/{conversation}", json={"title": "New", "status": None})
    same = api.put(f"/conversations/{conversation}", json={})

    assert changed.status_code == 200
    assert changed.json()["conversation"]["title"] == "Old"
    assert renamed.json()["conversation"]["title"] == "New"
    assert same.json() == renamed.json()
    assert same.json()["conversation"]["status"] == "archived"
    assert same.json()["conversation"]["metadata"] == {"pin": 1}
    assert same.json()["conversation"]["context_data"] == {"kept": True}


def test_an_archived_one_is_listed_among_the_archived_and_comes_back(api: httpx.Client):
    conversation = begin(api)

    def listed(status: str) -> list[str]:
        found = api.get("/conversations", params={"status": status}).json()["conversations"]
        return [each["id"] for each in found]

    api.put(f"/conversations/{conversation}", json={"status": "archived"})
    assert (listed("active"), listed("archived")) == ([], [conversation])
    api.put(f"/conversations/{conversation}", json={"status": "active"})
    assert (listed("active"), listed("archived")) == ([conversation], [])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 256}, "title"),
        ({"status": "deleted"}, "status"),
        ({"metadata": [1]}, "metadata"),
    ],
)
def test_what_it_cannot_become_is_refused_and_it_stays(api: httpx.Client, body: dict[str, Any], field: str):
    conversation = begin(api, title="Old")
    before = api.get(f"/conversations/{conversation}").json()

    refused = problem(api.put(f"/conversations/{conversation}", json=body), 400, "VALIDATION_ERROR")

    assert fields(refused) == {field}
    assert api.get(f"/conversations/{conversation}").json() == before


# --- deleting ---------------------------------------------------------------------------------


def test_a_deleted_one_is_nowhere_and_takes_nothing(node: RunningNode, api: httpx.Client):
    conversation = begin(api)
    turn = say(node, api, conversation)
    message, generation = turn["user_message"]["id"], turn["generation"]

    gone = api.delete(f"/conversations/{conversation}")

    assert (gone.status_code, gone.content) == (204, b"")
    for response in (
        api.delete(f"/conversations/{conversation}"),
        api.get(f"/conversations/{conversation}"),
        api.put(f"/conversations/{conversation}", json={"status": "active"}),
        api.get(f"/conversations/{conversation}/messages"),
        api.get(f"/conversations/{conversation}/usage"),
        api.get(f"/conversations/{conversation}/suggestions"),
        api.post(f"/conversations/{conversation}/messages", json={"content": "hello?"}),
        api.post(f"/conversations/{conversation}/messages/{message}/regenerate"),
        api.get(f"/generations/{generation}"),
        api.get(f"/generations/{generation}/events"),
        api.post(f"/generations/{generation}/stop"),
    ):
        problem(response, 404, "NOT_FOUND")
    for status in ("active", "archived"):
        assert api.get("/conversations", params={"status": status}).json()["total"] == 0
    assert api.get("/usage/summary").json()["requests"] == 1  # what it cost is kept


def test_deleting_stops_what_is_being_written_first(node: RunningNode, api: httpx.Client):
    conversation, other = begin(api), begin(api)
    stopped, running = (begin_endless(node, api, place) for place in (conversation, other))

    assert api.delete(f"/conversations/{conversation}").status_code == 204

    problem(api.get(f"/generations/{stopped}"), 404, "NOT_FOUND")
    assert api.get(f"/generations/{running}").json()["status"] == "running"
    assert [call.state for call in node.simulator.calls()[-2:]] == ["aborted", "open"]
    api.post(f"/generations/{running}/stop")


# --- suggestions ------------------------------------------------------------------------------


def test_six_to_eight_questions_fit_what_is_known_and_the_language_spoken(
    node: RunningNode, api: httpx.Client
):
    known = begin(api, context_type="assessment", context_data={"riasec": {"R": 80, "I": 91}})
    english = begin(api)
    say(node, api, english, content=f"What should I do with my life? {new_uuid()}")

    by_default = api.get(f"/conversations/{known}/suggestions").json()["suggestions"]
    spoken = api.get(f"/conversations/{english}/suggestions").json()["suggestions"]

    assert 6 <= len(by_default) <= 8
    assert 6 <= len(spoken) <= 8
    assert any("Investigatif" in each for each in by_default)
    assert any(each.startswith(("What", "How")) for each in spoken)


# --- titles -----------------------------------------------------------------------------------


def test_a_title_left_at_the_default_becomes_the_first_words_of_the_first_message(
    node: RunningNode, api: httpx.Client
):
    untitled, titled = begin(api), begin(api, title="Mine")
    question = "How do I find out which careers suit somebody who likes both numbers and people?"

    for conversation in (untitled, titled):
        say(node, api, conversation, content=question)

    shown = [api.get(f"/conversations/{each}").json()["conversation"]["title"] for each in (untitled, titled)]
    assert shown == ["How do I find out which careers suit somebody who…", "Mine"]


@pytest.mark.parametrize("bad", ["1", "not-a-uuid", NEVER + "0", "%00", "{conversation}", "null", "🎓"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_malformed_id_is_refused_as_such(api: httpx.Client, method: str, bad: str):
    body = {"title": "x"} if method == "PUT" else None

    assert fields(
        problem(api.request(method, f"/conversations/{bad}", json=body), 400, "VALIDATION_ERROR")
    ) == {"conversation"}


def test_an_id_may_be_written_in_capitals(api: httpx.Client):
    conversation = begin(api)

    assert api.get(f"/conversations/{conversation.upper()}").json()["conversation"]["id"] == conversation
