"""Usage against the upstream's own ledger, to the last digit, whatever became of the calls."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest

from server.embedded.openrouter.behaviour import Behaviour, Failure, FailureHow
from server.embedded.openrouter.ledger import Call
from server.embedded.services import EmbeddedServices
from tests.running import MODELS, RunningNode, new_uuid, of_type, running_node
from tests.scripted.tokens import token_for
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import Database

SEED = 20_261_125
USERS, PLACES, TURNS = 2, 4, 5
PREMIUM = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4.5")
ASKED = (*PREMIUM, MODELS[0], None)
DELTAS = (
    "Begin ",
    "with ",
    "what ",
    "you ",
    "like ",
    "and ",
    "see ",
    "where ",
    "it ",
    "leads ",
    "you ",
    "next.",
)
BREAKS: tuple[FailureHow, ...] = (
    "error",
    "error_empty_choices",
    "reset",
    "close",
    "eof",
    "malformed",
    "stall",
)
BASE = "/api/chat"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Bill:
    """Calls added up."""

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    cost: Decimal = field(default_factory=Decimal)

    def add(self, call: Call) -> None:
        bill = call.bill
        assert bill is not None, call
        self.requests += 1
        self.prompt += bill.prompt_tokens
        self.completion += bill.completion_tokens
        self.cost += bill.cost

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


def added(calls: Iterable[Call]) -> Bill:
    total = Bill()
    for call in calls:
        total.add(call)
    return total


def a_failure(rng: random.Random) -> Behaviour:
    """A call that fails: refused, cut off before any headers, before the first token, or in mid-answer."""
    match rng.randrange(4):
        case 0:
            return Behaviour(status=rng.choice((500, 502, 503, 529)))
        case 1:
            return Behaviour(error=rng.choice(("overloaded", "upstream_rate_limited", "no_endpoints")))
        case 2 if rng.random() < 0.3:
            return Behaviour(before_headers=rng.choice(("reset", "close")))
        case _:
            at = rng.choice((0, 0, rng.randrange(1, len(DELTAS)), len(DELTAS)))
            return Behaviour(
                tokens=DELTAS,
                fail=Failure(how=rng.choice(BREAKS), at=at),
                bill_errors=rng.random() < 0.5,
                provider=rng.choice(("OpenAI", "Google")),
                generation_delay_ms=rng.choice((0, 150)),
            )


def an_answer(rng: random.Random) -> Behaviour:
    """A call that answers; some tell no bill, which is asked for then."""
    return Behaviour(
        tokens=DELTAS,
        usage=rng.choice(("empty_choice", "no_choices", "with_finish", "none", "none")),
        generation_delay_ms=rng.choice((0, 150)),
        generation_statuses=rng.choice(((), (404,), (500,))),
    )


async def one_turn(
    running: RunningNode, client: RecordingClient, api: httpx.AsyncClient, place: str, rng: random.Random
) -> None:
    """A turn that goes some way or other, to its end."""
    label = f"[{new_uuid()}]"
    calls = [a_failure(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4)))]
    stopped = len(calls) < 3 and rng.random() < 0.4
    if stopped:
        calls.append(
            Behaviour(
                tokens=DELTAS,
                gate=label,
                gate_at=rng.randrange(len(DELTAS)),
                provider=rng.choice(("OpenAI", "Google")),
                generation_delay_ms=rng.choice((0, 150)),
            )
        )
    elif len(calls) < 4:
        calls.append(an_answer(rng))
    running.simulator.script(*calls, match=label)
    model = rng.choice(ASKED)
    sent = await api.post(
        f"{BASE}/conversations/{place}/messages",
        json={"content": f"{label} Where do I begin?", **({"model": model} if model else {})},
        headers={"Prefer": "respond-async"},
    )
    assert sent.status_code == 202, sent.text
    generation = str(sent.json()["generation"])
    ended = asyncio.create_task(client.wait_for(of_type("generation.finished", generation=generation), 60.0))
    if stopped:
        # on a busy machine the call may be given up before it is where it waits
        there = asyncio.create_task(running.simulator.reached(label))
        await asyncio.wait({there, ended}, return_when=asyncio.FIRST_COMPLETED)
        there.cancel()
        stop = await api.post(f"{BASE}/generations/{generation}/stop")
        assert stop.status_code == 202, stop.text
    await ended


async def talk(
    running: RunningNode, client: RecordingClient, api: httpx.AsyncClient, rng: random.Random
) -> str:
    """A conversation of several turns; its id."""
    made = await api.post(f"{BASE}/conversations", json={})
    place = str(made.json()["id"])
    for _ in range(TURNS):
        await one_turn(running, client, api, place, rng)
    return place


async def nothing_due(connection: Any) -> bool:
    """Whether every bill is known; those that are not are asked for at once."""
    due = "UPDATE chat.usage_tracking SET settle_due_at = clock_timestamp() WHERE settle_due_at IS NOT NULL"
    return str(await connection.execute(due)) == "UPDATE 0"


def of_rest(usage: dict[str, Any]) -> tuple[int, int, int, Decimal]:
    return (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
        Decimal(usage["total_cost"] if "total_cost" in usage else usage["cost"]),
    )


def of_ledger(bill: Bill) -> tuple[int, int, int, Decimal]:
    return bill.prompt, bill.completion, bill.tokens, bill.cost


def by_model(calls: Iterable[Call]) -> dict[str, tuple[int, int, Decimal]]:
    parts: dict[str, Bill] = defaultdict(Bill)
    for call in calls:
        parts[call.model].add(call)
    return {model: (part.requests, part.tokens, part.cost) for model, part in parts.items()}


def told_by_model(parts: list[dict[str, Any]]) -> dict[str, tuple[int, int, Decimal]]:
    return {part["model"]: (part["requests"], part["tokens"], Decimal(part["cost"])) for part in parts}


# what other tests' nodes left to be taken over has bills that this upstream never knew
@pytest.mark.usefixtures("clean_redis_url")
def test_usage_is_what_the_upstream_billed_to_the_last_digit(services: EmbeddedServices, database: Database):
    """Stops in mid-answer, failures before and after the first token, fallbacks, bills that come later."""
    rng = random.Random(SEED)

    async def go() -> None:
        async with running_node(
            services,
            database,
            premium_models=PREMIUM,
            use_free_models_only=False,
            stall_timeout_seconds=1.0,
        ) as running:
            users = [new_uuid() for _ in range(USERS)]
            clients = [await running.client(user, tier="premium") for user in users]
            tokens = [token_for(user, tier="premium") for user in users]
            apis = [
                httpx.AsyncClient(
                    base_url=running.base,
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=60,
                    trust_env=False,
                )
                for token in tokens
            ]
            lanes = [(number, random.Random(rng.random())) for number in range(USERS) for _ in range(PLACES)]
            places = await asyncio.gather(
                *(talk(running, clients[number], apis[number], lane) for number, lane in lanes)
            )
            async with running.admin() as connection:
                # what is asked for in vain is asked for again only after five seconds
                await eventually(lambda: nothing_due(connection), 60.0, what="every bill is known")
            await running.settled()

            calls = running.simulator.calls()
            assert {call.state for call in calls} >= {"complete", "failed", "aborted"}
            assert len(calls) > USERS * PLACES * TURNS
            assert added(calls).cost > 0

            # the rows: one for every call, each with the bill of its call
            rows = (await running.rows())["usage"]
            by_id = {row["upstream_id"]: row for row in rows if row["upstream_id"] is not None}
            for call in calls:
                if call.headers_at is None or (call.status or 0) >= 400:
                    continue
                row, bill = by_id[call.generation_id], added([call])
                assert row["state"] == "settled"
                assert (row["prompt_tokens"], row["completion_tokens"]) == (bill.prompt, bill.completion), (
                    call
                )
                assert row["cost"] == bill.cost, call
            assert sum(row["reached"] for row in rows) == len(calls)

            for number, (user, api) in enumerate(zip(users, apis, strict=True)):
                own = [place for place, (owner, _) in zip(places, lanes, strict=True) if owner == number]
                mine = [call for call in calls if call.session_id in own]
                summary = (await api.get(f"{BASE}/usage/summary")).json()
                assert of_rest(summary) == of_ledger(added(mine)), user
                assert summary["requests"] == len(mine)
                assert told_by_model(summary["by_model"]) == by_model(mine)
                assert sum(Decimal(day["cost"]) for day in summary["timeline"]) == added(mine).cost
                assert sum(day["requests"] for day in summary["timeline"]) == len(mine)
                for place in own:
                    here = [call for call in mine if call.session_id == place]
                    usage = (await api.get(f"{BASE}/conversations/{place}/usage")).json()
                    assert of_rest(usage) == of_ledger(added(here))
                    assert told_by_model(usage["cost_breakdown"]) == by_model(here)
                await answers_have_it(api, own, calls, rows)
                await told_of_every_settlement(clients[number], rows, calls)
            for api in apis:
                await api.aclose()

    asyncio.run(go())


async def answers_have_it(
    api: httpx.AsyncClient, places: list[str], calls: list[Call], rows: list[dict[str, Any]]
) -> None:
    """Every message with its usage, and every generation that is looked at afterwards."""
    upstream = {call.generation_id: call for call in calls}
    for place in places:
        page = (await api.get(f"{BASE}/conversations/{place}/messages?limit=200&include_usage=true")).json()
        answers = [each for each in page["messages"] if each["sender_type"] == "assistant"]
        assert answers
        for answer in answers:
            generation = answer["metadata"]["generation"]
            ids = [row["upstream_id"] for row in rows if row["generation_id"] == generation]
            wanted = of_ledger(added(upstream[each] for each in ids if each is not None))
            assert of_rest(answer["usage"]) == wanted
            looked_at = (await api.get(f"{BASE}/generations/{generation}")).json()
            assert of_rest(looked_at["usage"]) == wanted


async def told_of_every_settlement(
    client: RecordingClient, rows: list[dict[str, Any]], calls: list[Call]
) -> None:
    """Whoever was told an estimate was told the bill too; the last word is the sum."""
    estimated = [
        frame
        for frame in client.recording.of_type("generation.finished")
        if any(segment["usage"]["state"] == "estimated" for segment in frame["segments"])
    ]
    assert estimated
    upstream = {call.generation_id: call for call in calls}
    for frame in estimated:
        generation = frame["generation"]
        ids = [row["upstream_id"] for row in rows if row["generation_id"] == generation]
        wanted = of_ledger(added(upstream[each] for each in ids if each is not None))

        def settled(told: dict[str, Any], generation: str = generation, wanted: Any = wanted) -> bool:
            return (
                bool(of_type("usage.settled", generation=generation)(told))
                and of_rest(told["usage"]) == wanted
            )

        await client.wait_for(settled, 30.0)
        last = [
            told for told in client.recording.of_type("usage.settled") if told["generation"] == generation
        ][-1]
        assert of_rest(last["usage"]) == wanted
        assert last["usage"]["state"] != "estimated"
