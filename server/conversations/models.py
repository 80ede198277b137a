"""Which models a turn may ask, in which order.

Sans-I/O. The chain is configured; the catalogue (what the upstream lists) only takes away what it knows
not to exist, and never everything. Where premium models are kept for what is complex, a premium user's
simple turns go to the free ones first, as the free users' do; nothing is taken away from either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from protocol.codes import ErrorCode
from server.conversations.refusal import Refusal

PremiumFor = Literal["all", "complex"]

COMPLEX_CHARS = 400
"""A question from this length on is complex."""


class Catalogue(Protocol):
    """What the upstream lists. While nothing was fetched yet, everything is assumed to be there."""

    def is_known(self, model: str) -> bool:
        """Whether the model is listed, or nothing is known yet."""
        ...

    def is_free(self, model: str) -> bool:
        """Whether it costs nothing."""
        ...

    def takes_images(self, model: str) -> bool:
        """Whether it takes image parts."""
        ...


@dataclass(frozen=True, slots=True)
class ModelChains:
    """The configured models: `free` for everybody, `premium` first for premium users, `emergency` last.

    `emergency` is only asked where paid models are allowed. `premium_for` complex turns only: simple ones
    have the premium models after the free.
    """

    free: tuple[str, ...]
    premium: tuple[str, ...]
    emergency: tuple[str, ...]
    premium_for: PremiumFor = "all"

    def depends_on_complexity(self, tier: str) -> bool:
        """Whether the order for users of this tier is another one for simple turns."""
        return tier == "premium" and self.premium_for == "complex"

    def for_tier(self, tier: str, *, is_complex: bool = True) -> tuple[str, ...]:
        """Every model a user of this tier may name or fall back to, in order."""
        premium = self.premium if tier == "premium" else ()
        if self.depends_on_complexity(tier) and not is_complex:
            chain = self.free + premium + self.emergency
        else:
            chain = premium + self.free + self.emergency
        return tuple(dict.fromkeys(chain))


def asks_much(content: str, content_type: str, context_type: str) -> bool:
    """Whether a turn is complex: about an assessment, a file, an image, or a long question."""
    return context_type == "assessment" or content_type != "text" or len(content) >= COMPLEX_CHARS


def choose(
    chains: ModelChains,
    catalogue: Catalogue,
    *,
    tier: str,
    wanted: str | None,
    with_image: bool,
    is_complex: bool = True,
) -> tuple[str, ...]:
    """The chain of one turn: the wanted model first.

    Raises:
        Refusal: the wanted model is not one of the tier's, or none takes the image.
    """
    allowed = chains.for_tier(tier, is_complex=is_complex)
    if wanted is not None and wanted not in allowed:
        raise Refusal(ErrorCode.BAD_REQUEST, f"model must be one of: {', '.join(allowed)}.", field="model")
    ordered = tuple(dict.fromkeys(((wanted,) if wanted else ()) + allowed))
    if with_image:
        ordered = tuple(model for model in ordered if catalogue.takes_images(model))
        if not ordered or (wanted is not None and ordered[0] != wanted):
            raise Refusal(
                ErrorCode.BAD_REQUEST, "None of the available models takes images.", field="content_type"
            )
    return tuple(model for model in ordered if catalogue.is_known(model)) or ordered
