"""Sans-I/O. The bodies of OpenRouter: chunks of a stream, whole completions, usage.

Two layouts are known, captured in 2025 and 2026; they differ in the order of keys, in `logprobs`, in the
first chunk and in the usage chunk. Neither is a contract, which is why both are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Usage:
    """The bill of a call; costs in US dollars, exact."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: Decimal
    upstream_cost: Decimal | None = None

    def as_json(self) -> dict[str, Any]:
        """The `usage` object, costs written as their exact decimals."""
        upstream = None if self.upstream_cost is None else number(self.upstream_cost)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "cost": number(self.cost),
            "is_byok": self.upstream_cost is not None,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "audio_tokens": 0,
                "video_tokens": 0,
            },
            "cost_details": {
                "upstream_inference_cost": upstream,
                "upstream_inference_prompt_cost": number(Decimal(0)),
                "upstream_inference_completions_cost": number(Decimal(0)),
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "image_tokens": 0,
                "audio_tokens": 0,
            },
        }


def number(value: Decimal) -> orjson.Fragment:
    """`value` as a JSON number without loss; small ones in scientific notation, as JavaScript writes them."""
    return orjson.Fragment(str(value.normalize()).lower().encode() if value else b"0")


class Envelope:
    """Builds the chunks of one stream. What does not change from chunk to chunk is encoded once."""

    def __init__(self, *, generation: str, created: int, model: str, provider: str, layout: str) -> None:
        self._old = layout == "2025"
        order = (
            ("id", "provider", "model", "object", "created")
            if self._old
            else ("id", "object", "created", "model", "provider", "system_fingerprint")
        )
        values = {
            "id": generation,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "provider": provider,
            "system_fingerprint": "fp_simulated",
        }
        self._head = b"data: " + orjson.dumps({key: values[key] for key in order})[:-1]
        if self._old:
            self._before = self._head + b',"choices":[{"index":0,"delta":{"role":"assistant","content":'
            self._after = b'},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}\n\n'
        else:
            self._before = self._head + b',"choices":[{"index":0,"delta":{"content":'
            self._after = b',"role":"assistant"},"finish_reason":null,"native_finish_reason":null}]}\n\n'

    def content(self, piece: bytes) -> bytes:
        """A chunk with `piece`, a JSON string or null, as its content."""
        return self._before + piece + self._after

    def reasoning(self, piece: bytes) -> bytes:
        """A chunk of reasoning: `piece`, a JSON string, and the same text mirrored in its details."""
        text = orjson.Fragment(piece)
        details = [{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}]
        return self.chunk([self._choice({"reasoning": text, "reasoning_details": details})])

    def finish(
        self,
        reason: str | None,
        native: str | None,
        usage: Usage | None = None,
        piece: bytes = b'""',
    ) -> bytes:
        """A chunk that carries a finish reason, a usage where one is given, and `piece` as its content."""
        more = {} if usage is None else {"usage": usage.as_json()}
        return self.chunk([self._choice({"content": orjson.Fragment(piece)}, reason, native)], more)

    def usage(self, usage: Usage) -> bytes:
        """A usage chunk without choices."""
        return self.chunk([], {"usage": usage.as_json()})

    def error(self, error: dict[str, Any], *, empty_choices: bool = False) -> bytes:
        """An in-band error: at the top level, with the choice that the documentation shows or with none."""
        choices = [] if empty_choices else [self._choice({"content": ""}, "error", "error")]
        return self.chunk(choices, {"error": error})

    def chunk(self, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> bytes:
        """Any chunk: `choices`, and fields of the top level."""
        tail = orjson.dumps({"choices": choices, **(more or {})})
        return self._head + b"," + tail[1:] + b"\n\n"

    def _choice(
        self, delta: dict[str, Any], reason: str | None = None, native: str | None = None
    ) -> dict[str, Any]:
        full = {"content": "", **delta, "role": "assistant"}
        choice = {"index": 0, "delta": full, "finish_reason": reason, "native_finish_reason": native}
        return {**choice, "logprobs": None} if self._old else choice


def completion(
    *,
    generation: str,
    created: int,
    model: str,
    provider: str,
    text_json: bytes,
    reasoning_json: bytes,
    finish_reason: str,
    native: str,
    usage: Usage | None,
) -> bytes:
    """The body of a call that did not ask to stream."""
    message = {
        "role": "assistant",
        "content": orjson.Fragment(text_json),
        "refusal": None,
        "reasoning": orjson.Fragment(reasoning_json),
    }
    body: dict[str, Any] = {
        "id": generation,
        "provider": provider,
        "model": model,
        "object": "chat.completion",
        "created": created,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish_reason,
                "native_finish_reason": native,
                "logprobs": None,
            }
        ],
        "system_fingerprint": "fp_simulated",
    }
    if usage is not None:
        body["usage"] = usage.as_json()
    return orjson.dumps(body)
