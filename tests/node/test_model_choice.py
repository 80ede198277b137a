"""Premium models kept for complex turns: who is asked first, by whose turn it is and what it is about."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from server.embedded.services import EmbeddedServices
from tests.node.rest import begin, client, say, serving
from tests.running import MODELS, RunningNode, new_uuid
from tests.scripted.tokens import token_for
from tests.services import Database

PAID = "openai/gpt-4o-mini"
ASSESSMENT = {"context_type": "assessment", "context_data": {"riasec": {"R": 80, "I": 91}}}


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, premium_models=(PAID,), premium_models_for="complex") as running:
        yield running


@pytest.fixture
def premium(node: RunningNode) -> Iterator[httpx.Client]:
    token = token_for(new_uuid(), tier="premium")
    with client(node, Authorization=f"Bearer {token}") as mine:
        yield mine


def test_a_simple_turn_of_a_premium_user_goes_to_a_free_model_a_long_or_repeated_one_does_not(
    node: RunningNode, premium: httpx.Client
):
    conversation = begin(premium)

    simple = say(node, premium, conversation)
    long = say(node, premium, conversation, content=f"{new_uuid()} " + "and why, in detail? " * 40)
    answer = simple["assistant_message"]["id"]
    again = premium.post(f"/conversations/{conversation}/messages/{answer}/regenerate").json()

    assert [turn["model"] for turn in (simple, long, again)] == [MODELS[0], PAID, PAID]


def test_what_is_about_an_assessment_is_complex_and_a_wish_is_a_wish(
    node: RunningNode, premium: httpx.Client
):
    conversation = begin(premium, **ASSESSMENT)

    assert say(node, premium, conversation)["model"] == PAID
    assert say(node, premium, conversation, model=MODELS[1])["model"] == MODELS[1]


def test_who_does_not_pay_asks_free_models_of_everything(node: RunningNode):
    with client(node, Authorization=f"Bearer {token_for(new_uuid())}") as free:
        assert say(node, free, begin(free, **ASSESSMENT))["model"] == MODELS[0]


def test_a_conversation_that_is_not_there_is_not_found_before_a_model_is_chosen(premium: httpx.Client):
    refused = premium.post(f"/conversations/{new_uuid()}/messages", json={"content": "hi"})

    assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND")
