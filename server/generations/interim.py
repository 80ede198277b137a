"""The sentences of notices: what a user reads while nothing else can be shown.

Sans-I/O. Plain words, no model names and no blame; a page may put its own in their place by `phase`.
"""

from __future__ import annotations

from protocol.frames import Phase

_SENTENCES: dict[Phase, str] = {
    "waiting": "I am still working on your answer…",
    "thinking": "I am thinking this through…",
    "stalled": "The answer has paused for a moment; it will go on.",
    "switching": "That is taking too long, so I am trying another way…",
    "recovering": "There was a hiccup on our side; your answer goes on in a moment.",
}
_FREE = "Free models are slow at busy hours; thank you for waiting."


def sentence(phase: Phase, *, free: bool) -> str:
    """The sentence of a notice; waiting for a free model is explained."""
    if free and phase == "waiting":
        return f"{_SENTENCES[phase]} {_FREE}"
    return _SENTENCES[phase]
