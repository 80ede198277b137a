"""The endpoints against their own description: whatever is asked, the answer is one that was announced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]  # it has no types of its own
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from server.embedded.services import EmbeddedServices
from server.gateway.endpoint import Endpoint
from server.gateway.routes import ENDPOINTS
from tests.node.rest import AS_SERVICE, begin, client, next_door, say, serving, their_urls
from tests.running import RunningNode, new_uuid
from tests.services import Database

STREAMS = {"/events", "/generations/{generation}/events"}
ASKED = [each for each in ENDPOINTS if each.path not in STREAMS]
EXAMPLES = 10
USER, RESULT = new_uuid(), new_uuid()
load_all_checks()
LEFT_OUT = {
    # text may be of white space alone, and much else that no schema says
    "positive_data_acceptance",
    # what is created here is not for this tool to follow
    "use_after_free",
    "ensure_resource_availability",
    # asked by hand, with every door: see the tests of identity and isolation
    "ignored_auth",
    "object_level_authorization",
    "max_response_time",
}
HELD_TO: list[Any] = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with next_door() as neighbours:
        neighbours.add_result(USER, result_id=RESULT)
        with serving(services, module_database, **their_urls(neighbours)) as running:
            yield running


@pytest.fixture(scope="module")
def api(node: RunningNode) -> Iterator[httpx.Client]:
    with client(node, USER) as mine:
        yield mine


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as kept:
        kept.trust_env = False
        yield kept


@pytest.fixture(scope="module")
def description(api: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def ids(node: RunningNode, api: httpx.Client) -> dict[str, str]:
    """Ids of things that are there."""
    conversation = begin(api)
    turn = say(node, api, conversation)
    return {
        "conversation": conversation,
        "message": turn["user_message"]["id"],
        "generation": turn["generation"],
        "user_id": new_uuid(),
        "assessment": RESULT,
    }


def without_security(description: dict[str, Any]) -> schemathesis.BaseSchema:
    """The description without who may ask: that comes with every call here, and is not to be toyed with."""
    paths = {
        path: {method: {**operation, "security": []} for method, operation in methods.items()}
        for path, methods in description["paths"].items()
    }
    return schemathesis.openapi.from_dict({**description, "paths": paths})


def called(endpoint: Endpoint[Any, Any]) -> str:
    return f"{endpoint.method} {endpoint.path}"


# the node runs in this process and jitters by `random`, which Hypothesis takes for a strategy's doing
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("endpoint", ASKED, ids=called)
def test_whatever_is_asked_the_answer_was_announced(
    endpoint: Endpoint[Any, Any],
    node: RunningNode,
    api: httpx.Client,
    session: requests.Session,
    description: dict[str, Any],
    ids: dict[str, str],
):
    operation = without_security(description)[endpoint.path][endpoint.method]
    headers = AS_SERVICE if endpoint.who == "internal" else {"Authorization": api.headers["authorization"]}

    @given(data=st.data(), sound=st.booleans(), real=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def hold(data: st.DataObject, sound: bool, real: bool) -> None:
        mode = GenerationMode.POSITIVE if sound else GenerationMode.NEGATIVE
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if sound and real and endpoint.method != "DELETE":
            case.path_parameters.update({name: ids.get(name, new_uuid()) for name in endpoint.id_names})
        case.call_and_validate(
            base_url=f"{node.base}/api/chat", session=session, headers=headers, timeout=30, checks=HELD_TO
        )

    hold()


def test_the_plain_ways_end_in_the_answers_described(
    node: RunningNode, api: httpx.Client, description: dict[str, Any], ids: dict[str, str]
):
    conversation, message = ids["conversation"], ids["message"]
    base = f"/conversations/{conversation}"
    internal = f"/internal/users/{new_uuid()}"
    asked: list[tuple[str, str, str, int, dict[str, Any]]] = [
        ("GET", "/conversations", "/conversations", 200, {}),
        ("POST", "/conversations", "/conversations", 201, {"json": {"title": "x"}}),
        ("GET", base, "/conversations/{conversation}", 200, {}),
        ("PUT", base, "/conversations/{conversation}", 200, {"json": {"title": "y"}}),
        ("GET", f"{base}/suggestions", "/conversations/{conversation}/suggestions", 200, {}),
        ("GET", f"{base}/usage", "/conversations/{conversation}/usage", 200, {}),
        (
            "GET",
            f"{base}/messages?include_usage=true",
            "/conversations/{conversation}/messages",
            200,
            {},
        ),
        (
            "POST",
            f"{base}/messages",
            "/conversations/{conversation}/messages",
            200,
            {"json": {"content": "hi"}},
        ),
        (
            "POST",
            f"{base}/messages/{message}/regenerate",
            "/conversations/{conversation}/messages/{message}/regenerate",
            200,
            {},
        ),
        ("GET", f"/generations/{ids['generation']}", "/generations/{generation}", 200, {}),
        ("POST", f"/generations/{ids['generation']}/stop", "/generations/{generation}/stop", 202, {}),
        ("POST", "/tickets", "/tickets", 201, {}),
        ("GET", "/usage/summary?period=day", "/usage/summary", 200, {}),
        ("DELETE", internal, "/internal/users/{user_id}", 200, {"headers": AS_SERVICE}),
        ("GET", "/health?full=true", "/health", 200, {}),
        ("GET", "/health/live", "/health/live", 200, {}),
        ("GET", "/health/ready", "/health/ready", 200, {}),
        ("GET", f"/conversations/{new_uuid()}", "/conversations/{conversation}", 404, {}),
        ("GET", "/conversations?limit=0", "/conversations", 400, {}),
    ]
    for method, path, template, status, options in asked:
        answered = api.request(method, path, **options)
        assert answered.status_code == status, answered.text
        response = description["paths"][template][method.lower()]["responses"][str(status)]
        kind = answered.headers["content-type"]
        schema = {**response["content"][kind]["schema"], "components": description["components"]}
        # what is there is described, too: nothing comes that the description does not know
        jsonschema.validate(answered.json(), schema)
        for name in response["headers"]:
            assert name in answered.headers, name


def test_every_description_is_one_of_its_kind(api: httpx.Client, description: dict[str, Any]):
    assert description["openapi"] == "3.1.0"
    assert schemathesis.openapi.from_dict(description).validate() is None
    wire = api.get("/asyncapi.json").json()
    assert wire["asyncapi"] == "3.0.0"
    for schema in (*description["components"]["schemas"].values(), *wire["components"]["schemas"].values()):
        jsonschema.Draft202012Validator.check_schema(schema)
