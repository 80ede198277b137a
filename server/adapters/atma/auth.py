"""The auth service behind `server.assessments.accounts.Accounts`."""

from __future__ import annotations

from server.adapters.atma.documents import data_of, object_of, text_of
from server.adapters.atma.neighbour import Neighbour
from server.assessments.accounts import TokenVerdict, UserProfile
from server.assessments.events import is_uuid
from server.assessments.neighbours import NeighbourUnavailable

_NOT_ACCEPTED = frozenset({400, 401, 403, 404})
_MAX_TOKEN_CHARS = 8192


class AuthService:
    """`Accounts` over HTTP. The service key is no use here, and does not go with a user's token."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def verify(self, token: str) -> TokenVerdict:
        """See `Accounts.verify`."""
        if not _sendable(token):
            return TokenVerdict(valid=False)
        answer = await self._neighbour.ask(
            "POST",
            "/auth/verify-token",
            json={"token": token},
            as_service=False,
            expected=_NOT_ACCEPTED - {404},
        )
        if answer.status in _NOT_ACCEPTED:
            return TokenVerdict(valid=False)
        # it answers 200 whatever the token is worth
        data = data_of(answer.document)
        if data is None or not isinstance(data.get("valid"), bool):
            raise NeighbourUnavailable(self._neighbour.name, "a verdict that says nothing")
        if not data["valid"]:
            said = text_of(data.get("error")) or ""
            return TokenVerdict(valid=False, expired="expired" in said.lower())
        user = object_of(data.get("user")).get("id")
        if not is_uuid(user):
            return TokenVerdict(valid=False)
        return TokenVerdict(valid=True, user=user.lower())

    async def profile(self, token: str) -> UserProfile | None:
        """See `Accounts.profile`."""
        if not _sendable(token):
            return None
        answer = await self._neighbour.ask(
            "GET",
            "/auth/profile",
            headers={"Authorization": f"Bearer {token}"},
            as_service=False,
            expected=_NOT_ACCEPTED,
        )
        if answer.status in _NOT_ACCEPTED:
            return None
        user = object_of((data_of(answer.document) or {}).get("user"))
        identity = user.get("id")
        if not is_uuid(identity):
            raise NeighbourUnavailable(self._neighbour.name, "a profile of nobody")
        profile = object_of(user.get("profile"))
        school = object_of(profile.get("school"))
        return UserProfile(
            user=identity.lower(),
            name=text_of(profile.get("full_name")) or text_of(user.get("username")),
            gender=text_of(profile.get("gender")),
            date_of_birth=text_of(profile.get("date_of_birth")),
            school=text_of(school.get("name")),
            city=text_of(school.get("city")),
        )


def _sendable(token: str) -> bool:
    """Whether it can stand in a header; what cannot is no token of anybody."""
    return 0 < len(token) <= _MAX_TOKEN_CHARS and token.isascii() and token.isprintable() and " " not in token
