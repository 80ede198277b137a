"""The doors of the assessment flow: what each answers, whom it refuses, and what it is bound to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import redis

from server.embedded.neighbours.faults import Fault, FaultKind, Service
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.neighbours.samples import Sample
from server.embedded.openrouter.behaviour import Behaviour
from server.embedded.services import EmbeddedServices
from server.gateway import assessment_schemas
from tests.node.flow import QUICK
from tests.node.rest import (
    AS_SERVICE,
    begin,
    client,
    fields,
    next_door,
    problem,
    release,
    say,
    serving,
    their_urls,
    until,
)
from tests.running import RunningNode, new_uuid
from tests.services import Database

WELCOME = "Halo! Mari kita mulai."


@pytest.fixture(scope="module")
def neighbours() -> Iterator[Neighbours]:
    with next_door() as running:
        yield running


@pytest.fixture(scope="module")
def node(
    services: EmbeddedServices, module_database: Database, neighbours: Neighbours
) -> Iterator[RunningNode]:
    # a neighbour that is at fault in one test must not be left alone in the next
    with serving(services, module_database, flow_limits=QUICK, **their_urls(neighbours)) as running:
        yield running


@pytest.fixture
def user() -> str:
    return new_uuid()


@pytest.fixture
def api(node: RunningNode, user: str) -> Iterator[httpx.Client]:
    with client(node, user) as mine:
        yield mine


@pytest.fixture
def service(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, **AS_SERVICE) as internal:
        yield internal


@pytest.fixture(autouse=True)
def mended(neighbours: Neighbours) -> Iterator[None]:
    yield
    neighbours.mend()


def rows(database: Database, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(database.admin_url, timeout=10)
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def audited(node: RunningNode, user: str) -> list[tuple[str, str]]:
    found = rows(
        node.database, "SELECT action, actor FROM chat.audit WHERE user_id = $1::uuid ORDER BY id", user
    )
    return [(each["action"], each["actor"]) for each in found]


def shown(response: httpx.Response, status: int, shape: Any) -> dict[str, Any]:
    """The body of an answer, which is what the documents say."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    msgspec.convert(body, shape)
    return body


def begun(api: httpx.Client, status: int = 201, **body: Any) -> dict[str, Any]:
    response = api.post("/conversations/from-assessment", json=body)
    return shown(response, status, assessment_schemas.AdviserBegun)


# --- POST /conversations/from-assessment ------------------------------------------------------


def test_from_assessment_begins_a_conversation_and_gives_its_welcome(
    node: RunningNode, neighbours: Neighbours, api: httpx.Client, user: str
):
    result = neighbours.add_result(user)
    node.simulator.script(Behaviour(text=WELCOME), match="Tulis pesan pertamamu")
    made = begun(api, assessment_id=result, title="Hasilku")

    conversation, message = made["conversation"], made["initial_message"]
    assert (conversation["title"], conversation["context_type"]) == ("Hasilku", "assessment")
    assert conversation["context_data"]["assessment_id"] == result
    assert (message["content"], message["sender_type"]) == (WELCOME, "assistant")
    assert message["parent_message_id"] is None
    assert message["metadata"]["type"] == "assessment_welcome"
    assert made["suggestions"][:3] == message["metadata"]["suggested_questions"]
    assert audited(node, user) == [("conversation.create", "user")]

    again = begun(api, 200, assessment_id=result, title="Another title")
    assert again["initial_message"] == message
    assert again["conversation"]["id"] == conversation["id"]
    assert again["conversation"]["title"] == "Hasilku"
    assert api.get("/conversations").json()["total"] == 1
    until(lambda: neighbours.world.results[result]["chatbot_id"] == conversation["id"])


def test_without_an_id_it_is_the_newest_result_and_all_prefixes_answer(
    node: RunningNode, neighbours: Neighbours, user: str
):
    neighbours.add_result(user, raw={"id": new_uuid(), "user_id": user, "created_at": "2020-01-01T00:00:00Z"})
    newest = neighbours.add_result(user, sample=Sample(language="en"))
    found = []
    for prefix in ("/api/chat", "/api/chatbot", ""):
        with client(node, user, prefix=prefix) as api:
            response = api.post("/conversations/from-assessment")
            found.append((response.status_code, response.json()["conversation"]["id"]))
            assert response.json()["conversation"]["context_data"]["assessment_id"] == newest
    assert [status for status, _ in found] == [201, 200, 200]
    assert len({identity for _, identity in found}) == 1


