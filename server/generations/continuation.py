"""How a model is asked for the rest of an answer that another one began.

Sans-I/O. A user's turn repeats nothing of the persona or the language: it says where the reply stands and
that everything else stays as it is, since an English order in an Indonesian conversation easily changes
its language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from server.generations.effects import Continuation

CONTINUE = (
    "Your previous reply was cut off by a technical fault. Continue it from exactly where it stops: write "
    "only the remainder, beginning with the very next character, even in the middle of a word. Do not repeat "
    "anything that is already there, do not start over, and add no introduction, apology or comment about "
    "the interruption. Keep the language, tone, role and formatting of the reply; a list, table or code "
    "block that is open stays open."
)
"""The user's turn that asks for the rest. Plain English: every model follows it."""

LEAST_TOKENS = 16
"""Some providers refuse a smaller `max_tokens` (OpenRouter's API description)."""


def messages(base: Sequence[dict[str, Any]], partial: str, how: Continuation) -> tuple[dict[str, Any], ...]:
    """The messages that ask for an answer, or for its rest after `partial`.

    `base` is the prompt as for a fresh answer; it is not changed. With `prefill` the partial answer loses its
    trailing whitespace, which Anthropic's models refuse; the seam puts it right again.
    """
    prefill = partial.rstrip()
    if how == "fresh" or not prefill:
        return tuple(base)
    if how == "prefill":
        return (*base, {"role": "assistant", "content": prefill})
    return (*base, {"role": "assistant", "content": partial}, {"role": "user", "content": CONTINUE})


def remaining_tokens(max_tokens: int, partial: str, count: Callable[[str], int]) -> int:
    """What is left of `max_tokens` after `partial`, at least `LEAST_TOKENS`, never more than `max_tokens`."""
    return min(max_tokens, max(LEAST_TOKENS, max_tokens - count(partial)))


def rough_tokens(text: str) -> int:
    """About how many tokens a text is: four ASCII characters each, two others.

    Good enough to shrink a limit; bills are estimated elsewhere, from better counts.
    """
    ascii_chars = len(text.encode("ascii", "ignore"))
    return -(-ascii_chars // 4) + -(-(len(text) - ascii_chars) // 2)
