"""The ledger: what was sent is what was read, and every end has its price."""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.embedded.openrouter.behaviour import Behaviour, Failure, Framing, Insertion
from server.embedded.openrouter.catalogue import DEFAULT_MODELS, STOPS_BILLING
from server.embedded.openrouter.ledger import Call
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import (
    KEY,
    MODEL,
    QUESTION,
    Heard,
    ask,
    get,
    hear,
    heard_of,
    with_simulator,
)
from tests.scripted.waiting import eventually

TOKENS = ("One", " two", " three", ".")  # 4 deltas, 14 characters, so 4 tokens are billed
PROMPT = Decimal("0.00000015") * 5  # the question is 19 characters
PRICE = Decimal("0.0000006")
MIDDLE = Behaviour(tokens=TOKENS, gate="middle", gate_at=2)

_texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(["😀", "\u2028", "\0", "é", " ", "\n"]),
    max_size=30,
)
_behaviours = st.builds(
    Behaviour,
    text=_texts,
    reasoning=_texts,
    layout=st.sampled_from(["2025", "2026"]),
    usage=st.sampled_from(["empty_choice", "no_choices", "with_finish", "with_content", "none"]),
    duplicate_finish=st.booleans(),
    done=st.booleans(),
    split_surrogates=st.booleans(),
    chunked=st.booleans(),
    comments_first=st.integers(0, 2),
    insert=st.lists(
        st.builds(
            Insertion,
            at=st.integers(0, 9),
            what=st.sampled_from(["comment", "empty", "null", "no_choices", "unknown_fields"]),
        ),
        max_size=2,
    ).map(tuple),
    framing=st.builds(
        Framing,
        newline=st.sampled_from(["lf", "crlf", "cr"]),
        split=st.sampled_from(["no", "bytes", "utf8", "field", "newline"]),
        size=st.integers(1, 9),
        events_per_write=st.integers(1, 5),
        space=st.booleans(),
    ),
    fail=st.none()
    | st.builds(
        Failure,
        how=st.sampled_from(["error", "error_empty_choices", "error_choice_only", "close", "eof"]),
        at=st.integers(0, 9),
        done=st.booleans(),
    )
    | st.builds(Failure, how=st.sampled_from(["close", "eof"]), at_byte=st.integers(0, 2000)),
)


def halves(text: str) -> bytes:
    """In UTF-16, where a character may have been cut."""
    return text.encode("utf-16-le", "surrogatepass")


@settings(max_examples=30)
@given(st.lists(_behaviours, min_size=1, max_size=5))
def test_the_ledger_equals_what_was_read(behaviours: list[Behaviour]):
    """To the byte and to the character, for every call that nobody left and nothing reset."""

    async def act(simulator: Simulator) -> list[tuple[Heard, Call]]:
        return [await heard_of(simulator, each) for each in behaviours]

    for heard, call in with_simulator(act):
        assert call.bytes_sent == len(heard.body)
        assert call.sent == heard.text
        assert "".join(delta.get("reasoning") or "" for delta in heard.deltas) == "".join(
            call.thoughts[: call.thoughts_sent]
        )
        assert halves(call.intended).startswith(halves(call.sent))
        if call.state == "complete":
            assert call.sent == call.intended
        assert call.seen == halves(call.sent).decode("utf-16-le", "replace").replace("\0", "\ufffd")


def test_the_ledger_keeps_what_was_asked_but_no_key():
    async def act(simulator: Simulator) -> Call:
        await ask(
            simulator,
            max_tokens=9,
            user="u-1",
            session_id="c-1",
            models=["x/y"],
            headers={"X-Request-ID": "r-1", "X-Session-Id": "other"},
        )
        return simulator.calls()[0]

    call = with_simulator(act)
    assert (call.number, call.model, call.models, call.stream) == (1, MODEL, ("x/y",), True)
    assert (call.user, call.session_id, call.max_tokens) == ("u-1", "c-1", 9)
    assert call.messages == [{"role": "user", "content": QUESTION}]
    assert call.headers["x-request-id"] == "r-1"
    assert call.key_fingerprint == hashlib.sha256(KEY.encode()).hexdigest()[:12]
    assert KEY not in json.dumps(call.as_json())


def test_the_session_may_come_in_a_header():
    async def act(simulator: Simulator) -> str | None:
        await ask(simulator, headers={"X-Session-Id": "c-2"})
        return simulator.calls()[0].session_id

    assert with_simulator(act) == "c-2"


def test_old_calls_are_forgotten_and_counted():
    async def act(simulator: Simulator) -> None:
        ids = []
        for _ in range(4):
            heard, call = await heard_of(simulator, Behaviour(text="Hi"))
            assert heard.done
            ids.append(call.generation_id)
        assert [call.number for call in simulator.calls()] == [3, 4]
        assert simulator.forgotten == 2
        found = [(await get(simulator, f"/generation?id={each}")).status for each in ids]
        assert found == [404, 404, 200, 200]

    with_simulator(act, keep_calls=2)


