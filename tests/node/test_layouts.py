"""Every way OpenRouter is known to lay a good answer out on the wire gives the exact text, and its bill."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from server.embedded.openrouter import tokens
from server.embedded.openrouter.behaviour import Behaviour, Framing, Insertion, InsertionWhat
from server.embedded.services import EmbeddedServices
from tests.node.turns import Case, Turn, ask_all, intended, wrong
from tests.running import MODELS, running_node
from tests.services import Database

TEXT = (
    "\n Überlegen wir: 😀 first\u2028 the facts, then 👩🏽‍🔧 the wishes — data: [DONE]\r\n\r\n"
    '{"choices":[]}\n\n1. 職業\n2. \ufeffnaïve e\u0301 \u202eend '
)
_ODD: tuple[InsertionWhat, ...] = (
    "bom", "comment", "empty", "null", "no_choices", "huge", "unknown_fields", "comment",
)  # fmt: skip
ODDITIES = tuple(Insertion(at=at, what=what, count=3) for at, what in enumerate(_ODD))
STRAYS = "\n\n:\n\nevent: ping\n\ndata:\n\ndata: \n\n: a comment\nretry: 9\n\n"


def case(text: str = TEXT, **fields: Any) -> Case:
    return Case((Behaviour(text=text, **fields),), tokens.clean(text))


def framed(**fields: Any) -> Case:
    return case(framing=Framing(**fields))


LAYOUTS = {
    f"{layout}, usage {usage}, repeated {repeat}, {'an empty chunk first' if empty else 'begun as ever'}": case(
        layout=layout, usage=usage, usage_finish=repeat, empty_first_chunk=empty
    )
    for layout, usage, repeat, empty in itertools.product(
        ("2025", "2026"),
        ("empty_choice", "no_choices", "with_finish", "with_content", "none"),
        ("repeat", "null"),
        (None, True),
    )
}
WRITTEN = {
    f"{newline}, cut {split} {size}, {'space' if space else 'no space'}": framed(
        newline=newline, split=split, size=size, space=space
    )
    for newline, (split, size), space in itertools.product(
        ("lf", "crlf", "cr"),
        (("no", 1), ("bytes", 1), ("bytes", 7), ("utf8", 1), ("field", 1), ("newline", 1)),
        (True, False),
    )
    if space or split in {"no", "field"}
}
OTHERS = {
    **{f"{events} events a write": framed(events_per_write=events) for events in (2, 9, 1000)},
    "a duplicate finish": case(duplicate_finish=True),
    "a duplicate finish with its bill": case(duplicate_finish=True, usage="with_finish"),
    "no DONE": case(done=False),
    "no DONE and no bill": case(done=False, usage="none"),
    "not chunked": case(chunked=False),
    "not chunked, no DONE": case(chunked=False, done=False),
    "a dated model": case(dated_model=True),
    "another served model": case(served_model="qwen/qwen3-235b-a22b-07-25-20260101:free"),
    "no id in the headers": case(generation_header=False),
    "no id in the headers and no bill": case(generation_header=False, usage="none"),
    "surrogates split": case(split_surrogates=True),
    "surrogates split, byte by byte": case(split_surrogates=True, framing=Framing(split="bytes")),
    "comments first": case(comments_first=1_000),
    "comments between": case(comments="always", interval_ms=4, comment_every_ms=1),
    "oddities": case(insert=ODDITIES),
    "oddities, byte by byte": case(insert=ODDITIES[:5], framing=Framing(split="bytes")),
    "oddities with CR": case(insert=ODDITIES[1:], framing=Framing(newline="cr", split="newline")),
    "stray lines": case(insert=tuple(Insertion(at=at, what="raw", raw=STRAYS) for at in (0, 1, 5, 99))),
    "a legal chunk of nearly a megabyte": case(insert=(Insertion(at=3, what="huge", size=1_000_000),)),
    "the account's own provider key": case(byok=True),
    "reasoning before it": case(reasoning="Let me think. 😀 Yes. "),
    "reasoning before it, surrogates split": case(reasoning="Hm 😀 ", layout="2025", split_surrogates=True),
    "NUL and lone surrogates": case(text="a\x00b \ud83d c \ude00\x00 d"),
    "a lone surrogate at the end": case(text="It ends so \ud83d"),
    "one letter": case(text="A"),
    "nothing but white space": case(text=" \n "),
    "a long answer": case(text="".join(f"{number} 職業 😀 " for number in range(1_500))),
    "one delta for all of it": Case((Behaviour(tokens=(TEXT * 40,)),), TEXT * 40),
    "a delta for each character": Case((Behaviour(tokens=tuple(TEXT)),), TEXT),
}


def test_every_layout_gives_the_exact_text_and_the_exact_bill(services: EmbeddedServices, database: Database):
    everything = {**LAYOUTS, **WRITTEN, **OTHERS}

    async def go() -> None:
        async with running_node(services, database) as running:
            clients = [await running.client() for _ in range(4)]
            turns = await ask_all(running, clients, everything)

            assert not wrong((n, t.client.text(t.generation), everything[n].text) for n, t in turns.items())
            ends = {name: await turn.finished() for name, turn in turns.items()}
            assert not wrong(
                (n, (end["status"], end["finish_reason"]), ("completed", "stop")) for n, end in ends.items()
            )
            assert not wrong(
                (n, served_models(end), [turns[n].calls[0].served_as]) for n, end in ends.items()
            )
            assert not wrong((n, turns[n].switches, []) for n in turns)
            await running.assert_holds(*clients, intended=intended(turns, everything))
            # told at the end, or, where the stream did not say it, soon afterwards
            unbilled = [name for name, end in ends.items() if end["usage"]["state"] != "settled"]
            assert sorted(unbilled) == sorted(n for n, c in everything.items() if c.calls[0].usage == "none")
            for name in unbilled:
                told = await turns[name].heard("usage.settled")
                assert told["usage"]["completion_tokens"] == turns[name].calls[0].usage.completion_tokens, (
                    name
                )

    asyncio.run(go())


def served_models(finished: dict[str, list[dict[str, object]]]) -> list[object]:
    return [segment["served_model"] for segment in finished["segments"]]


def test_a_finish_reason_is_told_as_it_came(services: EmbeddedServices, database: Database):
    reasons = ("stop", "length", "content_filter", "tool_calls")
    cases = {reason: case(finish_reason=reason) for reason in reasons}

    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            turns = await ask_all(running, [client], cases)

            ends = {name: await turn.finished() for name, turn in turns.items()}
            assert {name: (end["status"], end["finish_reason"]) for name, end in ends.items()} == {
                reason: ("completed", reason) for reason in reasons
            }
            await running.assert_holds(client, intended=intended(turns, cases))

    asyncio.run(go())


def test_the_router_of_free_models_says_which_one_answered(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running:
            client = await running.client()
            cases = {"routed": Case((Behaviour(text=TEXT),), TEXT, {"model": MODELS[2]})}
            turn: Turn = (await ask_all(running, [client], cases))["routed"]

            finished = await turn.finished()
            (call,) = turn.calls
            assert finished["model"] == MODELS[2]
            assert finished["served_model"] == call.served_as != MODELS[2]
            await running.assert_holds(client, intended={turn.generation: TEXT})

    asyncio.run(go())