def test_without_a_welcome_nothing_is_written_until_one_is_wanted(
    neighbours: Neighbours, api: httpx.Client, user: str
):
    neighbours.add_result(user)
    assert begun(api, auto_start_message=False)["initial_message"] is None
    assert begun(api, 200, auto_start_message=False)["initial_message"] is None
    assert begun(api, 200)["initial_message"] is not None


def test_who_does_not_wait_is_answered_while_the_welcome_is_written(
    node: RunningNode, neighbours: Neighbours, api: httpx.Client, user: str
):
    result = neighbours.add_result(user)
    gate = f"gate-{user}"
    node.simulator.script(
        Behaviour(tokens=("Halo ", "semua."), gate=gate, gate_at=1), match="Tulis pesan pertamamu"
    )
    response = api.post("/conversations/from-assessment", json={}, headers={"Prefer": "respond-async"})
    made = shown(response, 201, assessment_schemas.AdviserBegun)
    assert made["initial_message"] is None
    conversation = made["conversation"]["id"]
    busy = api.post(f"/conversations/{conversation}/messages", json={"content": "now"})
    problem(busy, 409, "GENERATION_IN_PROGRESS")
    release(node, gate)
    until(lambda: api.get(f"/assessment/{result}/conversation").json()["messages"])


def test_a_welcome_cannot_be_answered_again_and_what_follows_it_knows_it(
    node: RunningNode, neighbours: Neighbours, api: httpx.Client, user: str
):
    neighbours.add_result(user)
    made = begun(api)
    conversation, message = made["conversation"]["id"], made["initial_message"]["id"]
    refused = api.post(f"/conversations/{conversation}/messages/{message}/regenerate")
    assert fields(problem(refused, 400, "VALIDATION_ERROR")) == {"message"}

    turn = say(node, api, conversation)
    assert turn["user_message"]["parent_message_id"] == message
    asked = node.simulator.calls()[-1].messages
    assert made["initial_message"]["content"] in [each["content"] for each in asked]


def test_the_users_profile_is_asked_for_once_and_goes_into_the_context(
    neighbours: Neighbours, api: httpx.Client, user: str
):
    neighbours.add_profile(user, name="Budi Santoso")
    first, second = neighbours.add_result(user), neighbours.add_result(user)
    neighbours.world.calls.clear()
    for result in (first, second):
        made = begun(api, assessment_id=result)
        known = made["conversation"]["context_data"]["user_profile"]
        assert (known["name"], known["city"]) == ("Budi Santoso", "Bandung")
        assert any("Bandung" in each for each in made["suggestions"])
    assert len(neighbours.calls(Service.AUTH)) == 1


def test_a_result_is_asked_for_once(neighbours: Neighbours, api: httpx.Client, user: str):
    result = neighbours.add_result(user)
    neighbours.world.calls.clear()
    begun(api, assessment_id=result)
    assert api.post(f"/assessment/{result}/initialize").status_code == 200
    until(lambda: neighbours.world.results[result]["chatbot_id"])
    reads = [call for call in neighbours.calls(Service.ARCHIVE) if call.method == "GET"]
    assert [call.path for call in reads] == [f"/archive/results/{result}"]


def test_a_deleted_conversation_is_made_anew_for_its_user_alone(
    neighbours: Neighbours, api: httpx.Client, service: httpx.Client, user: str
):
    result = neighbours.add_result(user)
    old = begun(api)["conversation"]["id"]
    assert api.delete(f"/conversations/{old}").status_code == 204
    body = {"user_id": user, "assessment_id": result}
    problem(service.post("/conversations/auto-initialize", json=body), 404, "NOT_FOUND")
    new = begun(api)["conversation"]["id"]
    assert new != old
    until(lambda: neighbours.world.results[result]["chatbot_id"] == new)


def test_a_new_conversation_counts_in_the_limit_of_the_day_and_one_that_was_there_does_not(
    services: EmbeddedServices, module_database: Database, neighbours: Neighbours, user: str
):
    first, second = neighbours.add_result(user), neighbours.add_result(user)
    limits: dict[str, Any] = {"rate_limit_conversations_per_day": 1, "rate_limit_messages_per_hour": 1}
    with (
        serving(services, module_database, **limits, **their_urls(neighbours)) as node,
        client(node, user) as api,
    ):
        conversation = begun(api, assessment_id=first)["conversation"]["id"]
        begun(api, 200, assessment_id=first)
        limited = api.post("/conversations/from-assessment", json={"assessment_id": second})
        assert "Retry-After" in limited.headers
        problem(limited, 429, "RATE_LIMITED")
        # the welcome used up no message
        turn = say(node, api, conversation)
        assert turn["status"] == "completed"


