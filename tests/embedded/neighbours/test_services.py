"""The neighbours on loopback answer as the real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import jwt
import pytest

from server.embedded.neighbours.neighbours import Neighbours
from server.embedded.neighbours.samples import INDUSTRY, OCEAN, RIASEC, VIA, Sample

USER = "11111111-1111-4111-8111-111111111111"
OTHER = "44444444-4444-4444-8444-444444444444"
RESULT = "22222222-2222-4222-8222-222222222222"
SECRET = "a secret of at least thirty-two bytes"
Act = Callable[[Neighbours, httpx.AsyncClient], Coroutine[Any, Any, None]]


def scene(act: Act) -> None:
    async def played() -> None:
        async with (
            Neighbours(jwt_secret=SECRET) as neighbours,
            httpx.AsyncClient(base_url=neighbours.url, timeout=5, trust_env=False) as client,
        ):
            await act(neighbours, client)

    asyncio.run(played())


def as_service(neighbours: Neighbours, **more: str) -> dict[str, str]:
    return {"X-Internal-Service": "true", "X-Service-Key": neighbours.service_key, **more}


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_result_is_shown_to_whoever_knows_its_id_and_has_todays_names():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.add_result(USER, result_id=RESULT)
        response = await client.get(f"/archive/results/{RESULT}")
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        data = response.json()["data"]
        assert set(data) == {
            "id",
            "user_id",
            "test_data",
            "test_result",
            "raw_responses",
            "is_public",
            "chatbot_id",
            "created_at",
            "updated_at",
        }
        assert data["test_data"] == {
            "riasec": RIASEC,
            "ocean": OCEAN,
            "viaIs": VIA,
            "industryScore": INDUSTRY,
        }

    scene(act)


def test_samples_are_what_the_ecosystem_writes():
    assert len(VIA) == 24
    scores = [*RIASEC.values(), *OCEAN.values(), *VIA.values(), *INDUSTRY.values()]
    assert all(type(score) is int and 0 <= score <= 100 for score in scores)

    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        for language in ("id", "en"):
            neighbours.add_result(USER, result_id=RESULT, sample=Sample(language=language))
            persona = (await client.get(f"/archive/results/{RESULT}")).json()["data"]["test_result"]
            assert set(persona) == {
                *("archetype", "coreMotivators", "learningStyle", "shortSummary", "strengthSummary"),
                *("strengths", "weaknessSummary", "weaknesses", "careerRecommendation", "insights"),
                *("skillSuggestion", "possiblePitfalls", "riskTolerance", "workEnvironment", "roleModel"),
                "developmentActivities",
            }
            for career in persona["careerRecommendation"]:
                assert len(career["careerProspect"]) == 6

    scene(act)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ("assessment_data", {"assessment_data", "persona_profile"}),
        ("top", {"riasec", "ocean", "viaIs", "personaProfile"}),
    ],
)
def test_the_older_shapes_are_there_too(shape: Any, names: set[str]):
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.add_result(USER, result_id=RESULT, sample=Sample(shape=shape))
        data = (await client.get(f"/archive/results/{RESULT}")).json()["data"]
        assert names <= set(data)
        assert not {"test_data", "test_result"} & set(data)

    scene(act)


def test_the_archives_refusals_are_its_own():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.add_result(USER, result_id=RESULT)
        key, path = as_service(neighbours), f"/archive/results/{RESULT}"
        wrong = {"X-Internal-Service": "true", "X-Service-Key": "wrong"}
        assert said(await client.get("/archive/results/7")) == (400, "VALIDATION_ERROR")
        assert said(await client.get(f"/archive/results/{OTHER}")) == (404, "NOT_FOUND")
        assert said(await client.get(path, headers=wrong)) == (401, "INVALID_SERVICE_KEY")
        assert said(await client.put(path, json={"chatbot_id": None})) == (403, "INTERNAL_ENDPOINT")
        for body in ({"chatbot_id": "x"}, {"user_id": OTHER}, {}):
            assert said(await client.put(path, json=body, headers=key)) == (400, "VALIDATION_ERROR")
        assert said(await client.get("/archive/results")) == (401, "UNAUTHORIZED")
        assert said(await client.get("/archive/results", headers=key)) == (400, "MISSING_USER_ID")
        too_many = {"limit": "101", "user_id": USER}
        assert said(await client.get("/archive/results", params=too_many, headers=key)) == (
            400,
            "VALIDATION_ERROR",
        )

    scene(act)


def test_a_list_is_one_users_in_pages():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        mine = [neighbours.add_result(USER) for _ in range(3)]
        neighbours.add_result(OTHER)
        neighbours.add_result(USER, status="failed")
        response = await client.get(
            "/archive/results",
            params={"limit": 2, "page": 2, "status": "completed", "order": "asc"},
            headers=as_service(neighbours, **{"X-User-ID": USER}),
        )
        data = response.json()["data"]
        assert data["pagination"] == {
            "page": 2, "limit": 2, "total": 3, "totalPages": 2, "hasNext": False, "hasPrev": True,
        }  # fmt: skip
        assert [row["id"] in mine for row in data["results"]] == [True]
        assert "test_data" not in data["results"][0]

    scene(act)


def test_the_auth_service_answers_200_whatever_the_token_is_worth():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        good = jwt.encode({"id": USER, "exp": 2**40}, SECRET, algorithm="HS256")
        old = jwt.encode({"id": USER, "exp": 1}, SECRET, algorithm="HS256")
        nobody = jwt.encode({"exp": 2**40}, SECRET, algorithm="HS256")
        answers = {}
        for name, token in {"good": good, "old": old, "nobody": nobody, "none": None}.items():
            response = await client.post("/auth/verify-token", json={"token": token})
            assert response.status_code == 200
            answers[name] = response.json()["data"]
        assert answers == {
            "good": {"valid": True, "user": {"id": USER, "email": None, "user_type": "user"}},
            "old": {"valid": False, "error": "Token has expired"},
            "nobody": {"valid": False, "error": "Invalid token payload"},
            "none": {"valid": False, "error": "Invalid token format"},
        }
        assert said(await client.get("/auth/profile")) == (401, "UNAUTHORIZED")
        bearer = {"Authorization": f"Bearer {good}"}
        assert said(await client.get("/auth/profile", headers=bearer)) == (404, "USER_NOT_FOUND")
        neighbours.add_profile(USER)
        profile = (await client.get("/auth/profile", headers=bearer)).json()["data"]["user"]
        assert profile["profile"]["full_name"] == "Siti Rahmawati"

    scene(act)


def test_the_notification_service_takes_its_own_kinds_and_no_field_it_does_not_know():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        key = as_service(neighbours)

        async def post(
            kind: str, body: dict[str, Any], headers: dict[str, str] | None = None
        ) -> httpx.Response:
            return await client.post(
                f"/notifications/{kind}", json=body, headers=key if headers is None else headers
            )

        complete = {"userId": USER, "jobId": OTHER, "result_id": RESULT, "status": "completed"}
        assert (await post("analysis-complete", complete)).json()["data"]["sent"] is True
        assert said(await post("analysis-failed", complete)) == (400, "VALIDATION_ERROR")
        assert said(await post("analysis-complete", {})) == (400, "VALIDATION_ERROR")
        assert said(await post("analysis-complete", complete, {})) == (401, "UNAUTHORIZED")
        assert said(await post("chatbot-ready", {"userId": USER})) == (404, "NOT_FOUND")
        neighbours.world.tells_chatbot = True
        assert (await post("chatbot-ready", {"userId": USER, "title": "x"})).status_code == 200

    scene(act)
