"""Sans-I/O. The models on offer: slugs, prices, who runs them, and how they take a partial answer.

Prices are US dollars per token, as OpenRouter lists them. The provider classes are those of its
streaming page: after the reader hangs up some providers stop and bill what was sent, others go on
and bill the whole answer; one that is not listed must be assumed to go on.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Prefill = Literal["continue", "reject", "ignore"]

STOPS_BILLING = frozenset(
    {
        "OpenAI", "Azure", "Anthropic", "Fireworks", "Mancer", "Recursal", "AnyScale", "Lepton", "OctoAI",
        "Novita", "DeepInfra", "Together", "Cohere", "Hyperbolic", "Infermatic", "Avian", "xAI", "Cloudflare",
        "SFCompute", "Nineteen", "Liquid", "Friendli", "Chutes", "DeepSeek",
    }
)  # fmt: skip
FREE_ROUTER = "openrouter/free"
AUTO_ROUTER = "openrouter/auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the listing. `dated` is the permaslug a reply may name instead of the slug."""

    slug: str
    name: str
    provider: str
    context_length: int
    prompt_price: str = "0"
    completion_price: str = "0"
    max_completion_tokens: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    dated: str | None = None
    tokenizer: str = "Other"
    created: int = 1_750_000_000
    prefill: Prefill = "continue"
    reasoning: bool = False
    expires: str | None = None

    @property
    def free(self) -> bool:
        """Whether calls cost nothing and count against the free limits."""
        return self.slug.endswith(":free") or self.slug == FREE_ROUTER

    @property
    def router(self) -> bool:
        """Whether it only picks another model."""
        return self.slug in {FREE_ROUTER, AUTO_ROUTER}

    @property
    def stops_billing(self) -> bool:
        """Whether the provider stops, and bills only what was sent, when the reader hangs up."""
        return self.provider in STOPS_BILLING

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """The exact price of a call in US dollars, to twelve decimals at most."""
        prompt, completion = Decimal(self.prompt_price), Decimal(self.completion_price)
        if self.free or prompt < 0:
            return Decimal(0)
        return prompt * prompt_tokens + completion * completion_tokens

    def listing(self) -> dict[str, Any]:
        """This model as `GET /models` shows it."""
        modality = "+".join(self.input_modalities) + "->text"
        parameters = [
            "frequency_penalty",
            "max_tokens",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_p",
        ]
        if self.reasoning:
            parameters += ["include_reasoning", "reasoning"]
        return {
            "id": self.slug,
            "canonical_slug": self.dated or self.slug.removesuffix(":free"),
            "name": self.name,
            "created": self.created,
            "description": f"{self.name}, simulated. It answers from a script.",
            "context_length": self.context_length,
            "architecture": {
                "modality": modality,
                "input_modalities": list(self.input_modalities),
                "output_modalities": ["text"],
                "tokenizer": self.tokenizer,
                "instruct_type": None,
            },
            "pricing": {
                "prompt": self.prompt_price,
                "completion": self.completion_price,
                "request": "0",
                "image": "0",
            },
            "top_provider": {
                "context_length": self.context_length,
                "max_completion_tokens": self.max_completion_tokens,
                "is_moderated": self.provider in {"OpenAI", "Anthropic"},
            },
            "per_request_limits": None,
            "supported_parameters": parameters,
            "default_parameters": {},
            "expiration_date": self.expires,
        }


