"""The demo page's doors (gateway/demo.py): in development only, for whoever has a token."""

from __future__ import annotations

import asyncio

from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.services import EmbeddedServices
from tests.running import INTERNAL_KEY, new_uuid, running_node
from tests.scripted.tokens import SECRET
from tests.scripted.waiting import eventually
from tests.services import Database


def test_an_assessment_is_finished_for_whoever_asks_and_for_nobody_without_a_token(
    services: EmbeddedServices, database: Database
):
    user = new_uuid()

    async def go() -> None:
        async with (
            Neighbours(
                service_key=INTERNAL_KEY, jwt_secret=SECRET, populated=True, pause_seconds=0
            ) as platform,
            running_node(
                services,
                database,
                assessment_service_url=platform.url,
                archive_service_url=platform.url,
                auth_service_url=platform.url,
            ) as running,
        ):
            async with running.http() as nobody:
                for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
                    refused = await nobody.post("/demo/assessments", headers=headers)
                    assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHENTICATED")
            async with running.http(user) as mine:
                # a Host header is anybody's word: where the platform calls back is not taken from it
                answer = await mine.post("/demo/assessments?language=en", headers={"Host": "evil.example"})
                assert answer.status_code == 202
                assessment = answer.json()["assessment_id"]

                async def waits() -> bool:
                    found = (await mine.get(f"/api/chat/assessment/{assessment}/conversation")).json()
                    return bool(found["exists"] and found["messages"])

                await eventually(waits, what="the adviser has said hello")
                told = platform.world.results[assessment]["test_result"]["archetype"]
                assert told.startswith("The ")
            assert set(platform.world.profiles) == {user}

    asyncio.run(go())


def test_where_no_stand_in_answers_the_door_says_so(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with Neighbours(service_key=INTERNAL_KEY, jwt_secret=SECRET) as platform:
            # a service that is no stand-in has other paths only
            for url, status in ((f"{platform.url}/assessment", 404), ("http://127.0.0.1:9", 503)):
                async with (
                    running_node(services, database, assessment_service_url=url) as running,
                    running.http(new_uuid()) as mine,
                ):
                    answer = await mine.post("/demo/assessments")
                    assert answer.status_code == status
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert platform.world.jobs == {}

    asyncio.run(go())


def test_without_an_assessment_service_there_is_no_such_door(services: EmbeddedServices, database: Database):
    async def go() -> None:
        async with running_node(services, database) as running, running.http(new_uuid()) as mine:
            assert (await mine.post("/demo/assessments")).status_code == 404
            assert (await mine.post("/demo/token")).status_code == 201

    asyncio.run(go())