# --- POST /conversations/{id}/context/assessment ----------------------------------------------


def test_a_conversation_is_given_a_result_to_know(
    node: RunningNode, neighbours: Neighbours, api: httpx.Client, user: str
):
    result = neighbours.add_result(user, sample=Sample(language="en"))
    conversation = begin(api, title="Mine", context_data={"kept": True})
    response = api.post(f"/conversations/{conversation}/context/assessment", json={"assessment_id": result})
    body = shown(response, 200, assessment_schemas.ContextAdded)
    assert body["assessment_data"]["test_data"]["riasec"]["investigative"] == 92

    held = api.get(f"/conversations/{conversation}").json()["conversation"]
    assert (held["context_type"], held["title"]) == ("assessment", "Mine")
    assert held["context_data"]["kept"] is True
    assert held["context_data"]["assessment_id"] == result
    say(node, api, conversation)
    assert "I: 92" in node.simulator.calls()[-1].messages[0]["content"]
    assert ("conversation.update", "user") in audited(node, user)
    guided = begin(api, context_type="career_guidance")
    assert api.post(f"/conversations/{guided}/context/assessment", json={"assessment_id": result}).is_success
    assert api.get(f"/conversations/{guided}").json()["conversation"]["context_type"] == "career_guidance"


# --- GET /conversations/assessment-ready/{userId} ---------------------------------------------


def test_ready_tells_the_newest_result_and_its_conversation_to_its_user_and_to_services(
    neighbours: Neighbours, api: httpx.Client, service: httpx.Client, user: str
):
    path = f"/conversations/assessment-ready/{user}"
    nothing = shown(api.get(path), 200, assessment_schemas.AssessmentReady)
    assert not nothing["has_assessment"]
    assert not nothing["ready_for_chatbot"]
    assert nothing["assessment_id"] is nothing["assessment_date"] is nothing["conversation_id"] is None

    result = neighbours.add_result(user)
    before = shown(api.get(path), 200, assessment_schemas.AssessmentReady)
    assert (before["has_assessment"], before["assessment_id"]) == (True, result)
    assert (before["conversation_exists"], before["conversation_id"]) == (False, None)
    assert before["ready_for_chatbot"]
    conversation = begun(api)["conversation"]["id"]
    for asker in (api, service):
        after = shown(asker.get(path), 200, assessment_schemas.AssessmentReady)
        assert (after["conversation_exists"], after["conversation_id"]) == (True, conversation)


# --- POST /conversations/auto-initialize ------------------------------------------------------


def test_a_service_or_the_user_has_the_adviser_wait(
    node: RunningNode, neighbours: Neighbours, api: httpx.Client, service: httpx.Client, user: str
):
    result = neighbours.add_result(user)
    body = {"user_id": user.upper(), "assessment_id": result, "trigger_source": "assessment_complete"}
    first = shown(
        service.post("/conversations/auto-initialize", json=body), 201, assessment_schemas.AutoInitialized
    )
    second = shown(
        api.post("/conversations/auto-initialize", json=body), 200, assessment_schemas.AutoInitialized
    )
    assert first == second
    assert 6 <= len(first["initial_suggestions"]) <= 8
    assert audited(node, user) == [("conversation.create", "internal")]
    metadata = api.get(f"/conversations/{first['conversation_id']}").json()["conversation"]["metadata"]
    assert metadata["source"] == "assessment_complete"


# --- /assessment/{assessmentId} ---------------------------------------------------------------


def test_initialize_is_the_manual_way_in_and_the_conversation_is_found_by_the_result(
    neighbours: Neighbours, api: httpx.Client, user: str
):
    result = neighbours.add_result(user)
    assert api.get(f"/assessment/{result}/conversation").json() == {"exists": False}
    for body in ({"trigger_source": "results page"}, None):
        response = api.post(f"/assessment/{result}/initialize", json=body)
        assert shown(response, 200, assessment_schemas.Initialized)["success"] is True
    until(lambda: api.get(f"/assessment/{result}/conversation").json()["messages"])
    found = shown(
        api.get(f"/assessment/{result}/conversation"), 200, assessment_schemas.ConversationOfAssessment
    )
    assert [each["metadata"]["type"] for each in found["messages"]] == ["assessment_welcome"]
    assert found["conversation"]["metadata"]["source"] == "results page"


# --- refusals ---------------------------------------------------------------------------------

