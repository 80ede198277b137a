"""Sans-I/O. What OpenRouter's listing says of models.

The listing changes weekly and free variants come and go, so it informs and never forbids: before it was
fetched, and for aliases it does not hold, every question gets the answer that lets a call go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from server.adapters.openrouter.chunks import parse_json

FREE_ROUTER = "openrouter/free"

# Variants that only change routing; `:free` and the like are listed as models of their own.
_ROUTING_VARIANTS = frozenset({"nitro", "floor", "online", "exacto"})


@dataclass(frozen=True, slots=True)
class Model:
    """One model: context in tokens, `None` where the listing does not say."""

    slug: str
    context_length: int | None
    max_completion_tokens: int | None
    takes_images: bool
    free: bool
    expires: date | None


def parse_listing(body: bytes) -> dict[str, Model] | None:
    """Models by slug, dated slugs included, or `None` when `body` is no listing. Odd entries are left out."""
    document = parse_json(body)
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    models: dict[str, Model] = {}
    dated: dict[str, Model] = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            model = _model(entry["id"], entry)
            models[model.slug] = model
            if isinstance(entry.get("canonical_slug"), str):
                dated.setdefault(entry["canonical_slug"], model)
    return {**dated, **models} if models else None


class Catalogue:
    """The models as last listed; empty until the first listing came."""

    def __init__(self) -> None:
        self._models: Mapping[str, Model] = {}

    def update(self, models: Mapping[str, Model]) -> None:
        """Take over a new listing."""
        self._models = models

    @property
    def fetched(self) -> bool:
        """Whether there is a listing at all."""
        return bool(self._models)

    def find(self, slug: str) -> Model | None:
        """The listed model, looked up without a routing variant such as `:nitro`."""
        model = self._models.get(slug)
        if model is None:
            base, _, variant = slug.rpartition(":")
            if variant in _ROUTING_VARIANTS:
                model = self._models.get(base)
        return model

    def is_known(self, slug: str) -> bool:
        """Whether a call may work: false only for a plain slug that an existing listing does not hold."""
        if not self._models or slug.startswith(("openrouter/", "~")):
            return True
        return self.find(slug) is not None

    def context_length(self, slug: str) -> int | None:
        """Tokens of prompt and answer together, if known."""
        model = self.find(slug)
        return model.context_length if model is not None else None

    def takes_images(self, slug: str) -> bool:
        """Whether the model is known to take images."""
        model = self.find(slug)
        return model is not None and model.takes_images

    def is_free(self, slug: str) -> bool:
        """Whether calls cost nothing: by name, or by listed prices of zero."""
        if slug.endswith(":free") or slug == FREE_ROUTER:
            return True
        model = self.find(slug)
        return model is not None and model.free

    def problems(self, slugs: Iterable[str]) -> dict[str, str]:
        """What an operator should know of these models: slug to a sentence's predicate."""
        found: dict[str, str] = {}
        for slug in slugs:
            model = self.find(slug)
            if not self.is_known(slug):
                found[slug] = "is not in OpenRouter's listing"
            elif model is not None and model.expires is not None:
                found[slug] = f"will be retired on {model.expires.isoformat()}"
        return found


def _model(slug: str, entry: Mapping[str, Any]) -> Model:
    architecture, provider = _object(entry.get("architecture")), _object(entry.get("top_provider"))
    modalities = architecture.get("input_modalities")
    pricing = _object(entry.get("pricing"))
    return Model(
        slug=slug,
        context_length=_count(entry.get("context_length")) or _count(provider.get("context_length")),
        max_completion_tokens=_count(provider.get("max_completion_tokens")),
        takes_images=isinstance(modalities, list) and "image" in modalities,
        free=slug.endswith(":free")
        or slug == FREE_ROUTER
        or (_is_zero(pricing.get("prompt")) and _is_zero(pricing.get("completion"))),
        expires=_date(entry.get("expiration_date")),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _is_zero(price: object) -> bool:
    if isinstance(price, bool) or not isinstance(price, str | int | Decimal):
        return False
    try:
        return Decimal(price) == 0
    except InvalidOperation:
        return False


def _date(value: object) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None
