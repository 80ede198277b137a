"""Another user's things cannot be told from things that are not there: at no door, by status or body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from server.gateway.endpoint import Endpoint
from server.gateway.routes import ENDPOINTS
from tests.node.rest import begin, client, problem, say, serving
from tests.running import RunningNode, new_uuid, running_node
from tests.scripted.database_meter import DatabaseMeter
from tests.scripted.tokens import token_for
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

KNOWN = {"conversation", "message", "generation"}
NAMED = [each for each in ENDPOINTS if each.id_names and KNOWN.issuperset(each.id_names)]
BODY = {"content": "hi", "title": "x", "assessment_id": "51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e05"}


class Theirs:
    """A user with a conversation, a turn and its ids."""

    def __init__(self, node: RunningNode, api: httpx.Client) -> None:
        self.api = api
        self.conversation = begin(api, title="A canary")
        turn = say(node, api, self.conversation, "A canary.", content="A canary?")
        self.ids = {
            "conversation": self.conversation,
            "message": turn["assistant_message"]["id"],
            "generation": turn["generation"],
        }


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database) as running:
        yield running


@pytest.fixture(scope="module")
def theirs(node: RunningNode) -> Iterator[Theirs]:
    with client(node, new_uuid()) as api:
        yield Theirs(node, api)


@pytest.fixture(scope="module")
def mine(node: RunningNode) -> Iterator[Theirs]:
    with client(node, new_uuid()) as api:
        yield Theirs(node, api)


def asked(api: httpx.Client, endpoint: Endpoint[Any, Any], ids: dict[str, str]) -> httpx.Response:
    path = endpoint.path.format(**ids)
    body = BODY if endpoint.body is not None else None
    return api.request(endpoint.method, path, json=body)


def without_id(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.json().items() if name != "request_id"}


@pytest.mark.parametrize("endpoint", NAMED, ids=lambda each: f"{each.method} {each.path}")
def test_their_ids_are_answered_like_random_ones(endpoint: Endpoint[Any, Any], mine: Theirs, theirs: Theirs):
    random = asked(mine.api, endpoint, {name: new_uuid() for name in KNOWN})
    other = asked(mine.api, endpoint, theirs.ids)
    mixed = [
        asked(mine.api, endpoint, {**mine.ids, name: theirs.ids[name]})
        for name in endpoint.id_names
        if len(endpoint.id_names) > 1
    ]

    problem(random, 404, "NOT_FOUND")
    assert (other.status_code, without_id(other)) == (404, without_id(random))
    for each in mixed:
        problem(each, 404, "NOT_FOUND")
        assert "canary" not in each.text
    assert {name for name in other.headers if name != "x-request-id"} == {
        name for name in random.headers if name != "x-request-id"
    }


def test_their_ids_take_as_long_as_random_ones(services: EmbeddedServices, database: Database):
    """Time is told in what is waited for: as many answers of the database, whosever the ids are."""

    asker = new_uuid()

    async def go() -> None:
        async with (
            DatabaseMeter(database.app_url, asker) as meter,
            running_node(services, database, database_url=meter.url) as running,
            running.http(new_uuid()) as theirs,
            running.http(asker) as mine,
        ):
            made = await theirs.post("/conversations", json={"title": "A canary"})
            place = str(made.json()["id"])
            running.simulator.script(Behaviour(text="A canary."))
            turn = (await theirs.post(f"/conversations/{place}/messages", json={"content": "hi"})).json()
            known = {
                "conversation": place,
                "message": turn["assistant_message"]["id"],
                "generation": turn["generation"],
            }

            async def trips(endpoint: Endpoint[Any, Any], ids: dict[str, str]) -> int:
                before = meter.trips
                path = endpoint.path.format(**ids)
                response = await mine.request(
                    endpoint.method, path, json=BODY if endpoint.body is not None else None
                )
                assert response.status_code == 404, response.text
                return meter.trips - before

            for endpoint in NAMED:
                random = await trips(endpoint, {name: new_uuid() for name in KNOWN})
                assert await trips(endpoint, known) == random > 0, endpoint.path

    asyncio.run(go())


def test_nothing_of_theirs_was_changed_by_asking(theirs: Theirs):
    shown = theirs.api.get(f"/conversations/{theirs.conversation}").json()

    assert shown["conversation"]["title"] == "A canary"
    assert [each["content"] for each in shown["messages"]] == ["A canary?", "A canary."]


@pytest.mark.parametrize(
    ("query", "status"),
    [("messages?before_id={message}", 400), ("messages?after_id={message}", 400)],
)
def test_their_ids_in_a_query_are_answered_like_random_ones(
    mine: Theirs, theirs: Theirs, query: str, status: int
):
    base = f"/conversations/{mine.conversation}/"
    random = mine.api.get(base + query.format(message=new_uuid()))
    other = mine.api.get(base + query.format(**theirs.ids))

    assert random.status_code == status
    assert without_id(other) == without_id(random)


def test_their_message_is_no_parent_like_a_random_one(mine: Theirs, theirs: Theirs):
    url = f"/conversations/{mine.conversation}/messages"
    random, other = (
        mine.api.post(url, json={"content": "hi", "parent_message_id": parent})
        for parent in (new_uuid(), theirs.ids["message"])
    )

    assert random.status_code == other.status_code == 404
    assert without_id(other) == without_id(random)


def test_lists_and_sums_have_only_ones_own(mine: Theirs, theirs: Theirs):
    listed = mine.api.get("/conversations?limit=100").json()["conversations"]

    assert theirs.conversation not in [each["id"] for each in listed]
    assert {each["user_id"] for each in listed} == {
        mine.api.get(f"/conversations/{mine.conversation}").json()["conversation"]["user_id"]
    }
    assert mine.api.get("/usage/summary").json()["requests"] == 1


def test_their_ids_over_the_wire_are_answered_like_random_ones(node: RunningNode, theirs: Theirs):
    async def go() -> None:
        user = new_uuid()
        socket = RecordingClient(token_for(user), user=user)
        await socket.connect(node.ws_url)

        async def answer(kind: str, **fields: Any) -> dict[str, Any]:
            if kind != "generation.stop":
                fields["client_message_id"] = new_uuid()
            said = await socket.send(kind, **fields)
            return {name: value for name, value in said.items() if name != "re"}

        commands: list[tuple[str, str, str, dict[str, Any]]] = [
            ("message.send", "conversation", "conversation", {"content": "hi"}),
            ("message.send", "parent_message_id", "message", {"content": "hi"}),
            ("message.regenerate", "message", "message", {}),
            ("generation.stop", "generation", "generation", {}),
        ]
        for kind, field, what, more in commands:
            random = await answer(kind, **more, **{field: new_uuid()})
            other = await answer(kind, **more, **{field: theirs.ids[what]})
            assert random["code"] == "not_found", random
            assert other == random
        await socket.cut()

    asyncio.run(go())


def test_a_position_of_theirs_opens_nothing_of_theirs(node: RunningNode, theirs: Theirs):
    async def go() -> None:
        user = new_uuid()
        socket = RecordingClient(token_for(user), user=user)
        texts = {theirs.ids["generation"]: {"attempt": 1, "at": 0}}
        welcome = await socket.connect(node.ws_url, resume={"position": "k3f9a1:0", "texts": texts})
        assert welcome["resume"] == "reset"
        assert "canary" not in str(socket.recording.heard)
        await socket.cut()

    asyncio.run(go())