# --- what each end costs ------------------------------------------------------------------------


def costs(call: Call) -> tuple[int, int, Decimal]:
    assert call.bill is not None
    return call.bill.prompt_tokens, call.bill.completion_tokens, call.bill.cost


def test_a_whole_answer_costs_its_usage():
    heard, call = hear(Behaviour(tokens=TOKENS))

    usage = heard.chunks[-1]["usage"]
    assert costs(call) == (5, 4, PROMPT + 4 * PRICE)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 4)
    assert Decimal(str(usage["cost"])) == PROMPT + 4 * PRICE


def test_an_open_call_has_no_bill():
    async def act(simulator: Simulator) -> None:
        simulator.script(MIDDLE)
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("middle")
        (call,) = simulator.calls()
        assert call.bill is None
        assert (await get(simulator, f"/generation?id={call.generation_id}")).status == 404
        simulator.release("middle")
        await asking
        assert costs(call) == (5, 4, PROMPT + 4 * PRICE)

    with_simulator(act)


async def left_in_the_middle(simulator: Simulator, behaviour: Behaviour, **request: Any) -> Call:
    """A call whose reader leaves at the gate."""
    simulator.script(behaviour)
    asking = asyncio.create_task(ask(simulator, **request))
    await simulator.reached("middle")
    call = simulator.calls()[-1]
    asking.cancel()
    await eventually(lambda: call.state == "aborted")
    return call


@pytest.mark.parametrize(
    ("provider", "tokens"),
    [("OpenAI", 2), ("DeepSeek", 2), ("Google", 4), ("Amazon Bedrock", 4), ("Unlisted", 4)],
)
@pytest.mark.parametrize("how", ["leaves", "reset", "close", "eof", "stall"])
def test_a_reader_who_leaves_pays_what_was_sent_or_all_of_it_by_provider(
    how: Any, provider: str, tokens: int
):
    """A link that breaks without a word is, for OpenRouter, a reader who left."""
    assert (provider in STOPS_BILLING) == (tokens == 2)

    async def act(simulator: Simulator) -> None:
        if how == "leaves":
            call = await left_in_the_middle(
                simulator, Behaviour(tokens=TOKENS, gate="middle", gate_at=2, provider=provider)
            )
        else:
            _, call = await heard_of(
                simulator,
                Behaviour(tokens=TOKENS, provider=provider, fail=Failure(how=how, at=2)),
                until=lambda heard: how == "stall" and heard.text == "One two",
            )
        assert costs(call) == (5, tokens, PROMPT + tokens * PRICE)
        told = (await get(simulator, f"/generation?id={call.generation_id}")).json["data"]
        assert told["cancelled"] is True
        assert told["finish_reason"] is None
        assert (told["native_tokens_prompt"], told["native_tokens_completion"]) == (5, tokens)
        assert Decimal(str(told["total_cost"])) == PROMPT + tokens * PRICE
        assert told["provider_name"] == provider

    with_simulator(act)


@pytest.mark.parametrize(("provider", "cost"), [("OpenAI", Decimal(0)), ("Google", PROMPT + 4 * PRICE)])
def test_who_leaves_before_the_first_token_pays_nothing_where_billing_stops(provider: str, cost: Decimal):
    async def act(simulator: Simulator) -> Call:
        return await left_in_the_middle(
            simulator, Behaviour(tokens=TOKENS, gate="middle", gate_at=0, provider=provider)
        )

    call = with_simulator(act)
    assert call.bill is not None
    assert call.bill.cost == cost


@pytest.mark.parametrize(("billed", "cost"), [(False, Decimal(0)), (True, PROMPT + 2 * PRICE)])
def test_an_error_in_band_is_free_unless_the_behaviour_bills_it(billed: bool, cost: Decimal):
    heard, call = hear(
        Behaviour(tokens=TOKENS, bill_errors=billed, fail=Failure(how="error", at=2), provider="Google")
    )

    assert heard.text == "One two"
    assert costs(call) == (5, 2, cost)


@pytest.mark.parametrize("name", ["overloaded", "html", "free_per_day"])
def test_a_refusal_costs_nothing(name: str):
    _, call = hear(Behaviour(error=name))

    assert costs(call) == (0, 0, Decimal(0))


def test_reasoning_is_billed_as_completion():
    _, call = hear(Behaviour(tokens=TOKENS, reasoning="12345678"))

    assert costs(call) == (5, 6, PROMPT + 6 * PRICE)
    assert call.bill is not None
    assert call.bill.reasoning_tokens == 2


def test_a_free_model_and_an_own_key_cost_nothing_here():
    free = next(model.slug for model in DEFAULT_MODELS if model.free)
    _, one = hear(Behaviour(tokens=TOKENS), model=free)
    _, other = hear(Behaviour(tokens=TOKENS, byok=True))

    assert costs(one)[2] == costs(other)[2] == 0
    assert other.bill is not None
    assert other.bill.upstream_cost == PROMPT + 4 * PRICE