_IMAGES = ("text", "image")
DEFAULT_MODELS = (
    Model(slug="qwen/qwen3-235b-a22b-07-25:free", name="Qwen: Qwen3 235B A22B 2507 (free)", provider="Chutes",
          context_length=262_144, tokenizer="Qwen3"),
    Model(slug="qwen/qwen3-235b-a22b-2507", name="Qwen: Qwen3 235B A22B Instruct 2507", provider="Novita",
          context_length=262_144, prompt_price="0.000000078", completion_price="0.000000312",
          tokenizer="Qwen3"),
    Model(slug="meta-llama/llama-3.2-3b-instruct:free", name="Meta: Llama 3.2 3B Instruct (free)",
          provider="Venice", context_length=131_072, tokenizer="Llama3"),
    Model(slug="meta-llama/llama-3.3-70b-instruct:free", name="Meta: Llama 3.3 70B Instruct (free)",
          provider="Together", context_length=65_536, tokenizer="Llama3"),
    Model(slug="openai/gpt-oss-20b:free", name="OpenAI: gpt-oss-20b (free)", provider="OpenInference",
          context_length=131_072, tokenizer="GPT", prefill="ignore", reasoning=True),
    Model(slug="nvidia/nemotron-nano-9b-v2:free", name="NVIDIA: Nemotron Nano 9B V2 (free)",
          provider="Nvidia", context_length=128_000, reasoning=True),
    Model(slug="openai/gpt-4o-mini", name="OpenAI: GPT-4o-mini", provider="OpenAI", context_length=128_000,
          prompt_price="0.00000015", completion_price="0.0000006", max_completion_tokens=16_384,
          input_modalities=_IMAGES, dated="openai/gpt-4o-mini-2024-07-18", tokenizer="GPT", prefill="ignore"),
    Model(slug="anthropic/claude-haiku-4.5", name="Anthropic: Claude Haiku 4.5", provider="Anthropic",
          context_length=200_000, prompt_price="0.000001", completion_price="0.000005",
          max_completion_tokens=64_000, input_modalities=_IMAGES, tokenizer="Claude"),
    Model(slug="anthropic/claude-sonnet-4.6", name="Anthropic: Claude Sonnet 4.6", provider="Anthropic",
          context_length=1_000_000, prompt_price="0.000003", completion_price="0.000015",
          max_completion_tokens=64_000, input_modalities=_IMAGES, tokenizer="Claude", prefill="reject"),
    Model(slug="anthropic/claude-3-haiku", name="Anthropic: Claude 3 Haiku", provider="Amazon Bedrock",
          context_length=200_000, prompt_price="0.00000025", completion_price="0.00000125",
          max_completion_tokens=4_096, input_modalities=_IMAGES, tokenizer="Claude", expires="2026-12-31"),
    Model(slug="google/gemini-2.5-flash", name="Google: Gemini 2.5 Flash", provider="Google",
          context_length=1_048_576, prompt_price="0.0000003", completion_price="0.0000025",
          max_completion_tokens=65_535, input_modalities=_IMAGES, tokenizer="Gemini", reasoning=True),
    Model(slug="deepseek/deepseek-v4-pro", name="DeepSeek: DeepSeek V4 Pro", provider="DeepSeek",
          context_length=163_840, prompt_price="0.00000028", completion_price="0.00000042",
          dated="deepseek/deepseek-v4-pro-20260423", tokenizer="DeepSeek", reasoning=True),
    Model(slug="mistralai/mistral-small-3.2-24b-instruct", name="Mistral: Mistral Small 3.2 24B",
          provider="Mistral", context_length=131_072, prompt_price="0.00000006",
          completion_price="0.00000018", input_modalities=_IMAGES, tokenizer="Mistral"),
    Model(slug=FREE_ROUTER, name="Free Models Router", provider="OpenRouter", context_length=200_000,
          tokenizer="Router"),
    Model(slug=AUTO_ROUTER, name="Auto Router", provider="OpenRouter", context_length=2_000_000,
          prompt_price="-1", completion_price="-1", tokenizer="Router"),
)  # fmt: skip


def route(models: dict[str, Model], asked: Model, seed: str) -> Model:
    """The model that serves a request for `asked`: itself, or what a router picks by `seed`."""
    if not asked.router:
        return asked
    wanted = [m for m in models.values() if not m.router and m.free == asked.free]
    return wanted[zlib.crc32(seed.encode("utf-8", "replace")) % len(wanted)] if wanted else asked
