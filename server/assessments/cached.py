"""Results and profiles, asked of the neighbours once and kept for a while in the shared store.

What is kept is the user's own and goes with everything else of them; a store that is away is passed over.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Protocol

import msgspec

from server.assessments.accounts import Accounts, UserProfile
from server.assessments.archive import Archive, NotThere, ResultSummary
from server.assessments.neighbours import NeighbourFailure, NeighbourUnavailable
from server.assessments.results import AssessmentResult
from server.channels.broker import BrokerUnavailable
from server.conversations.assessment import read_assessment
from server.conversations.welcome import language_of_results

log = logging.getLogger(__name__)

RESULT_SECONDS = 600.0
PROFILE_SECONDS = 6 * 3600.0
NO_PROFILE_SECONDS = 300.0

_PROFILE = "profile"


class UserCache(Protocol):
    """Something of a user's, kept for a while. Both raise `BrokerUnavailable`."""

    async def get(self, user: str, name: str) -> bytes | None:
        """What is kept under a name."""
        ...

    async def put(self, user: str, name: str, value: bytes, *, seconds: float) -> None:
        """Keep it for so long."""
        ...


class _Kept(msgspec.Struct, frozen=True):
    context_data: dict[str, Any]
    created_at: datetime | None
    linked: str | None


class Results:
    """Users' results. `archive` is `None` where none is configured: then it is as good as away."""

    def __init__(self, archive: Archive | None, cache: UserCache) -> None:
        self._archive = archive
        self._cache = cache

    async def fresh(self, result_id: str) -> AssessmentResult:
        """A result as the archive has it now, whosever it is.

        Raises:
            NotThere, ResultMalformed, NeighbourUnavailable, NeighbourRefused
        """
        return await self._there().result(result_id)

    async def of(self, user: str, result_id: str, *, keep: bool = True) -> AssessmentResult:
        """A finished result of this user, kept for a while unless `keep` is off.

        Off it must be where nothing says that the user still is: what is kept after their erasure stays.

        Raises:
            NotThere: also where it is somebody else's, or not finished.
            ResultMalformed, NeighbourUnavailable, NeighbourRefused
        """
        kept = await self._kept(user, result_id)
        if kept is not None:
            return kept
        result = await self.fresh(result_id)
        if not result.belongs_to(user) or not result.finished:
            raise NotThere(f"result {result_id}")
        if keep:
            await self.keep(result)
        return result

    async def latest(self, user: str) -> ResultSummary | None:
        """The user's newest one.

        Raises:
            NeighbourUnavailable, NeighbourRefused
        """
        return await self._there().latest(user)

    async def keep(self, result: AssessmentResult) -> None:
        """Keep a finished result."""
        held = _Kept(result.context_data, result.created_at, result.linked_conversation)
        try:
            await self._cache.put(
                result.user, _name_of(result.id), msgspec.json.encode(held), seconds=RESULT_SECONDS
            )
        except BrokerUnavailable:
            log.info("a result could not be kept")

    async def _kept(self, user: str, result_id: str) -> AssessmentResult | None:
        try:
            raw = await self._cache.get(user, _name_of(result_id))
        except BrokerUnavailable:
            return None
        if raw is None:
            return None
        held = msgspec.json.decode(raw, type=_Kept)
        return AssessmentResult(
            id=result_id,
            user=user,
            created_at=held.created_at,
            context_data=held.context_data,
            assessment=read_assessment(held.context_data),
            language=language_of_results(held.context_data),
            linked_conversation=held.linked,
        )

    def _there(self) -> Archive:
        if self._archive is None:
            raise NeighbourUnavailable("archive", "none is configured")
        return self._archive


class Profiles:
    """What users say of themselves. Only their own token opens it, so it is kept for when none is at hand."""

    def __init__(self, accounts: Accounts | None, cache: UserCache) -> None:
        self._accounts = accounts
        self._cache = cache

    async def learn(self, user: str, token: str | None) -> dict[str, Any]:
        """The profile of the user whose token this is, as `context_data` keeps it; empty where unknown."""
        try:
            raw = await self._cache.get(user, _PROFILE)
        except BrokerUnavailable:
            return {}
        if raw is not None:
            known: dict[str, Any] = msgspec.json.decode(raw, type=dict)
            return known
        if token is None or self._accounts is None:
            return {}
        try:
            profile = await self._accounts.profile(token)
        except NeighbourFailure as failure:
            log.info("a profile is not known", extra={"reason": str(failure)})
            return {}
        known = _fields(profile) if profile is not None and profile.user == user else {}
        try:
            seconds = PROFILE_SECONDS if known else NO_PROFILE_SECONDS
            await self._cache.put(user, _PROFILE, msgspec.json.encode(known), seconds=seconds)
        except BrokerUnavailable:
            log.info("a profile could not be kept")
        return known


def _fields(profile: UserProfile) -> dict[str, Any]:
    told = {
        "name": profile.name,
        "date_of_birth": profile.date_of_birth,
        "school": profile.school,
        "city": profile.city,
    }
    return {name: value for name, value in told.items() if value}


def _name_of(result_id: str) -> str:
    return f"result:{result_id}"