WAYS_IN = [
    ("POST", "/conversations/from-assessment"),
    ("POST", "/conversations/auto-initialize"),
    ("POST", "/conversations/{conversation}/context/assessment"),
    ("POST", "/assessment/{assessment}/initialize"),
]


def ask(api: httpx.Client, way: tuple[str, str], user: str, assessment: str, conversation: str) -> Any:
    method, path = way
    return api.request(
        method,
        path.format(assessment=assessment, conversation=conversation),
        json={"assessment_id": assessment, "user_id": user},
    )


def without_id(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.json().items() if name != "request_id"}


@pytest.mark.parametrize("way", WAYS_IN, ids=lambda way: way[1])
def test_somebody_elses_result_is_answered_like_one_that_is_not_there(
    neighbours: Neighbours, api: httpx.Client, user: str, way: tuple[str, str]
):
    conversation = begin(api)
    theirs = neighbours.add_result(new_uuid())
    unfinished = neighbours.add_result(user, sample=Sample(scores=True, profile=False), raw={"user_id": user})
    random = ask(api, way, user, new_uuid(), conversation)
    problem(random, 404, "NOT_FOUND")
    for assessment in (theirs, unfinished):
        other = ask(api, way, user, assessment, conversation)
        assert (other.status_code, without_id(other)) == (404, without_id(random))
    assert api.get("/conversations").json()["total"] == 1


def test_another_user_is_answered_like_one_who_is_not_there(
    neighbours: Neighbours, api: httpx.Client, node: RunningNode
):
    other = new_uuid()
    theirs = neighbours.add_result(other)
    with client(node, other) as their_api:
        begun(their_api)
    answers = [
        (
            api.get(f"/conversations/assessment-ready/{who}"),
            api.post("/conversations/auto-initialize", json={"user_id": who, "assessment_id": theirs}),
        )
        for who in (other, new_uuid())
    ]
    for known, unknown in zip(*answers, strict=True):
        problem(known, 404, "NOT_FOUND")
        assert without_id(known) == without_id(unknown)
    assert api.get(f"/assessment/{theirs}/conversation").json() == {"exists": False}


@pytest.mark.parametrize("kind", [FaultKind.DOWN, FaultKind.MALFORMED, FaultKind.ERROR], ids=str)
def test_an_archive_at_fault_is_a_503_and_leaves_nothing_behind(
    services: EmbeddedServices,
    module_database: Database,
    neighbours: Neighbours,
    node: RunningNode,
    api: httpx.Client,
    user: str,
    kind: FaultKind,
):
    result, conversation = neighbours.add_result(user), begin(api)
    neighbours.fault(Fault(service=Service.ARCHIVE, kind=kind, status=401))
    for way in WAYS_IN:
        problem(ask(api, way, user, result, conversation), 503, "UNAVAILABLE")
    problem(api.get(f"/conversations/assessment-ready/{user}"), 503, "UNAVAILABLE")
    assert api.get("/conversations").json()["total"] == 1


def test_a_result_that_cannot_be_read_is_a_503(neighbours: Neighbours, api: httpx.Client, user: str):
    result = neighbours.add_result(user, raw={"id": new_uuid(), "user_id": user})
    problem(api.post(f"/assessment/{result}/initialize"), 503, "UNAVAILABLE")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/conversations/from-assessment", {"assessment_id": "7"}, "assessment_id"),
        ("/conversations/from-assessment", {"title": "  "}, "title"),
        ("/conversations/from-assessment", {"title": "x" * 256}, "title"),
        ("/conversations/from-assessment", {"auto_start_message": "yes"}, "auto_start_message"),
        ("/conversations/auto-initialize", {"assessment_id": "{user}"}, "user_id"),
        ("/conversations/auto-initialize", {"user_id": "{user}"}, "assessment_id"),
        (
            "/conversations/auto-initialize",
            {"user_id": "{user}", "assessment_id": "{user}", "trigger_source": "x" * 101},
            "trigger_source",
        ),
        ("/conversations/{user}/context/assessment", {}, "assessment_id"),
        ("/conversations/7/context/assessment", {"assessment_id": "{user}"}, "conversation"),
        ("/assessment/7/initialize", {}, "assessment"),
        ("/assessment/{user}/initialize", {"trigger_source": ""}, "trigger_source"),
    ],
)
def test_what_is_malformed_is_a_400_that_names_the_field(
    api: httpx.Client, user: str, path: str, body: dict[str, Any], field: str
):
    given = {
        name: value.replace("{user}", user) if isinstance(value, str) else value
        for name, value in body.items()
    }
    refused = problem(api.post(path.replace("{user}", user), json=given), 400, "VALIDATION_ERROR")
    assert fields(refused) == {field}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *WAYS_IN,
        ("GET", "/conversations/assessment-ready/{assessment}"),
        ("GET", "/assessment/{assessment}/conversation"),
    ],
)
def test_nobody_comes_in_without_a_token(node: RunningNode, method: str, path: str):
    some = new_uuid()
    with client(node) as nobody:
        refused = nobody.request(method, path.format(conversation=some, assessment=some), json=None)
    problem(refused, 401, "UNAUTHENTICATED")


