"""Sans-I/O. The JSON of one chunk, as a struct, however the provider behind the gateway spelt it.

Two ways lead to the same `Chunk`. The fast one decodes what well-behaved providers send straight into
structs. Whatever it refuses takes the lenient one: lone surrogate escapes (strict JSON decoders reject
them, yet providers cut a pair over two deltas), raw control characters, broken UTF-8, `NaN`, and values
of unexpected types, which count as absent. Nothing here raises.

Money is read from the JSON text into `Decimal`; it never passes through a float.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

_LARGEST_COUNT = 1 << 53
_LARGEST_COST = Decimal(1_000_000)
_SMALLEST_EXPONENT = -40


class Detail(msgspec.Struct):
    """An entry of `reasoning_details`; `encrypted` ones have neither text nor summary."""

    text: str | None = None
    summary: str | None = None


class Delta(msgspec.Struct):
    """What a choice adds. `reasoning` may be mirrored in `reasoning_details`."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Detail] | None = None


class Choice(msgspec.Struct):
    """One choice: `delta` in a stream, `message` or `text` where a whole completion came instead."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: dict[str, Any] | str | None = None


class CompletionDetails(msgspec.Struct):
    """How the completion tokens divide."""

    reasoning_tokens: int | None = None


class CostDetails(msgspec.Struct):
    """What the provider took; the real charge where the account brings its own provider key."""

    upstream_inference_cost: Decimal | None = None


class Usage(msgspec.Struct):
    """The bill, in native tokens and US dollars."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None
    is_byok: bool | None = None
    cost_details: CostDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Chunk(msgspec.Struct):
    """One chunk, or one whole completion. `object` and `message` only matter in errors."""

    id: str | None = None
    model: str | None = None
    object: str | None = None
    message: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: dict[str, Any] | str | None = None


_fast = msgspec.json.Decoder(Chunk)


def decode_chunk(payload: bytes) -> Chunk | None:
    """The chunk in `payload`, or `None` when that is no JSON object."""
    try:
        return _fast.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode_leniently(payload)


def decode_leniently(payload: bytes) -> Chunk | None:
    """The same, for everything JSON can hold: a value of an unexpected type counts as absent."""
    document = parse_json(payload)
    if not isinstance(document, dict):
        return None
    choices = document.get("choices")
    return Chunk(
        id=_text(document.get("id")),
        model=_text(document.get("model")),
        object=_text(document.get("object")),
        message=_text(document.get("message")),
        choices=[_choice(entry) for entry in choices if isinstance(entry, dict)]
        if isinstance(choices, list)
        else None,
        usage=_usage(document.get("usage")),
        error=_error(document.get("error")),
    )


def parse_json(payload: bytes) -> Any:
    """Any JSON, with decimals as `Decimal` and lone surrogates kept; `None` when it is none."""
    try:
        return json.loads(payload.decode("utf-8", "replace"), strict=False, parse_float=_decimal)
    except (ValueError, RecursionError):
        return None


def token_count(value: object) -> int | None:
    """A count of tokens from a JSON value, or `None` when it is no sane one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    return int(value) if 0 <= value <= _LARGEST_COUNT else None


def money(value: object) -> Decimal | None:
    """An amount of US dollars from a JSON value, or `None` when it is no sane one."""
    if isinstance(value, str):
        value = _decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount <= _LARGEST_COST:
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and exponent >= _SMALLEST_EXPONENT else None


def _decimal(literal: str) -> Decimal:
    try:
        return Decimal(literal)
    except InvalidOperation:  # an exponent beyond anything
        return Decimal("NaN")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _error(value: object) -> dict[str, Any] | str | None:
    return value if isinstance(value, dict | str) else None


def _choice(entry: dict[str, Any]) -> Choice:
    index = entry.get("index")
    return Choice(
        index=index if isinstance(index, int) and not isinstance(index, bool) else 0,
        delta=_delta(entry.get("delta")),
        message=_delta(entry.get("message")),
        text=_text(entry.get("text")),
        finish_reason=_text(entry.get("finish_reason")),
        native_finish_reason=_text(entry.get("native_finish_reason")),
        error=_error(entry.get("error")),
    )


def _delta(value: object) -> Delta | None:
    if not isinstance(value, dict):
        return None
    details = value.get("reasoning_details")
    return Delta(
        content=_content(value.get("content")),
        reasoning=_text(value.get("reasoning")),
        reasoning_content=_text(value.get("reasoning_content")),
        reasoning_details=[
            Detail(text=_text(entry.get("text")), summary=_text(entry.get("summary")))
            for entry in details
            if isinstance(entry, dict)
        ]
        if isinstance(details, list)
        else None,
    )


def _content(value: object) -> str | None:
    # Content parts instead of a string: their texts are the content.
    if isinstance(value, list):
        return "".join(
            part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return _text(value)


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    costs = value.get("cost_details")
    completion = value.get("completion_tokens_details")
    return Usage(
        prompt_tokens=token_count(value.get("prompt_tokens")),
        completion_tokens=token_count(value.get("completion_tokens")),
        cost=money(value.get("cost")),
        is_byok=value.get("is_byok") is True,
        cost_details=CostDetails(upstream_inference_cost=money(costs.get("upstream_inference_cost")))
        if isinstance(costs, dict)
        else None,
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=token_count(completion.get("reasoning_tokens"))
        )
        if isinstance(completion, dict)
        else None,
    )
