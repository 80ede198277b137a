"""What is asked of archive, auth, assessment and notification service, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from protocol.frames import Stage
from server.adapters.atma.archive import ArchiveService
from server.adapters.atma.assessment import AssessmentService
from server.adapters.atma.auth import AuthService
from server.adapters.atma.neighbour import Neighbour
from server.adapters.atma.notification import NotificationService
from server.assessments.accounts import Accounts, TokenVerdict, UserProfile
from server.assessments.archive import Archive, NotThere
from server.assessments.jobs import Job, Jobs
from server.assessments.neighbours import NeighbourRefused, NeighbourUnavailable
from server.assessments.results import ResultMalformed
from server.conversations.assessment import summarise
from server.embedded.neighbours.faults import Fault, FaultKind, Service
from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.neighbours.samples import Sample, Shape
from server.notifications.stages import notice
from server.notifications.webhook import NotificationWebhook, NotTold
from tests.adapters.atma.support import a_neighbour, a_token, new_id, running_neighbours

LINE = "RIASEC (I: 92, A: 78, S: 66), Big Five (O: 88, C: 75, A: 71), Career Profile: Available"
AT = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)


def scene(act: Callable[[Neighbours, Neighbour], Coroutine[Any, Any, None]], **other: Any) -> None:
    async def played() -> None:
        async with running_neighbours() as neighbours, a_neighbour(neighbours, **other) as neighbour:
            await act(neighbours, neighbour)

    asyncio.run(played())


# --- archive --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["test_data", "assessment_data", "top"])
def test_a_result_is_read_in_any_shape(shape: Shape):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive: Archive = ArchiveService(neighbour)
        user = new_id()
        identity = neighbours.add_result(user, sample=Sample(shape=shape))
        result = await archive.result(identity)
        assert result.belongs_to(user)
        assert summarise(result.assessment) == LINE
        assert result.linked_conversation is None

    scene(act)


def test_a_result_that_is_late_is_not_there_and_then_it_is():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive = ArchiveService(neighbour)
        identity = neighbours.add_result(new_id())
        neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.NOT_FOUND, times=2))
        for _ in range(2):
            with pytest.raises(NotThere, match=identity):
                await archive.result(identity)
        assert (await archive.result(identity)).id == identity
        # each was asked once: the consumer has its own patience
        assert len(neighbours.calls(Service.ARCHIVE)) == 3

    scene(act)


@pytest.mark.parametrize(
    "identity", ["", "7", "../results", "22222222-2222-4222-8222-22222222222/", "a" * 36]
)
def test_what_is_no_id_is_not_there_and_nobody_is_asked(identity: str):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive = ArchiveService(neighbour)
        with pytest.raises(NotThere):
            await archive.result(identity)
        with pytest.raises(NotThere):
            await archive.link(identity, new_id())
        assert neighbours.world.calls == []

    scene(act)


def test_a_result_of_another_id_or_of_nobody_is_malformed():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive = ArchiveService(neighbour)
        raws: list[dict[str, Any]] = [{"id": new_id(), "user_id": new_id()}, {"test_data": {}}]
        for raw in raws:
            identity = neighbours.add_result(new_id(), raw=raw)
            with pytest.raises(ResultMalformed):
                await archive.result(identity)

    scene(act)


def test_a_wrong_service_key_is_a_refusal():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        identity = neighbours.add_result(new_id())
        with pytest.raises(NeighbourRefused, match="401 INVALID_SERVICE_KEY"):
            await ArchiveService(neighbour).result(identity)

    scene(act, service_key="not theirs")


def test_a_conversation_is_linked_and_linking_again_changes_nothing():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive, conversation = ArchiveService(neighbour), new_id()
        identity = neighbours.add_result(new_id())
        await archive.link(identity, conversation)
        await archive.link(identity, conversation)
        assert (await archive.result(identity)).linked_conversation == conversation
        await archive.link(identity, None)
        assert (await archive.result(identity)).linked_conversation is None
        with pytest.raises(NotThere):
            await archive.link(new_id(), conversation)

    scene(act)


def test_the_latest_result_is_the_users_newest_completed_one():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        archive, user = ArchiveService(neighbour), new_id()
        assert await archive.latest(user) is None
        for day, status in ((1, "completed"), (3, "processing"), (2, "completed")):
            raw = {
                "id": f"{day}" * 8 + "-2222-4222-8222-222222222222",
                "user_id": user,
                "created_at": f"2026-03-0{day}T08:30:00.000Z",
            }
            neighbours.add_result(user, result_id=raw["id"], status=status, raw=raw)
        neighbours.add_result(new_id())
        latest = await archive.latest(user)
        assert latest is not None
        assert latest.id == "22222222-2222-4222-8222-222222222222"
        assert latest.user == user
        assert latest.name == "AI-Driven Talent Mapping"
        assert latest.created_at == datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
        call = neighbours.calls(Service.ARCHIVE)[-1]
        assert call.headers["x-user-id"] == user
        assert call.query["limit"] == "1"

    scene(act)


# --- auth -----------------------------------------------------------------------------------


def test_a_tokens_verdict_is_in_the_answer_and_not_in_its_status():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        auth: Accounts = AuthService(neighbour)
        user = new_id()
        assert await auth.verify(a_token(user)) == TokenVerdict(valid=True, user=user)
        assert await auth.verify(a_token(user, seconds=-60)) == TokenVerdict(valid=False, expired=True)
        wrong = a_token(user, secret="another secret of thirty-two bytes!!")
        assert await auth.verify(wrong) == TokenVerdict(valid=False)
        assert await auth.verify("nonsense") == TokenVerdict(valid=False)
        assert {call.status for call in neighbours.calls(Service.AUTH)} == {200}

    scene(act)


@pytest.mark.parametrize("token", ["", "a\r\nX-Evil: 1", "ü", "a b", "a" * 8193, "\0"])
def test_what_cannot_be_sent_is_no_token_and_nobody_is_asked(token: str):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        auth = AuthService(neighbour)
        assert await auth.verify(token) == TokenVerdict(valid=False)
        assert await auth.profile(token) is None
        assert neighbours.world.calls == []

    scene(act)


def test_a_profile_is_asked_for_with_the_users_token_and_never_with_our_key():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        auth, user = AuthService(neighbour), new_id()
        neighbours.add_profile(user, name="Budi Santoso")
        assert await auth.profile(a_token(user)) == UserProfile(
            user=user,
            name="Budi Santoso",
            gender="female",
            date_of_birth="2008-04-17",
            school="SMA Negeri 3 Bandung",
            city="Bandung",
        )
        assert await auth.verify(a_token(user)) == TokenVerdict(valid=True, user=user)
        for call in neighbours.calls(Service.AUTH):
            assert "x-service-key" not in call.headers

    scene(act)


def test_a_profile_may_be_thin_or_missing():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        auth, user = AuthService(neighbour), new_id()
        assert await auth.profile(a_token(user)) is None
        assert await auth.profile(a_token(user, seconds=-60)) is None
        neighbours.world.profiles[user] = {"id": user, "username": "budi", "profile": None}
        assert await auth.profile(a_token(user)) == UserProfile(user=user, name="budi")
        neighbours.world.profiles[user] = {"username": "nobody"}
        with pytest.raises(NeighbourUnavailable, match="nobody"):
            await auth.profile(a_token(user))

    scene(act)


# --- assessment -----------------------------------------------------------------------------


def test_a_job_leads_to_its_result():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        jobs: Jobs = AssessmentService(neighbour)
        user, result = new_id(), new_id()
        done = neighbours.add_job(user, result=result)
        waiting = neighbours.add_job(user, status="processing")
        assert await jobs.job(done) == Job(id=done, user=user, status="completed", result=result)
        assert await jobs.job(waiting) == Job(id=waiting, user=user, status="processing", result=None)
        for unknown in (new_id(), "7"):
            with pytest.raises(NotThere):
                await jobs.job(unknown)

    scene(act)


# --- notification ---------------------------------------------------------------------------


def test_our_own_stages_are_passed_on_with_the_key_that_makes_them_one():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        webhook: NotificationWebhook = NotificationService(neighbour)
        neighbours.world.tells_chatbot = True
        user, told = new_id(), notice("chatbot_ready", user="u", assessment=new_id(), at=AT)
        assert await webhook.tell(user, told.event.notification, once_key=told.once_key)
        (call,) = neighbours.calls(Service.NOTIFICATION)
        assert (call.method, call.path) == ("POST", "/notifications/chatbot-ready")
        assert call.body == {"userId": user, **told.payload["notification"]}
        assert call.headers["idempotency-key"] == told.once_key

    scene(act)


def test_todays_service_knows_no_such_stage_and_that_is_no_failure():
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        told = notice("chatbot_ready", user="u", assessment=new_id(), at=AT)
        webhook = NotificationService(neighbour)
        assert not await webhook.tell(new_id(), told.event.notification, once_key=told.once_key)

    scene(act)


@pytest.mark.parametrize("stage", ["analysis_started", "analysis_complete", "analysis_failed"])
def test_what_it_hears_from_the_broker_itself_is_not_told_twice(stage: Stage):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        told = notice(stage, user="u", assessment=new_id(), at=AT)
        webhook = NotificationService(neighbour)
        assert not await webhook.tell(new_id(), told.event.notification, once_key=told.once_key)
        assert neighbours.calls(Service.NOTIFICATION) == []

    scene(act)


@pytest.mark.parametrize("kind", [FaultKind.DOWN, FaultKind.ERROR, FaultKind.MALFORMED])
def test_a_service_that_cannot_be_told_is_asked_once_and_said_so(kind: FaultKind):
    async def act(neighbours: Neighbours, neighbour: Neighbour) -> None:
        neighbours.fault(Fault(service=Service.NOTIFICATION, kind=kind))
        told = notice("assessment_submitted", user="u", assessment=new_id(), at=AT)
        with pytest.raises(NotTold, match="a neighbour: "):
            await NotificationService(neighbour).tell(
                new_id(), told.event.notification, once_key=told.once_key
            )
        assert len(neighbours.calls(Service.NOTIFICATION)) == 1

    scene(act)
