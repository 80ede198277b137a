"""What the auth service says of tokens: asked once for many, kept for a moment, never guessed."""

from __future__ import annotations

import asyncio

import pytest

from server.assessments.accounts import TokenVerdict, UserProfile
from server.assessments.neighbours import NeighbourUnavailable
from server.conversations.principal import BadToken, ExpiredToken, Principal
from server.conversations.refusal import Refusal
from server.gateway.verification import RemoteVerification
from tests.scripted.clock import ManualClock

USER = Principal("51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e08")
GOOD = TokenVerdict(valid=True, user=USER.user)


class AuthServiceThatSays:
    """The auth service, with an answer for everybody; it answers once `answers` is set."""

    def __init__(self, verdict: TokenVerdict | None) -> None:
        self.verdict = verdict
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def verify(self, token: str) -> TokenVerdict:
        self.asked.append(token)
        await self.answers.wait()
        if self.verdict is None:
            raise NeighbourUnavailable("auth", "away")
        return self.verdict

    async def profile(self, token: str) -> UserProfile | None:
        raise AssertionError("nobody asked for a profile")


@pytest.mark.parametrize(
    ("verdict", "refusal"),
    [
        (TokenVerdict(valid=False), BadToken),
        (TokenVerdict(valid=False, expired=True), ExpiredToken),
        (TokenVerdict(valid=True, user="51b4c9d2-6f0c-4f7e-9a59-0d4a3f1c7e09"), BadToken),
        (TokenVerdict(valid=True), BadToken),
        (None, Refusal),
    ],
)
def test_only_a_good_word_for_the_same_user_lets_in(verdict: TokenVerdict | None, refusal: type[Exception]):
    async def go() -> None:
        verification = RemoteVerification(AuthServiceThatSays(verdict), ManualClock())
        with pytest.raises(refusal) as refused:
            await verification.confirm("token", USER)
        assert type(refused.value) is refusal

    asyncio.run(go())


def test_a_word_is_kept_for_a_moment_and_then_asked_for_again():
    async def go() -> None:
        service, clock = AuthServiceThatSays(GOOD), ManualClock()
        verification = RemoteVerification(service, clock)

        for _ in range(3):
            await verification.confirm("token", USER)
        assert service.asked == ["token"]
        clock.advance(16)
        service.verdict = TokenVerdict(valid=False)
        for _ in range(2):
            with pytest.raises(BadToken):
                await verification.confirm("token", USER)
        assert service.asked == ["token"] * 2
        clock.advance(6)
        service.verdict = GOOD
        await verification.confirm("token", USER)

    asyncio.run(go())


def test_an_outage_is_not_kept():
    async def go() -> None:
        service = AuthServiceThatSays(None)
        verification = RemoteVerification(service, ManualClock())
        with pytest.raises(Refusal):
            await verification.confirm("token", USER)
        service.verdict = GOOD
        await verification.confirm("token", USER)

    asyncio.run(go())


def test_many_with_one_token_ask_once_and_one_who_leaves_takes_nothing_from_the_others():
    async def go() -> None:
        service = AuthServiceThatSays(GOOD)
        service.answers.clear()
        verification = RemoteVerification(service, ManualClock())

        asking = [asyncio.create_task(verification.confirm("token", USER)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        service.answers.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)

        assert service.asked == ["token"]
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [None] * 4

    asyncio.run(go())