def test_without_an_archive_the_doors_say_that_they_cannot(
    services: EmbeddedServices, module_database: Database, user: str
):
    with serving(services, module_database) as node, client(node, user) as api:
        problem(api.post("/conversations/from-assessment"), 503, "UNAVAILABLE")
        assert api.get(f"/assessment/{new_uuid()}/conversation").json() == {"exists": False}
        assert api.get("/health").json()["dependencies"]["rabbitmq"] == {"status": "disabled"}


# --- POST /internal/notifications -------------------------------------------------------------


def log_of(services: EmbeddedServices, user: str) -> list[str]:
    """The stages in a user's log, in order."""
    with redis.Redis.from_url(str(services.urls.redis_url), socket_timeout=5.0) as store:
        entries = store.xrange(f"chat:{{{user}}}:log")
    bodies = [value for _, held in entries for value in held.values() if b'"stage"' in value]
    return [msgspec.json.decode(body)["notification"]["stage"] for body in bodies]


def test_a_service_tells_stages_and_each_of_them_once(
    services: EmbeddedServices, node: RunningNode, service: httpx.Client, user: str
):
    assessment = new_uuid()
    submitted = {"user_id": user, "stage": "assessment_submitted", "assessment_id": assessment}
    own_words = {
        "user_id": user,
        "notification": {
            "title": "Sudah",
            "message": "Analisis sudah dimulai.",
            "progress": 31,
            "stage": "analysis_started",
            "assessmentId": assessment.upper(),
            "action": {"type": "redirect", "url": "/here"},
        },
    }
    again = {"user_id": user, "stage": "analysis_started", "assessment_id": assessment}
    told = []
    for body in (submitted, own_words, submitted, again):
        response = service.post("/internal/notifications", json=body)
        told.append(shown(response, 202, assessment_schemas.Notified)["told"])
    assert told == [True, True, False, False]
    until(lambda: log_of(services, user) == ["assessment_submitted", "analysis_started"])
    assert audited(node, user) == [("notification.tell", "internal")] * 2


def test_an_erased_user_is_told_nothing(node: RunningNode, service: httpx.Client, user: str):
    assert service.delete(f"/internal/users/{user}").status_code == 200
    body = {"user_id": user, "stage": "chatbot_ready", "assessment_id": new_uuid()}
    problem(service.post("/internal/notifications", json=body), 404, "NOT_FOUND")


GIVEN = {
    "title": "t",
    "message": "m",
    "progress": 1,
    "stage": "chatbot_ready",
    "assessmentId": "22222222-2222-4222-8222-222222222222",
}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "stage"),
        ({"stage": "chatbot_ready"}, "assessment_id"),
        ({"stage": "no stage", "assessment_id": GIVEN["assessmentId"]}, "stage"),
        ({"notification": GIVEN, "stage": "chatbot_ready"}, "notification"),
        ({"notification": {**GIVEN, "progress": 101}}, "notification.progress"),
        ({"notification": {**GIVEN, "title": ""}}, "notification.title"),
        ({"notification": {**GIVEN, "message": "x" * 2001}}, "notification.message"),
        ({"notification": {**GIVEN, "assessmentId": "7"}}, "notification.assessmentId"),
        ({"notification": {**GIVEN, "timestamp": "9999-12-31T23:59:59-23:00"}}, "notification.timestamp"),
        ({"user_id": "7", "notification": GIVEN}, "user_id"),
    ],
)
def test_a_notification_that_is_none_is_a_400(
    service: httpx.Client, user: str, body: dict[str, Any], field: str
):
    refused = service.post("/internal/notifications", json={"user_id": user, **body})
    assert fields(problem(refused, 400, "VALIDATION_ERROR")) == {field}


def test_users_tell_nobody_anything(api: httpx.Client, user: str):
    body = {"user_id": user, "stage": "chatbot_ready", "assessment_id": new_uuid()}
    problem(api.post("/internal/notifications", json=body), 403, "FORBIDDEN")
