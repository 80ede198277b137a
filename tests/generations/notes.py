"""Plans and notes with defaults."""

from typing import Any

import hypothesis.strategies as st

from server.generations.effects import AttemptNote, Plan
from server.generations.upstream import UsageReported

CHAIN = ("a/one:free", "b/two:free", "c/three")


def a_plan(*chain: str, **changes: Any) -> Plan:
    models = chain or CHAIN
    fields: dict[str, Any] = {
        "chain": models,
        "free": frozenset(model for model in models if model.endswith(":free")),
        "fallback": "continue",
        "max_tokens": 1000,
        "temperature": 0.7,
    }
    return Plan(**fields | changes)


def a_note(attempt: int = 1, model: str = CHAIN[0], **changes: Any) -> AttemptNote:
    fields: dict[str, Any] = {"start": 0, "to": 0, "reached": True}
    return AttemptNote(attempt, model, **fields | changes)


def failed(*failures: tuple[str, str]) -> list[AttemptNote]:
    """Notes of attempts of these models that failed like this, one after the other."""
    return [a_note(number, model, failure=failure) for number, (model, failure) in enumerate(failures, 1)]


_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_counts = st.integers(0, 10**6)
usages = st.builds(
    UsageReported,
    _counts,
    _counts,
    _counts,
    st.decimals(0, 100, allow_nan=False, allow_infinity=False, places=12),
)
notes = st.builds(
    AttemptNote,
    attempt=st.integers(1, 9),
    model=_words,
    start=_counts,
    to=_counts,
    served_model=st.none() | _words,
    generation_id=st.none() | _words,
    key=st.none() | _words,
    reached=st.booleans(),
    usage=st.none() | usages,
    failure=st.none() | _words,
    prompt_tokens_estimate=_counts,
    completion_chars=_counts,
    finish=st.none() | _words,
    refused=st.booleans(),
)
