"""Which model can be asked to go on, and how.

Sans-I/O. One ordered table, first match wins. A user's turn that asks for the rest works everywhere and is
the default; assistant prefill joins better where it is known to work. A model that refuses prefill at
run time is remembered by the machine, so a wrong line here costs one attempt, never an answer.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

Capability = Literal["user_turn", "prefill", "none"]
"""How a model goes on from a partial answer; `none`: it cannot, the answer begins again."""

CAPABILITIES: tuple[tuple[str, Capability], ...] = (
    # extended thinking and prefill exclude each other
    ("*:thinking", "user_turn"),
    # it searches again for every question and numbers its sources anew: two halves do not fit together
    ("perplexity/*", "none"),
    # completion models without turns
    ("openai/*-instruct", "none"),
    # Claude took prefill up to 4.5; from 4.6 on it answers 400 "must end with a user message"
    ("anthropic/claude-2*", "prefill"),
    ("anthropic/claude-3*", "prefill"),
    ("anthropic/claude-instant*", "prefill"),
    ("anthropic/claude-haiku-4.5", "prefill"),
    ("anthropic/claude-sonnet-4", "prefill"),
    ("anthropic/claude-sonnet-4.5", "prefill"),
    ("anthropic/claude-opus-4", "prefill"),
    ("anthropic/claude-opus-4.1", "prefill"),
    ("anthropic/claude-opus-4.5", "prefill"),
    # OpenRouter sets DeepSeek's own `prefix` flag; its reasoners begin to think anew instead
    ("deepseek/deepseek-r1*", "user_turn"),
    ("deepseek/*", "prefill"),
)
"""Patterns of model slugs, in lower case, without a `:free`, `:nitro` or `:floor` suffix."""

_VARIANTS = (":free", ":nitro", ":floor", ":extended", ":exacto")


def capability(model: str) -> Capability:
    """How `model` (a slug) goes on from a partial answer."""
    slug = model.lower()
    for variant in _VARIANTS:
        slug = slug.removesuffix(variant)
    return next((how for pattern, how in CAPABILITIES if fnmatchcase(slug, pattern)), "user_turn")