# --- GET /generation ------------------------------------------------------------------------------


def test_a_bill_appears_after_its_delay_and_after_the_statuses_that_were_asked_for():
    async def act(simulator: Simulator) -> None:
        _, call = await heard_of(simulator, Behaviour(tokens=TOKENS, generation_statuses=(404, 500, 429)))
        place = f"/generation?id={call.generation_id}"
        heard = [await get(simulator, place) for _ in range(4)]
        assert [each.status for each in heard] == [404, 500, 429, 200]
        assert heard[0].json["error"]["code"] == 404
        assert call.generation_requests == 4

    with_simulator(act)


def test_a_bill_may_be_late():
    async def act(simulator: Simulator) -> None:
        _, late = await heard_of(simulator, Behaviour(text="Hi", generation_delay_ms=3_600_000))
        _, soon = await heard_of(simulator, Behaviour(text="Hi", generation_delay_ms=1))
        assert (await get(simulator, f"/generation?id={late.generation_id}")).status == 404

        async def there() -> bool:
            return (await get(simulator, f"/generation?id={soon.generation_id}")).status == 200

        await eventually(there)

    with_simulator(act)


def test_a_bill_may_never_come():
    async def act(simulator: Simulator) -> list[int | None]:
        _, call = await heard_of(simulator, Behaviour(text="Hi", generation_lost=True))
        return [
            (await get(simulator, f"/generation?id={each}")).status for each in (call.generation_id, "no", "")
        ]

    assert with_simulator(act) == [404, 404, 404]


def test_a_bill_says_what_openrouters_does():
    async def act(simulator: Simulator) -> dict[str, Any]:
        _, call = await heard_of(
            simulator,
            Behaviour(tokens=TOKENS, byok=True),
            user="u",
            session_id="s",
            model="openai/gpt-4o-mini",
        )
        data = (await get(simulator, f"/generation?id={call.generation_id}")).json["data"]
        assert data["id"] == call.generation_id
        return dict(data)

    data = with_simulator(act)
    assert Decimal(str(data["upstream_inference_cost"])) == PROMPT + 4 * PRICE
    assert (data["total_cost"], data["is_byok"], data["cancelled"], data["streamed"]) == (
        0,
        True,
        False,
        True,
    )
    assert (data["external_user"], data["session_id"], data["model"]) == ("u", "s", MODEL)
    assert (data["tokens_prompt"], data["tokens_completion"], data["finish_reason"]) == (5, 4, "stop")
    assert data["provider_responses"][0]["provider_name"] == "OpenAI"
    assert {"latency", "generation_time", "created_at", "native_tokens_reasoning"} <= set(data)


# --- GET /key and GET /models -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/key", "/auth/key"])
def test_a_key_shows_what_its_calls_have_cost_and_not_itself(path: str):
    async def act(simulator: Simulator) -> Heard:
        await heard_of(simulator, Behaviour(tokens=TOKENS))
        await heard_of(simulator, Behaviour(tokens=TOKENS))
        return await get(simulator, path)

    heard = with_simulator(act)
    data = heard.json["data"]
    assert Decimal(str(data["usage"])) == 2 * (PROMPT + 4 * PRICE)
    assert {"label", "limit", "limit_remaining", "limit_reset", "is_free_tier", "rate_limit"} <= set(data)
    assert KEY.encode() not in heard.body


@pytest.mark.parametrize(("state", "status"), [("exhausted", 200), ("forbidden", 403), ("unknown", 401)])
def test_a_key_without_credit_may_still_ask_what_it_has_spent(state: Any, status: int):
    from server.embedded.openrouter.account import KeySettings

    async def act(simulator: Simulator) -> int | None:
        simulator.account.keys["k"] = KeySettings(state=state)
        return (await get(simulator, "/key", key="k")).status

    assert with_simulator(act) == status


def test_the_listing_is_public_and_says_what_openrouters_does():
    async def act(simulator: Simulator) -> list[dict[str, Any]]:
        return list((await get(simulator, "/models", key="")).json["data"])

    models = {model["id"]: model for model in with_simulator(act)}
    assert set(models) == {model.slug for model in DEFAULT_MODELS}
    mini = models["openai/gpt-4o-mini"]
    assert mini["canonical_slug"] == "openai/gpt-4o-mini-2024-07-18"
    assert mini["pricing"]["prompt"] == "0.00000015"
    assert mini["architecture"]["input_modalities"] == ["text", "image"]
    assert mini["top_provider"] == {
        "context_length": 128_000,
        "max_completion_tokens": 16_384,
        "is_moderated": True,
    }
    assert models["openrouter/auto"]["pricing"]["prompt"] == "-1"
    assert models["anthropic/claude-3-haiku"]["expiration_date"]
    assert all(
        model["pricing"]["completion"] == "0" for slug, model in models.items() if slug.endswith(":free")
    )
