"""What becomes of an analysis' events: its stages are told, and a finished one gets its adviser.

Everything here may happen again at any time: a stage is told once by its row, a result has one conversation
by its row, and what a user deleted or had erased stays gone. So a message is let go of once its effect is
durable, and whatever stands in the way says whether trying again may help.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never

from protocol.frames import Stage
from server.assessments.advisers import Advisers
from server.assessments.archive import NOT_THERE_SECONDS, NotThere
from server.assessments.cached import Profiles, Results
from server.assessments.events import AnalysisEvent
from server.assessments.handling import Reject, Retry
from server.assessments.jobs import Jobs
from server.assessments.neighbours import NeighbourFailure
from server.assessments.results import AssessmentResult, ResultMalformed
from server.assessments.store import AssessmentStore
from server.conversations.refusal import Refusal
from server.conversations.store import NotFound, StoreUnavailable
from server.notifications.stages import notice

log = logging.getLogger(__name__)


class AssessmentFlow:
    """Fulfils `EventHandler`.

    `jobs` is `None` where no assessment service is configured. `not_there_seconds` is how long a result may
    be on its way into the archive.
    """

    def __init__(
        self,
        store: AssessmentStore,
        advisers: Advisers,
        results: Results,
        profiles: Profiles,
        jobs: Jobs | None,
        *,
        wall: Callable[[], float],
        kick: Callable[[], None],
        not_there_seconds: float = NOT_THERE_SECONDS,
    ) -> None:
        self._store = store
        self._advisers = advisers
        self._results = results
        self._profiles = profiles
        self._jobs = jobs
        self._wall = wall
        self._kick = kick
        self._not_there_seconds = not_there_seconds

    async def handle(self, event: AnalysisEvent) -> None:
        """See `EventHandler.handle`."""
        facts = {"stage": event.stage, "assessment": event.assessment, "user": event.user}
        try:
            match event.stage:
                case "analysis_started":
                    await self._tell("analysis_started", event.user, event.assessment)
                case "analysis_failed":
                    log.warning("an analysis failed", extra={**facts, "error": event.error})
                    await self._tell("analysis_failed", event.user, event.assessment)
                case "analysis_complete":
                    await self._complete(event)
                case stage:
                    assert_never(stage)
        except NotFound as gone:
            # erased, or deleted by its user: it is not for an event to bring that back
            log.info("an event comes too late", extra={**facts, "gone": gone.what})
        except StoreUnavailable as error:
            raise Retry("the database is away") from error
        except Refusal as refusal:
            raise Retry(refusal.message) from refusal

    async def _tell(self, stage: Stage, user: str, assessment: str) -> None:
        at = datetime.fromtimestamp(self._wall(), UTC)
        if await self._store.tell(user, assessment, notice(stage, user=user, assessment=assessment, at=at)):
            self._kick()

    async def _complete(self, event: AnalysisEvent) -> None:
        result_id = event.result or await self._result_of_job(event)
        await self._tell("analysis_complete", event.user, result_id)
        result = await self._fetch(event, result_id)
        await self._advisers.begin(
            result,
            trigger="analysis.completed",
            request_id=event.correlation or result_id,
            profile=await self._profiles.learn(event.user, None),
        )
        # only now it is sure that there is somebody to keep it for
        await self._results.keep(result)

    async def _fetch(self, event: AnalysisEvent, result_id: str) -> AssessmentResult:
        try:
            result = await self._results.fresh(result_id)
        except NotThere as error:
            raise Retry(str(error), window_seconds=self._not_there_seconds) from error
        except NeighbourFailure as error:
            raise Retry(str(error)) from error
        except ResultMalformed as error:
            raise Reject(f"the archive's answer cannot be used: {error}") from error
        if not result.belongs_to(event.user):
            raise Reject("the result belongs to somebody else")
        if not result.finished:
            raise Retry(f"result {result_id} is not finished", window_seconds=self._not_there_seconds)
        return result

    async def _result_of_job(self, event: AnalysisEvent) -> str:
        """The result of a job whose event names none."""
        if self._jobs is None or event.job is None:
            raise Reject("the event names no result, and there is nobody to ask for it")
        try:
            job = await self._jobs.job(event.job)
        except NotThere as error:
            raise Retry(str(error), window_seconds=self._not_there_seconds) from error
        except NeighbourFailure as error:
            raise Retry(str(error)) from error
        if job.user != event.user:
            raise Reject("the job belongs to somebody else")
        if job.result is None:
            raise Retry(f"job {event.job} has no result yet", window_seconds=self._not_there_seconds)
        return job.result
