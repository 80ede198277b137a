"""A node in a thread of its own, for tests that speak plain HTTP to it, one request after the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from tests.running import INTERNAL_KEY, RunningNode, new_uuid, running_node
from tests.scripted.tokens import SECRET, token_for
from tests.scripted.waiting import DEADLINE_SECONDS
from tests.services import Database

T = TypeVar("T")

AS_SERVICE = {"X-Internal-Service": "true", "X-Service-Key": INTERNAL_KEY}
_START_SECONDS = 60.0
_loops: dict[int, asyncio.AbstractEventLoop] = {}


@contextlib.contextmanager
def serving(services: EmbeddedServices, database: Database, **settings: Any) -> Iterator[RunningNode]:
    """A running node, for a whole module; its simulator may be scripted from here."""
    started = threading.Event()
    box: dict[str, Any] = {}

    async def live() -> None:
        box["loop"], box["over"] = asyncio.get_running_loop(), asyncio.Event()
        async with running_node(services, database, **settings) as running:
            box["node"] = running
            _loops[running.port] = box["loop"]
            started.set()
            await box["over"].wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits, below
            box["error"] = error
        finally:
            started.set()

    thread = threading.Thread(target=run, name="node")
    thread.start()
    try:
        assert started.wait(_START_SECONDS)
        if "error" in box:
            raise box["error"]
        yield box["node"]
    finally:
        if "over" in box:
            box["loop"].call_soon_threadsafe(box["over"].set)
        thread.join(_START_SECONDS)
        assert not thread.is_alive()
        if "error" in box:
            raise box["error"]


@contextlib.contextmanager
def next_door() -> Iterator[Neighbours]:
    """ATMA's other services, in a thread of their own; they may be told things from here."""
    started, box = threading.Event(), dict[str, Any]()

    async def live() -> None:
        box["loop"], box["over"] = asyncio.get_running_loop(), asyncio.Event()
        async with Neighbours(service_key=INTERNAL_KEY, jwt_secret=SECRET) as box["neighbours"]:
            started.set()
            await box["over"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="neighbours")
    thread.start()
    try:
        assert started.wait(_START_SECONDS)
        yield box["neighbours"]
    finally:
        box["loop"].call_soon_threadsafe(box["over"].set)
        thread.join(_START_SECONDS)
        assert not thread.is_alive()


def their_urls(neighbours: Neighbours) -> dict[str, str]:
    """The settings of a node that lives beside them."""
    return {
        f"{name}_service_url": neighbours.url for name in ("archive", "auth", "assessment", "notification")
    }


@contextlib.contextmanager
def client(
    running: RunningNode, user: str | None = None, *, prefix: str = "/api/chat", **headers: str
) -> Iterator[httpx.Client]:
    """An HTTP client; with a user it sends a bearer token."""
    if user is not None:
        headers["Authorization"] = f"Bearer {token_for(user)}"
    with httpx.Client(
        base_url=running.base + prefix,
        headers=headers,
        timeout=30,
        trust_env=False,
        verify=False,  # loading certificates takes longer than most tests
    ) as plain:
        yield plain


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, which is a whole problem with this status and code."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["error"] == body["detail"] != ""
    assert body["title"]
    assert body["type"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def fields(body: dict[str, Any]) -> set[str]:
    """The fields a problem complains about."""
    return {each["field"] for each in body["errors"]}


def begin(api: httpx.Client, **body: Any) -> str:
    """A new conversation's id."""
    response = api.post("/conversations", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def say(
    running: RunningNode, api: httpx.Client, conversation: str, answer: str = "An answer.", **body: Any
) -> dict[str, Any]:
    """One whole turn: the question `body['content']`, answered with this."""
    content = body.pop("content", f"[{new_uuid()}] a question")
    running.simulator.script(Behaviour(text=answer), match=content)
    response = api.post(f"/conversations/{conversation}/messages", json={"content": content, **body})
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def begin_endless(running: RunningNode, api: httpx.Client, conversation: str) -> str:
    """A generation that has shown two words and waits for ever; its id."""
    label = f"[{new_uuid()}]"
    running.simulator.script(
        Behaviour(tokens=("Two ", "words", " and", " more."), gate=label, gate_at=2), match=label
    )
    response = api.post(
        f"/conversations/{conversation}/messages",
        json={"content": f"{label} go on"},
        headers={"Prefer": "respond-async"},
    )
    assert response.status_code == 202, response.text
    generation = str(response.json()["generation"])
    until(lambda: api.get(f"/generations/{generation}").json().get("length") == len("Two words"))
    return generation


def release(running: RunningNode, gate: str) -> None:
    """Let what waits at a gate of the simulator go on."""
    _loops[running.port].call_soon_threadsafe(running.simulator.release, gate)


def until(predicate: Callable[[], T]) -> T:
    """Ask until the answer is true, and give it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (answer := predicate()):
        assert time.monotonic() < deadline, f"never: {answer!r}"
        time.sleep(0.01)
    return answer
