"""Texts to cut and join, and a seam fed in pieces."""

import random
from collections.abc import Sequence
from itertools import pairwise

import hypothesis.strategies as st

from server.generations.seam import Seam

_VOCABULARY = (
    "kamu punya bakat analitis yang kuat dengan minat besar terhadap riset ilmiah sehingga pekerjaan seperti "
    "peneliti data scientist aktuaris atau dosen sangat cocok untukmu namun jangan lupa melatih keterampilan "
    "sosial agar bisa memimpin tim lintas disiplin besok career guidance depends upon what energises you most "
    "during ordinary weeks rather than grand plans so write down three moments when time disappeared and ask "
    "which skills were involved there 你好世界 数据科学家 探索兴趣 naïve façade résumé über größte Ängström "
    "👩‍🔬 👍🏽 🇮🇩🇯🇵 e\u0301tude कार्यक्षेत्र क्षमता 한국어 연구원 สวัสดี مرحبا"
)
WORDS = tuple(_VOCABULARY.split())
_GAPS = (" ", " ", " ", " ", ", ", ". ", ".\n\n", "\n", "\n- ", ":\n\n* ", " — ", "\n\n## ")

PREAMBLES = (
    "Sure, continuing from where I left off:\n\n",
    "Continuing from where I left off:\n\n",
    "Sure! Here's the rest of my answer:\n\n",
    "Here is the continuation:\n\n",
    "Of course! Continuing:\n\n",
    "Sorry, my answer was cut off. Here is the rest:\n\n",
    "I apologize for the interruption. Let me continue:\n\n",
    "**Continuing:**\n\n",
    "I’ll continue from where I left off.\n\n",
    "Sure!\n\nResuming where I was interrupted:\n\n",
    "Tentu, saya lanjutkan:\n\n",
    "Baik, saya lanjutkan dari bagian yang terputus:\n\n",
    "Berikut adalah lanjutan dari jawaban saya:\n\n",
    "Maaf atas gangguannya. Saya lanjutkan jawaban saya:\n\n",
    "Mohon maaf, jawaban saya terputus. Berikut lanjutannya:\n\n",
    "Mari kita lanjutkan.\n\n",
)


@st.composite
def prose(draw: st.DrawFn, *, least: int = 12, most: int = 110) -> str:
    """A text in which nothing of eight characters comes twice."""
    # a drawn seed, not drawn words: repetition is what the seam looks for, and shrinking loves it
    chance = random.Random(draw(st.integers(0, 2**32)))
    words = chance.sample(WORDS, min(len(WORDS), chance.randint(least, most)))
    text = words[0]
    for word in words[1:]:
        text += chance.choice(_GAPS) + word
    windows = [text[at : at + 8] for at in range(len(text) - 7)]
    if len(set(windows)) < len(windows):  # two gaps of a kind between two like letters
        text = " ".join(words)
    return text


@st.composite
def chunkings(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces, none of them empty."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=12)))
    edges = [0, *cuts, len(text)]
    return [piece for begin, end in pairwise(edges) if (piece := text[begin:end])]


def join_all(
    shown: str,
    chunks: Sequence[str],
    *,
    trimmed: bool = False,
    hold_chars: int = 200,
    pauses: Sequence[float] = (),
) -> str:
    """The text a reader has when a continuation came in these pieces, each after its pause."""
    seam = Seam(shown, hold_chars=hold_chars, hold_seconds=0.7, now=0.0, trimmed=trimmed)
    now, rest = 0.0, list(chunks)
    released: str | None = None
    while rest and released is None:
        later = now + (pauses[len(chunks) - len(rest)] if pauses else 0.0)
        while released is None and seam.deadline is not None and seam.deadline <= later:
            now = seam.deadline
            released = seam.feed("", now)
            assert released is not None or seam.deadline is None or seam.deadline > now
        if released is None:
            now = later
            released = seam.feed(rest.pop(0), now)
    if released is None:
        released = seam.close()
    return shown[: seam.begin] + released + "".join(rest)
