"""What models write, as the page shows it: right, the same while it grows and afterwards, and harmless."""

import random
import re
from pathlib import Path
from typing import Any

from tests.browser.markdown_cases import HOSTILE, LIVE, SCRAPS, SHOWN
from tests.browser.scripted_server import scripted_server
from tests.browser.stage import Stage

_PAGES = Path(__file__).parents[2] / "server" / "embedded" / "openrouter" / "pages"

_OUTLINE = """
    // elements and texts; of attributes only what means something to a reader
    const KEPT = { A: ["href"], OL: ["start"], TD: ["class"], TH: ["class"], INPUT: ["checked"] };
    function outline(node) {
        if (node.nodeType === Node.TEXT_NODE) return node.data;
        if (node.className === "caret") return "▮";
        const inside = [...node.childNodes].map(outline).join("");
        if (node.nodeName === "DIV") return inside;
        if (node.nodeName === "FIGURE") return `<code ${node.querySelector("span").textContent}>` +
            [...node.querySelector("code").childNodes].map(outline).join("") + "</code>";
        const name = node.nodeName.toLowerCase();
        const loose = node.classList.contains("loose") ? " loose" : "";
        const kept = (KEPT[node.nodeName] ?? []).filter((each) => node.hasAttribute(each));
        const attributes = kept.map((each) => ` ${each}=${node.getAttribute(each)}`).join("");
        return `<${name}${loose}${attributes}>${inside}</${name}>`;
    }
"""

_INSPECT = """
    // everything that is there must be something the page builds
    const ELEMENTS = new Set(("P H3 H4 H5 H6 HR BLOCKQUOTE UL OL LI INPUT FIGURE FIGCAPTION SPAN BUTTON PRE CODE " +
        "DIV TABLE THEAD TBODY TR TH TD EM STRONG DEL A BR").split(" "));
    const ATTRIBUTES = new Set(("dir class data-level start type disabled checked aria-label aria-hidden tabindex " +
        "role scope href title target rel").split(" "));
    function inspect(root) {
        const wrong = [];
        for (const node of root.querySelectorAll("*")) {
            if (!ELEMENTS.has(node.nodeName)) wrong.push(node.nodeName);
            for (const { name, value } of node.attributes) if (!ATTRIBUTES.has(name)) wrong.push(`${name}=${value}`);
            if (node.nodeName !== "A") continue;
            if (!["http:", "https:"].includes(node.protocol)) wrong.push(node.href);
            if (!node.rel.includes("noopener") || node.target !== "_blank") wrong.push(node.outerHTML);
        }
        return wrong;
    }
"""


def _documents(rng: random.Random) -> list[str]:
    """The stand-in's pages, the cases above, all of them in one, and scraps thrown together."""
    sections = [
        section.strip()
        for page in sorted(_PAGES.glob("*.md"))
        for section in re.split(r"<!--.*?-->", page.read_text(), flags=re.DOTALL)
    ]
    cases = [text for text, _ in (*SHOWN, *LIVE)]
    thrown = ["".join(rng.choices(SCRAPS, k=rng.randrange(3, 40))) for _ in range(60)]
    return [*filter(None, sections), *thrown, "\n\n".join(cases), "\n".join(cases), "\n".join(HOSTILE)]


def in_page(stage: Stage, script: str, argument: Any) -> Any:
    """What a function says in a page that has a `MarkdownView`, `outline` and `inspect`."""
    body = f"""async (argument) => {{
        const {{ MarkdownView }} = await import("/markdown.js");
        {_OUTLINE}{_INSPECT}
        return await ({script})(argument);
    }}"""

    async def go() -> Any:
        async with scripted_server() as server, stage.page(server.address, "closing.js") as page:
            requests: list[str] = []
            page.on("request", lambda request: requests.append(request.url))
            told = await page.evaluate(body, argument)
            assert [url for url in requests if not url.startswith(server.address)] == []
            assert await page.evaluate("window.hacked") is None
            return told

    return stage.run(go())


_SHOW = """(cases) => cases.map(([text, live]) => {
    const root = document.createElement("div");
    new MarkdownView(root).update(text, { live });
    return outline(root);
})"""


def test_markdown_is_shown_as_it_is_meant(stage: Stage):
    shown = in_page(stage, _SHOW, [[text, False] for text, _ in SHOWN])
    assert list(zip((text for text, _ in SHOWN), shown, strict=True)) == SHOWN


def test_a_growing_text_is_shown_without_its_half_written_marks(stage: Stage):
    shown = in_page(stage, _SHOW, [[text, True] for text, _ in LIVE])
    assert list(zip((text for text, _ in LIVE), shown, strict=True)) == LIVE


def test_links_open_elsewhere_and_tell_nobody_where_from(stage: Stage):
    links = in_page(
        stage,
        """(text) => {
            const root = document.createElement("div");
            new MarkdownView(root).update(text);
            return [...root.querySelectorAll("a")].map(({ rel, target, title }) => [rel, target, title]);
        }""",
        "[a](https://x.example/y) <https://y.example> https://z.example ![i](https://i.example/a.png)",
    )
    hosts = ["x.example", "y.example", "z.example", "i.example"]
    assert links == [["noopener noreferrer nofollow", "_blank", host] for host in hosts]


