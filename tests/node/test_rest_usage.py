"""Usage over REST: exact costs, by model, by day, of a period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from server.embedded.services import EmbeddedServices
from tests.node.rest import begin, client, fields, problem, say, serving, until
from tests.running import MODELS, RunningNode, new_uuid
from tests.scripted.tokens import token_for
from tests.services import Database

PAID = "openai/gpt-4o-mini"


@pytest.fixture(scope="module")
def node(services: EmbeddedServices, module_database: Database) -> Iterator[RunningNode]:
    with serving(services, module_database, premium_models=(PAID,)) as running:
        until(lambda: not running.node.openrouter.catalogue.is_free(PAID))
        yield running


@pytest.fixture
def api(node: RunningNode) -> Iterator[httpx.Client]:
    token = token_for(new_uuid(), tier="premium")
    with client(node, Authorization=f"Bearer {token}") as mine:
        yield mine


def test_a_conversation_and_a_month_add_up_to_the_upstreams_bill(node: RunningNode, api: httpx.Client):
    conversation, deleted = begin(api), begin(api)
    turns = [say(node, api, conversation, model=model) for model in (PAID, MODELS[0], PAID)]
    turns.append(say(node, api, deleted, model=PAID))
    bills = [
        next(
            call.bill
            for call in node.simulator.calls()
            if turn["user_message"]["content"] in str(call.messages)
        )
        for turn in turns
    ]
    api.delete(f"/conversations/{deleted}")

    one = api.get(f"/conversations/{conversation}/usage").json()
    month = api.get("/usage/summary").json()

    assert all(bill is not None for bill in bills)
    costs = [bill.cost for bill in bills if bill is not None]
    assert Decimal(one["total_cost"]) == sum(costs[:3]) > 0
    assert Decimal(month["total_cost"]) == sum(costs)
    for text in (one["total_cost"], month["total_cost"], *(part["cost"] for part in month["by_model"])):
        assert "e" not in text.lower()
    assert one["total_tokens"] == one["prompt_tokens"] + one["completion_tokens"]
    assert one["total_tokens"] == sum(turn["usage"]["total_tokens"] for turn in turns[:3])
    assert one["model_usage"] == {part["model"]: part["tokens"] for part in one["cost_breakdown"]}
    assert {part["model"]: part["requests"] for part in one["cost_breakdown"]} == {PAID: 2, MODELS[0]: 1}
    assert (month["requests"], month["free_requests"]) == (4, 1)
    assert (month["conversations_count"], month["messages_count"]) == (2, 8)
    assert sum(Decimal(day["cost"]) for day in month["timeline"]) == sum(costs)
    assert sum(day["requests"] for day in month["timeline"]) == 4


@pytest.mark.parametrize(
    ("query", "first", "end"),
    [
        ("period=year&year=2026", "2026-01-01", "2027-01-01"),
        ("period=month&year=2026&month=2", "2026-02-01", "2026-03-01"),
        ("year=2024&month=12", "2024-12-01", "2025-01-01"),
        ("period=day&year=2024&month=2&day=29", "2024-02-29", "2024-03-01"),
        ("period=week&year=2026&month=1&day=1", "2025-12-29", "2026-01-05"),
        ("period=month&year=2025", "2025-12-01", "2026-01-01"),
    ],
)
def test_a_period_is_whole_days_and_ends_before_its_end(api: httpx.Client, query: str, first: str, end: str):
    summary = api.get(f"/usage/summary?{query}").json()

    assert (summary["from"], summary["to"]) == (f"{first}T00:00:00.000Z", f"{end}T00:00:00.000Z")
    assert summary["total_cost"] == "0"
    assert summary["by_model"] == summary["timeline"] == []


def test_without_a_word_it_is_this_month(api: httpx.Client):
    summary = api.get("/usage/summary").json()

    assert summary["period"] == "month"
    assert summary["from"] == datetime.now(UTC).strftime("%Y-%m-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=decade", "period"),
        ("period=", "period"),
        ("year=1969", "year"),
        ("year=9999", "year"),
        ("year=MMXXVI", "year"),
        ("month=0", "month"),
        ("month=13", "month"),
        ("day=0", "day"),
        ("day=32", "day"),
        ("period=day&year=2026&month=2&day=29", "day"),
    ],
)
def test_a_time_that_is_none_is_refused(api: httpx.Client, query: str, field: str):
    assert fields(problem(api.get(f"/usage/summary?{query}"), 400, "VALIDATION_ERROR")) == {field}


def test_nothing_used_is_nothing(api: httpx.Client):
    usage = api.get(f"/conversations/{begin(api)}/usage").json()

    assert usage == {
        "total_tokens": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_cost": "0",
        "cost_breakdown": [],
        "model_usage": {},
    }
