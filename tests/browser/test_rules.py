"""The page's rules, one by one, in the browser that runs them: the wire's own vectors, code points, closes."""

import json
import random
from pathlib import Path
from typing import Any

from protocol.codes import CLOSE_RULES, Advice, CloseCode, advice_for
from server.gateway.pages import page_routes
from tests.browser.scripted_server import ident, scripted_server
from tests.browser.stage import Stage

_WIDGET = Path(__file__).parents[2] / "server" / "widget"
_VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
_STREAMS = json.loads((_VECTORS / "streams.json").read_text())
_ODD_CHARACTERS = "a é 中 👩‍🚀 🏳️‍🌈 \u2028 \ud800 \udc00 \0 क्षि 😀"


def ask(stage: Stage, script: str, argument: Any = None) -> Any:
    """What a function says in a page under the page's policy; it may import the page's modules."""

    async def go() -> Any:
        async with scripted_server() as server, stage.page(server.address, "closing.js") as page:
            return await page.evaluate(script, argument)

    return stage.run(go())


def test_server_frames_leave_the_page_where_the_vectors_say(stage: Stage):
    held = ask(
        stage,
        """async (streams) => {
            const { ChannelView } = await import("/channel.js");
            return streams.map(({ frames, generation }) => {
                const view = new ChannelView();
                for (const frame of frames) view.apply(frame);
                const { text, length, attempt } = view.texts.get(generation) ?? { text: "", length: 0, attempt: 0 };
                const { position, needsSync, needsResume } = view;
                const ended = view.ended.has(generation);
                return { text, at: length, attempt, position, needs_sync: needsSync, needs_resume: needsResume, ended };
            });
        }""",
        _STREAMS,
    )
    for stream, told in zip(_STREAMS, held, strict=True):
        # an ended generation's text is its message's: the page keeps no other
        names = set(told) - {"ended"} - ({"text", "at", "attempt"} if told["ended"] else set())
        assert {name: told[name] for name in names} == {name: stream["expect"][name] for name in names}, (
            stream["name"]
        )


def test_texts_are_counted_and_cut_in_code_points(stage: Stage, seed: int):
    rng = random.Random(seed)
    alphabet = [*"ab é中😀🚀\n", "👩‍🚀", "🏳️‍🌈", "\u200b"]
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(200)]
    cuts = [rng.randrange(len(text) + 3) for text in texts]
    told = ask(
        stage,
        """async ({ texts, cuts }) => {
            const { countPoints, firstPoints } = await import("/points.js");
            return texts.map((text, index) => [countPoints(text), firstPoints(text, cuts[index])]);
        }""",
        {"texts": texts, "cuts": cuts},
    )
    expected = [[len(text), text[:cut]] for text, cut in zip(texts, cuts, strict=True)]
    assert told == expected


def test_what_the_wire_refuses_is_taken_out_before_it_is_sent(stage: Stage):
    escaped = json.dumps(_ODD_CHARACTERS)
    sent = ask(
        stage,
        """async (escaped) => {
            const { sendable } = await import("/points.js");
            return sendable(JSON.parse(escaped));
        }""",
        escaped,
    )
    assert sent == _ODD_CHARACTERS.replace("\0", "").replace("\ud800", "\ufffd").replace("\udc00", "\ufffd")


def test_every_close_code_is_followed_as_the_protocol_advises(stage: Stage):
    codes = [*range(1000, 1016), *range(4000, 5000)]
    told = ask(
        stage,
        """async (codes) => {
            const { adviceFor } = await import("/closing.js");
            return codes.map((code) => adviceFor(code));
        }""",
        codes,
    )
    words = {Advice.RESUME: "resume", Advice.BACK_OFF: "resume", Advice.FETCH_TOKEN: "token"}
    expected = [words.get(advice_for(code), advice_for(code).value) for code in codes]
    assert told == expected
    assert {int(code) for code in CloseCode} == {int(code) for code in CLOSE_RULES}


def test_the_back_off_is_full_jitter_from_half_a_second_to_twenty(stage: Stage):
    told = ask(
        stage,
        """async () => {
            const { backOff, waitForPlace } = await import("/closing.js");
            const tries = [0, 1, 2, 3, 4, 5, 6, 50, 5000];
            return {
                longest: tries.map((each) => backOff(each, 1)), shortest: tries.map((each) => backOff(each, 0)),
                places: [waitForPlace(0), waitForPlace(0.999)],
            };
        }""",
    )
    assert told["longest"] == [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000]
    assert told["shortest"] == [0] * 9
    assert all(each >= 30_000 for each in told["places"])


def _message(number: int, parent: int | None) -> dict[str, Any]:
    return {"id": ident(number), "parent_message_id": None if parent is None else ident(parent)}


_BRANCHES: list[tuple[list[tuple[int, int | None]], dict[int, int], list[int]]] = [
    ([], {}, []),
    ([(1, None), (2, 1), (3, 2)], {}, [1, 2, 3]),
    # what came without a parent follows the one before it
    ([(1, None), (2, None), (3, None)], {}, [1, 2, 3]),
    # answered again: the newest sibling is shown
    ([(1, None), (2, 1), (3, 1)], {}, [1, 3]),
    ([(1, None), (2, 1), (3, 1)], {1: 2}, [1, 2]),
    # and went on after the older one
    ([(1, None), (2, 1), (3, 1), (4, 2), (5, 4)], {}, [1, 2, 4, 5]),
    ([(1, None), (2, 1), (3, 1), (4, 2), (5, 4)], {1: 3}, [1, 3]),
    # a page of history begins in the middle
    ([(7, 6), (8, 7), (9, 7), (10, 9)], {}, [7, 9, 10]),
    # a parent that is not here, and one that is impossible
    ([(1, None), (5, 3), (6, 9)], {}, [1, 5, 6]),
    # the choice of a sibling that is gone
    ([(1, None), (2, 1), (3, 1)], {1: 9}, [1, 3]),
]


def test_the_branch_shown_is_the_newest_or_the_one_picked(stage: Stage):
    shown = ask(
        stage,
        """async (cases) => {
            const { branchOf } = await import("/tree.js");
            return cases.map(([messages, choices]) =>
                branchOf(messages, new Map(choices)).map(({ message }) => message.id));
        }""",
        [
            [
                [_message(*each) for each in messages],
                [[ident(parent), ident(child)] for parent, child in choices.items()],
            ]
            for messages, choices, _ in _BRANCHES
        ],
    )
    assert shown == [[ident(number) for number in branch] for _, _, branch in _BRANCHES]


def _files() -> list[Path]:
    """The files the page is made of: those that are served."""
    return [_WIDGET / (route.path.removeprefix("/") or "index.html") for route in page_routes()]


def test_every_file_of_the_page_is_loaded_from_its_beginning():
    index = (_WIDGET / "index.html").read_text()
    assert len(_files()) > 10
    assert [
        path.name for path in _files() if path.name != "index.html" and f'"{path.name}"' not in index
    ] == []


def test_no_file_of_the_page_makes_markup_of_text_or_asks_another_host():
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    for path in _files():
        text = path.read_text()
        assert [word for word in forbidden if word in text] == [], path.name
        if path.suffix in {".html", ".css", ".svg"}:
            outside = [line for line in text.splitlines() if "://" in line and "www.w3.org" not in line]
            assert outside == [], path.name


def test_every_script_of_the_page_is_served():
    parts = {path.name for path in _WIDGET.iterdir() if path.suffix in {".css", ".html", ".js", ".svg"}}
    assert {path.name for path in _files()} == parts