def test_hostile_text_stays_text_however_it_is_cut_into_deltas(stage: Stage):
    wrong = in_page(
        stage,
        """async (payloads) => {
            const wrong = [];
            for (const payload of payloads) {
                for (const step of [1, 2, 3, 7, payload.length]) {
                    const root = document.body.appendChild(document.createElement("div"));
                    const view = new MarkdownView(root);
                    for (let end = step; end < payload.length + step; end += step) {
                        view.update(payload.slice(0, end), { live: true });
                        wrong.push(...inspect(root).map((each) => [payload.slice(0, end), each]));
                    }
                    view.update(payload);
                    wrong.push(...inspect(root).map((each) => [payload, each]));
                    for (const link of root.querySelectorAll("a")) link.dispatchEvent(new MouseEvent("mouseover"));
                }
            }
            // give whatever was planted the time to run
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            return wrong;
        }""",
        HOSTILE,
    )
    assert wrong == []


def test_a_text_that_grew_looks_like_one_from_history(stage: Stage, seed: int):
    rng = random.Random(seed)
    cases = []
    for text in _documents(rng):
        points, at = list(text), 0
        prefixes = []
        while at < len(points):
            # sometimes another attempt cuts some of it away
            back = rng.randrange(min(at, 60) + 1) if rng.random() < 0.05 else 0
            at = min(at - back + rng.choice((1, 1, 2, 3, 5, 8, 30)), len(points))
            prefixes.append(len("".join(points[:at]).encode("utf-16-le")) // 2)
        cases.append([text, prefixes])
    differences = in_page(
        stage,
        """(cases) => {
            const differences = [];
            for (const [text, prefixes] of cases) {
                const root = document.createElement("div");
                const view = new MarkdownView(root);
                const compare = (prefix, live) => {
                    view.update(prefix, { live });
                    const fresh = document.createElement("div");
                    new MarkdownView(fresh).update(prefix, { live });
                    if (!fresh.isEqualNode(root)) differences.push([prefix, live, root.innerHTML, fresh.innerHTML]);
                };
                for (const end of prefixes) compare(text.slice(0, end), true);
                compare(text, false);
                if (inspect(root).length) differences.push([text, inspect(root)]);
                if (differences.length) break;
            }
            return differences.slice(0, 1);
        }""",
        cases,
    )
    assert differences == []


def test_a_new_delta_builds_only_the_end_anew(stage: Stage):
    told = in_page(
        stage,
        """([before, table, more]) => {
            const root = document.createElement("div");
            const view = new MarkdownView(root);
            view.update(before + table, { live: true });
            const nodes = [...root.children];
            const rows = [...root.querySelectorAll("tr")];
            const words = root.querySelector("p").firstChild;
            let touched = 0;
            const watch = new MutationObserver(() => {});
            watch.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
            for (let end = 1; end <= more.length; end += 1) {
                view.update(before + table + more.slice(0, end), { live: true });
                for (const { target } of watch.takeRecords()) if (!nodes.at(-1).contains(target)) touched += 1;
            }
            const kept = nodes.every((node, index) => root.children[index] === node);
            const keptRows = rows.every((row, index) => root.querySelectorAll("tr")[index] === row);
            return { touched, kept, keptRows, words: words.isConnected || root.contains(words) };
        }""",
        ["First.\n\nSecond.\n\n", "| a | b |\n|--|--|\n| 1 | 2 |\n", "| 3 | 4 |\n| 5 | six"],
    )
    assert told == {"touched": 0, "kept": True, "keptRows": True, "words": True}


def test_no_text_takes_the_page_away(stage: Stage):
    many = 6_000
    monsters = [
        "*" * many, "a*" * many, "*a _b " * (many // 4), "[" * many, "[a](" * (many // 4), "`" * many,
        "`a" * many, "``a`" * (many // 4), ">" * many, "> " * many, "- " * many, "![" * many, "<" * many,
        "&" * many, "\\" * many, "|" * many, "| a " * many, "# " * many, " " * many + "a", "a" + " " * many + "b",
        "#" + " " * many + "a", "-" * many + "a", "- " * many + "a", "https://" * (many // 4), "https://x." + "." * many,
        "1. " * many, "\n" * many, "\t" * many + "x", "(((" * many, "[a](b" + "(" * many, "~~a" * many,
        "\n".join("  " * depth + "- a" for depth in range(200)), "\n".join("> " * depth + "a" for depth in range(200)),
        "**a" * (many // 4) + "b**" * (many // 4),
    ]  # fmt: skip
    lengths = in_page(
        stage,
        """(monsters) => monsters.map((text) => {
            const root = document.createElement("div");
            const view = new MarkdownView(root);
            view.update(text.slice(0, -1), { live: true });
            view.update(text, { live: true });
            view.update(text);
            return inspect(root).length;
        })""",
        monsters,
    )
    assert lengths == [0] * len(monsters)
