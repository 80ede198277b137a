"""Sans-I/O. Accounts that are there once somebody looks: a made-up name for every user."""

from __future__ import annotations

from typing import Any

from server.embedded.neighbours.people import made_up_name
from server.embedded.neighbours.samples import sample_profile
from server.embedded.neighbours.world import World


def account(world: World, user: str, now: str) -> dict[str, Any]:
    """The user's account: the one there is, or a new one."""
    return world.profiles.setdefault(user, sample_profile(user, name=made_up_name(user), created_at=now))
