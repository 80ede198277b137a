"""How a neighbouring service can fail whoever asks it.

Sans-I/O.

    NeighbourFailure
    ├── NeighbourUnavailable   asking again later may help
    └── NeighbourRefused       it will not, until somebody changes something
"""

from __future__ import annotations


class NeighbourFailure(Exception):  # noqa: N818 - a state of the world, named as one
    """A neighbour did not do what it was asked. The reason is for logs, never for users."""

    def __init__(self, neighbour: str, reason: str) -> None:
        super().__init__(f"{neighbour}: {reason}")
        self.neighbour = neighbour
        self.reason = reason


class NeighbourUnavailable(NeighbourFailure):
    """It cannot be reached, is too slow, overloaded, or answers nonsense."""


class NeighbourRefused(NeighbourFailure):
    """It understood, and does not do it: for example our service key is not its."""
