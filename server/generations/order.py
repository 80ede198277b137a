"""What a generation is asked to do, and the ports for its two ends: the prompt and the record.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from protocol.codes import ErrorCode
from protocol.frames import Fallback
from server.generations.effects import Plan
from server.generations.sealed import SealedEnd


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: OpenAI-style messages and their estimated tokens."""

    messages: tuple[dict[str, Any], ...]
    tokens: int


PromptFor = Callable[[str], Prompt]
"""The prompt for a model; raises `PromptImpossible` where that model cannot be asked."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What the house knows of an answer that nobody asked for.

    `metadata` is noted beside whatever becomes of it; `text` is what is said where no model says anything.
    """

    metadata: Mapping[str, Any]
    text: str


class PromptImpossible(Exception):  # noqa: N818 - a state of the world, named as one
    """There is nothing to ask: the conversation or the question is gone."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value)
        self.code = code


class PromptSource(Protocol):
    """Builds prompts from what is durable, for a successor that was not there when it began."""

    async def load(self, user: str, conversation: str, reply_to: str | None) -> PromptFor:
        """The prompt of a question; of an opening, where there is none.

        Raises:
            PromptImpossible: the question is gone for good.
            EndUnavailable: the database cannot be asked now.
        """
        ...

    async def opening(self, user: str, conversation: str) -> Opening:
        """What is known of the opening of a conversation. Raises as `load`."""
        ...


class EndUnavailable(Exception):  # noqa: N818
    """The database cannot be reached; nothing is known of the outcome, and asking again is safe."""


class EndWriter(Protocol):
    """Where sealed ends become durable."""

    async def write(self, end: SealedEnd) -> bool:
        """Write it, once. `False`: its conversation is gone, only the bill was kept.

        Raises:
            EndUnavailable
        """
        ...

    async def read(self, user: str, generation: str) -> SealedEnd | None:
        """The end that was written, without its bills; `None` while there is none.

        Raises:
            EndUnavailable
        """
        ...


@dataclass(frozen=True, slots=True)
class GenerationOrder:
    """An accepted turn to answer.

    `events` tell it, in order, as `(kind, body)`: `conversation.created`, `message.created` and so on;
    `generation.started` is added by the runner. `request_id` is the correlation id. Without a `reply_to` it
    answers nothing: it is an opening.
    """

    user: str
    generation: str
    conversation: str
    message: str
    reply_to: str | None
    plan: Plan
    events: tuple[tuple[str, bytes], ...]
    prompt: PromptFor | None
    request_id: str


class _PlanJson(msgspec.Struct, frozen=True):
    chain: tuple[str, ...]
    free: tuple[str, ...]
    fallback: Fallback
    max_tokens: int
    temperature: float
    tier: str
    last_resort: str | None = None


_plans = msgspec.json.Decoder(_PlanJson)


def encode_plan(plan: Plan) -> bytes:
    """A plan as the store and the database keep it."""
    return msgspec.json.encode(
        _PlanJson(
            plan.chain,
            tuple(sorted(plan.free)),
            plan.fallback,
            plan.max_tokens,
            plan.temperature,
            plan.tier,
            plan.last_resort,
        )
    )


def decode_plan(raw: bytes) -> Plan:
    """Read a plan again.

    Raises:
        msgspec.DecodeError: it is none.
    """
    held = _plans.decode(raw)
    return Plan(
        chain=held.chain,
        free=frozenset(held.free),
        fallback=held.fallback,
        max_tokens=held.max_tokens,
        temperature=held.temperature,
        tier=held.tier,
        last_resort=held.last_resort,
    )
