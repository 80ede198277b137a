"""What the doors need of this room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.assessments.advisers import Advisers
from server.assessments.cached import Profiles, Results
from server.assessments.store import AssessmentStore


@dataclass(frozen=True, slots=True)
class AssessmentDesk:
    """The use case, what it is fed with, and what is known. `wall` is seconds since 1970."""

    advisers: Advisers
    results: Results
    profiles: Profiles
    store: AssessmentStore
    wall: Callable[[], float]
