"""Notices: what a user reads while nothing else can be shown.

Sans-I/O. Sentences are plain words, no model names and no blame; a page may put its own in their place,
by `phase`.
"""

from __future__ import annotations

from protocol.frames import Delta, Interim, Phase
from server.generations.effects import ShowInterim, ShowReasoning
from server.generations.order import GenerationOrder

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


def frame_of(effect: ShowInterim | ShowReasoning, order: GenerationOrder) -> Interim | Delta:
    """The frame that shows it."""
    if isinstance(effect, ShowReasoning):
        return Delta(
            generation=order.generation,
            attempt=effect.attempt,
            at=effect.at,
            text=effect.text,
            kind="reasoning",
        )
    return Interim(
        generation=order.generation,
        phase=effect.phase,
        elapsed_ms=effect.elapsed_ms,
        text=sentence(effect.phase, free=effect.model in order.plan.free),
        model=effect.model,
        next_model=effect.next_model,
    )
