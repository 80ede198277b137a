"""Which models a turn may ask, in which order.

Sans-I/O. The chain is configured; the catalogue (what the upstream lists) only takes away what it knows
not to exist, and never everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from protocol.codes import ErrorCode
from server.conversations.refusal import Refusal


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

    `emergency` is only asked where paid models are allowed.
    """

    free: tuple[str, ...]
    premium: tuple[str, ...]
    emergency: tuple[str, ...]

    def for_tier(self, tier: str) -> tuple[str, ...]:
        """Every model a user of this tier may name or fall back to, in order."""
        chain = (self.premium if tier == "premium" else ()) + self.free + self.emergency
        return tuple(dict.fromkeys(chain))


def choose(
    chains: ModelChains, catalogue: Catalogue, *, tier: str, wanted: str | None, with_image: bool
) -> tuple[str, ...]:
    """The chain of one turn: the wanted model first.

    Raises:
        Refusal: the wanted model is not one of the tier's, or none takes the image.
    """
    allowed = chains.for_tier(tier)
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
