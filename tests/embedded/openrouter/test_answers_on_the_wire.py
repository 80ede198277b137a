"""Every shape of an answer that works, byte for byte as it is asked for."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from server.embedded.openrouter.behaviour import Behaviour, Insertion, Pause
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import MODEL, Heard, a_body, hear, pipelined, with_simulator

TEXT = "Überlegen wir: 😀 first\u2028 the facts, then 👩‍🔧 the wishes.\n\nThen go."


def usages(heard: Heard) -> list[dict[str, Any]]:
    return [chunk for chunk in heard.chunks if "usage" in chunk]


def test_the_head_names_the_generation_and_the_edge_and_shows_no_rate_limits():
    heard, call = hear(Behaviour(text="Hi"))

    assert heard.status == call.status == 200
    assert heard.headers["content-type"] == "text/event-stream"
    assert heard.headers["x-generation-id"] == call.generation_id
    assert heard.headers["server"] == "cloudflare"
    assert "cf-ray" in heard.headers
    assert not [name for name in heard.headers if name.startswith("x-ratelimit")]


def test_without_the_header_only_the_chunks_name_the_generation():
    heard, call = hear(Behaviour(text="Hi", generation_header=False))

    assert "x-generation-id" not in heard.headers
    assert {chunk["id"] for chunk in heard.chunks} == {call.generation_id}


def test_the_layout_of_2026():
    heard, call = hear(Behaviour(tokens=("Hi", " you")))

    assert heard.done
    assert heard.comments == []
    assert [list(chunk) for chunk in heard.chunks] == [
        *[["id", "object", "created", "model", "provider", "system_fingerprint", "choices"]] * 3,
        ["id", "object", "created", "model", "provider", "system_fingerprint", "choices", "usage"],
    ]
    first = heard.chunks[0]
    assert (first["object"], first["model"], first["provider"]) == ("chat.completion.chunk", MODEL, "OpenAI")
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"content": "Hi", "role": "assistant"},
            "finish_reason": None,
            "native_finish_reason": None,
        }
    ]
    assert [delta["content"] for delta in heard.deltas] == ["Hi", " you", "", ""]
    assert heard.finishes == ["stop", "stop"]
    assert call.generation_id is not None
    assert call.generation_id.startswith(f"gen-{first['created']}-")


def test_the_layout_of_2025():
    heard, _ = hear(Behaviour(tokens=("Hi", " you"), layout="2025"))

    assert list(heard.chunks[0]) == ["id", "provider", "model", "object", "created", "choices"]
    assert [delta["content"] for delta in heard.deltas] == ["", "Hi", " you", "", ""]
    assert {choice["logprobs"] for chunk in heard.chunks for choice in chunk["choices"]} == {None}
    assert heard.finishes == ["stop"]
    assert heard.chunks[-1]["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("layout", ["2025", "2026"])
@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_first_chunk_is_independent_of_the_layout(layout: Any, empty: bool):
    heard, _ = hear(Behaviour(tokens=("Hi",), layout=layout, empty_first_chunk=empty))

    assert (heard.deltas[0]["content"] == "") == empty


def test_every_delta_names_the_role():
    heard, _ = hear(Behaviour(text=TEXT, reasoning="Hm."))

    assert {delta["role"] for delta in heard.deltas} == {"assistant"}


@pytest.mark.parametrize("layout", ["2025", "2026"])
@pytest.mark.parametrize(
    ("variant", "choices", "content", "finishes"),
    [
        ("empty_choice", 1, "", 2),
        ("no_choices", 0, None, 1),
        ("with_finish", 1, "", 1),
        ("with_content", 1, " you", 1),
    ],
)
def test_usage_comes_in_every_way(variant: Any, layout: Any, choices: int, content: Any, finishes: int):
    heard, call = hear(Behaviour(tokens=("Hi", " you"), usage=variant, layout=layout))

    (chunk,) = usages(heard)
    assert len(chunk["choices"]) == choices
    assert [choice["delta"]["content"] for choice in chunk["choices"]] == [content] * choices
    assert len(heard.finishes) == (1 if layout == "2025" else finishes)
    assert heard.text == "Hi you"
    usage = chunk["usage"]
    assert usage["prompt_tokens"] == call.usage.prompt_tokens == 5
    assert usage["completion_tokens"] == call.usage.completion_tokens == 2
    assert usage["total_tokens"] == 7
    assert usage["is_byok"] is False


@pytest.mark.parametrize(("asked", "finishes"), [("repeat", 2), ("null", 1)])
@pytest.mark.parametrize("layout", ["2025", "2026"])
def test_the_finish_of_the_usage_chunk_is_independent_of_the_layout(asked: Any, finishes: int, layout: Any):
    heard, _ = hear(Behaviour(text="Hi", usage_finish=asked, layout=layout))

    assert heard.finishes == ["stop"] * finishes


def test_a_stream_may_tell_no_usage():
    heard, call = hear(Behaviour(text="Hi", usage="none"))

    assert usages(heard) == []
    assert heard.done
    assert call.usage.completion_tokens == 1


def test_a_stream_may_end_without_done():
    heard, _ = hear(Behaviour(text="Hi", done=False))

    assert not heard.done
    assert heard.finishes
    assert heard.end == "whole"


def test_a_finish_may_come_twice():
    heard, _ = hear(Behaviour(text="Hi", duplicate_finish=True, usage="none"))

    assert heard.finishes == ["stop", "stop"]


@pytest.mark.parametrize(
    ("reason", "native"),
    [("stop", "stop"), ("length", "max_tokens"), ("content_filter", "SAFETY"), ("tool_calls", "tool_use")],
)
def test_every_finish_reason_has_its_native_word(reason: Any, native: str):
    heard, _ = hear(Behaviour(text="Hi", finish_reason=reason))

    choice = heard.chunks[-1]["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (reason, native)


def test_the_native_word_may_be_any():
    heard, _ = hear(Behaviour(text="Hi", native_finish_reason="end_turn"))

    assert heard.chunks[-1]["choices"][0]["native_finish_reason"] == "end_turn"


def test_the_model_may_answer_under_its_dated_name():
    heard, call = hear(Behaviour(text="Hi", dated_model=True))

    assert {chunk["model"] for chunk in heard.chunks} == {"openai/gpt-4o-mini-2024-07-18"} == {call.served_as}


def test_another_model_than_the_one_asked_for_may_answer():
    heard, call = hear(Behaviour(text="Hi", served_model="x/other", provider="Lambda"))

    assert {(chunk["model"], chunk["provider"]) for chunk in heard.chunks} == {("x/other", "Lambda")}
    assert (call.model, call.served_as, call.provider) == (MODEL, "x/other", "Lambda")


@pytest.mark.parametrize("router", ["openrouter/free", "openrouter/auto"])
def test_a_router_answers_with_the_model_it_picked(router: str):
    heard, call = hear(Behaviour(text="Hi"), model=router)

    (model,) = {chunk["model"] for chunk in heard.chunks}
    assert call.served is not None
    assert model == call.served.slug
    assert model.endswith(":free") == (router == "openrouter/free")


def test_costs_are_exact_decimals_in_the_text():
    heard, _ = hear(Behaviour(tokens=("Hi",)), model="qwen/qwen3-235b-a22b-2507")

    exact = json.loads(heard.data[-2], parse_float=Decimal)["usage"]
    assert exact["cost"] == Decimal("0.000000078") * 5 + Decimal("0.000000312")
    assert b'"cost":7.02e-7,' in heard.data[-2]


def test_with_the_accounts_own_provider_key_only_the_provider_charges():
    heard, call = hear(Behaviour(tokens=("Hi",), byok=True))

    usage = heard.chunks[-1]["usage"]
    assert (usage["cost"], usage["is_byok"]) == (0, True)
    assert Decimal(str(usage["cost_details"]["upstream_inference_cost"])) == call.usage.upstream_cost


def test_a_free_model_costs_nothing():
    heard, _ = hear(Behaviour(text="Hi"), model="meta-llama/llama-3.2-3b-instruct:free")

    assert heard.chunks[-1]["usage"]["cost"] == 0


def test_reasoning_comes_before_the_text_and_is_mirrored():
    heard, call = hear(Behaviour(text="Yes.", reasoning="Let me think. "))

    thoughts = [delta for delta in heard.deltas if delta.get("reasoning")]
    assert "".join(delta["reasoning"] for delta in thoughts) == "Let me think. "
    assert all(delta["content"] == "" for delta in thoughts)
    assert [delta["reasoning_details"][0]["text"] for delta in thoughts] == [d["reasoning"] for d in thoughts]
    assert heard.deltas[: len(thoughts)] == thoughts
    assert heard.text == "Yes."
    told = heard.chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert told == call.usage.reasoning_tokens == 4


def test_line_separators_and_other_scripts_stand_raw_in_the_json():
    heard, call = hear(Behaviour(text=TEXT))

    assert heard.text == call.sent == TEXT
    assert "\u2028" in heard.body.decode()
    assert "😀".encode() in heard.body


@pytest.mark.parametrize("usage", ["empty_choice", "with_content"])
def test_a_character_may_be_cut_into_escaped_halves_over_two_deltas(usage: Any):
    heard, call = hear(Behaviour(tokens=("a😀",), split_surrogates=True, usage=usage))

    contents = [delta["content"] for delta in heard.deltas if delta["content"]]
    assert contents == ["a\ud83d", "\ude00"]
    assert rb"\ud83d" in heard.body
    assert heard.text == call.sent == "a😀"


def test_lone_surrogates_and_nul_are_sent_as_escapes_wherever_text_stands():
    heard, call = hear(Behaviour(tokens=("a\ud83d", "b\0"), reasoning="\ude00", usage="with_content"))

    assert heard.text == call.sent == "a\ud83db\0"
    assert call.seen == "a\ufffdb\ufffd"
    assert heard.deltas[0]["reasoning"] == "\ude00"


def test_comments_come_in_a_burst_and_while_nothing_else_does():
    heard, _ = hear(Behaviour(text="Hi", comments_first=5, first_token_ms=20, comment_every_ms=5))

    assert heard.comments == [b": OPENROUTER PROCESSING"] * 8
    assert heard.body.startswith(b": OPENROUTER PROCESSING\n\n")
    assert heard.body.index(b"data:") > heard.body.rindex(b": OPEN")


@pytest.mark.parametrize(
    ("comments", "before", "within"), [("waiting", 3, 0), ("always", 3, 6), ("none", 0, 0)]
)
def test_silence_is_filled_with_comments_where_they_are_wanted(comments: Any, before: int, within: int):
    heard, _ = hear(
        Behaviour(
            tokens=("One", " two"),
            comments=comments,
            comment_every_ms=5,
            first_token_ms=20,
            pauses=(Pause(at=1, ms=20), Pause(at=9, ms=20)),
        )
    )

    start, _, rest = heard.body.partition(b"data:")
    assert (start.count(b": OPEN"), rest.count(b": OPEN")) == (before, within)


def test_between_slow_tokens_comments_come_too():
    heard, _ = hear(Behaviour(tokens=("a", "b", "c"), interval_ms=12, comments="always", comment_every_ms=5))

    assert len(heard.comments) == 4


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("comment", b": OPENROUTER PROCESSING\n\n"),
        ("empty", b'{"content":"","role":"assistant"}'),
        ("null", b'{"content":null,"role":"assistant"}'),
        ("no_choices", b'"choices":[]}\n\n'),
        ("malformed", b'{"delta":{"cont\n\n'),
        ("unknown_fields", b"event: message\nid: 7\nretry: 1000\nweather: fine\nlonely\ndata: {"),
        ("bom", b"\xef\xbb\xbf"),
        ("raw", b"\r\n: as it is \xed\xa0\x80"),
        ("huge", b"x" * 65_536),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 99])
def test_anything_may_stand_between_the_tokens(what: Any, expected: bytes, at: int):
    text = "\r\n: as it is \ud800"
    plain, _ = hear(Behaviour(tokens=("One", " two"), usage="none", layout="2026"))
    heard, _ = hear(
        Behaviour(
            tokens=("One", " two"), usage="none", insert=(Insertion(at=at, what=what, raw=text, count=2),)
        )
    )

    assert heard.body.count(expected) - plain.body.count(expected) == 2
    place = min(at, 2)
    events = heard.body.partition(expected)[0].count(b'"content":"One"') + heard.body.partition(expected)[
        0
    ].count(b'"content":" two"')
    assert events == place


def test_a_body_may_end_with_the_connection():
    heard, _ = hear(Behaviour(text="Hi", chunked=False))

    assert "transfer-encoding" not in heard.headers
    assert heard.headers["connection"] == "close"
    assert (heard.text, heard.done, heard.end) == ("Hi", True, "whole")


def test_headers_may_be_added_and_replaced():
    heard, _ = hear(Behaviour(text="Hi", headers={"X-New": "1", "Content-Type": "text/plain"}))

    assert (heard.headers["x-new"], heard.headers["content-type"]) == ("1", "text/plain")


def test_a_call_that_does_not_stream_gets_one_completion():
    heard, call = hear(Behaviour(text="a😀", reasoning="Hm.", split_surrogates=True), stream=False)

    choice = heard.json["choices"][0]
    assert heard.json["object"] == "chat.completion"
    assert choice["message"] == {
        "role": "assistant",
        "content": "a😀",
        "refusal": None,
        "reasoning": "Hm.",
    }
    assert choice["finish_reason"] == "stop"
    assert heard.json["usage"]["completion_tokens"] == call.usage.completion_tokens
    assert (call.sent, call.state) == ("a😀", "complete")


def test_a_limit_of_tokens_cuts_where_the_behaviour_obeys_it():
    heard, call = hear(Behaviour(text="0123456789", obey_max_tokens=True), max_tokens=2)
    whole, _ = hear(Behaviour(text="0123456789"), max_completion_tokens=2)

    assert (heard.text, heard.finishes[0], call.finish_reason) == ("01234567", "length", "length")
    assert (whole.text, whole.finishes[0]) == ("0123456789", "stop")


def test_one_connection_carries_one_call_after_another():
    async def act(simulator: Simulator) -> None:
        for number in range(3):
            simulator.script(Behaviour(text=f"Answer {number}"))
        heard = await pipelined(f"{simulator.base_url}/chat/completions", [a_body()] * 3)
        assert [each.text for each in heard] == ["Answer 0", "Answer 1", "Answer 2"]

    with_simulator(act)
