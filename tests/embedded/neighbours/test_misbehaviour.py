"""The neighbours misbehave as they are told, and remember what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from server.embedded.neighbours.faults import Fault, FaultKind, Service
from server.embedded.neighbours.neighbours import Neighbours
from tests.scripted.waiting import eventually

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


def test_every_fault_is_what_it_says():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.add_result(USER, result_id=RESULT)
        path = f"/archive/results/{RESULT}"

        def set_fault(kind: FaultKind, **other: Any) -> None:
            neighbours.mend()
            neighbours.fault(Fault(service=Service.ARCHIVE, kind=kind, **other))

        set_fault(FaultKind.NOT_FOUND)
        assert said(await client.get(path)) == (404, "NOT_FOUND")
        set_fault(FaultKind.ERROR, status=503, retry_after="7")
        response = await client.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        set_fault(FaultKind.DOWN)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get(path)
        set_fault(FaultKind.MALFORMED)
        response = await client.get(path)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html")
        set_fault(FaultKind.TRUNCATED)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(path)
        set_fault(FaultKind.SILENT)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(path, timeout=0.2)
        set_fault(FaultKind.SLOW, delay_seconds=0.3)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(path, timeout=0.1)
        assert (await client.get(path)).status_code == 200
        # the other services know nothing of it
        assert (await client.post("/auth/verify-token", json={})).status_code == 200

    scene(act)


def test_a_fault_of_some_seconds_passes_by_itself():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.add_result(USER, result_id=RESULT)
        neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.NOT_FOUND, seconds=0.3))
        path = f"/archive/results/{RESULT}"
        assert (await client.get(path)).status_code == 404

        async def there() -> bool:
            return (await client.get(path)).status_code == 200

        passed: Any = there
        await eventually(passed)

    scene(act)


def test_what_was_asked_is_on_record_also_where_nothing_was_answered():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        neighbours.fault(Fault(service=Service.AUTH, kind=FaultKind.DOWN))
        with pytest.raises(httpx.HTTPError):
            await client.post("/auth/verify-token?a=1", json={"token": "x"}, headers={"X-Request-ID": "r"})
        (call,) = neighbours.calls(Service.AUTH)
        assert (call.method, call.path, call.query, call.body, call.status) == (
            "POST",
            "/auth/verify-token",
            {"a": "1"},
            {"token": "x"},
            0,
        )
        assert call.headers["x-request-id"] == "r"
        assert neighbours.calls(Service.ARCHIVE) == []

    scene(act)


def test_another_process_controls_them_over_http():
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        async def tell(name: str, value: Any = None) -> Any:
            response = await client.post(f"/control/{name}", json=value)
            assert response.status_code == 200, response.text
            return response.json()

        made = await tell("results", {"user": USER, "sample": {"shape": "top"}})
        assert (await client.get("/control/results", params=made)).json()["result"]["user_id"] == USER
        await tell("results", {"user": USER, "id": RESULT, "raw": {"user_id": OTHER}})
        assert (await client.get(f"/archive/results/{RESULT}")).json()["data"] == {"user_id": OTHER}
        job = await tell("jobs", {"user": USER, "result": RESULT})
        status = await client.get(f"/assessment/status/{job['id']}", headers=as_service(neighbours))
        assert status.json()["data"]["resultId"] == RESULT
        await tell("profiles", {"user": USER, "name": "Budi"})
        assert neighbours.world.profiles[USER]["profile"]["full_name"] == "Budi"
        await tell("abilities", {"tells_chatbot": True})
        assert neighbours.world.tells_chatbot
        await tell("faults", {"service": "archive", "kind": "error", "status": 418, "path": RESULT})
        assert (await client.get(f"/archive/results/{RESULT}")).status_code == 418
        await tell("mend")
        assert (await client.get(f"/archive/results/{RESULT}")).status_code == 200
        calls = (await client.get("/control/calls", params={"service": "archive"})).json()["calls"]
        assert [call["status"] for call in calls] == [200, 418, 200]
        await tell("reset")
        assert (await client.get("/control/calls")).json() == {"calls": []}
        assert (await client.get(f"/archive/results/{RESULT}")).status_code == 404

    scene(act)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faults", {"service": "archive", "kind": "nonsense"}),
        ("faults", {"service": "nobody", "kind": "down"}),
        ("faults", {"service": "archive", "kind": "down", "secondss": 1}),
        ("faults", "not an object"),
        ("results", {}),
    ],
)
def test_a_control_that_makes_no_sense_is_refused_with_a_reason(name: str, body: Any):
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        response = await client.post(f"/control/{name}", json=body)
        assert response.status_code == 400
        assert response.json()["error"]
        unknown = await client.post("/control/nothing")
        assert unknown.status_code == 404
        assert "POST /control/faults" in unknown.json()["known"]

    scene(act)


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"x" * 100_000,
    ],
)
def test_what_is_no_request_ends_the_connection_and_nothing_else(raw: bytes):
    async def act(neighbours: Neighbours, client: httpx.AsyncClient) -> None:
        host, port = neighbours.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert (await client.get("/control/calls")).status_code == 200

    scene(act)


def test_leaving_ends_also_requests_that_wait_for_ever():
    async def scenario() -> None:
        async with Neighbours() as neighbours:
            neighbours.fault(Fault(service=Service.ARCHIVE, kind=FaultKind.SILENT))
            async with httpx.AsyncClient(trust_env=False) as client:
                asking = asyncio.create_task(client.get(f"{neighbours.url}/archive/results", timeout=60))
                await eventually(lambda: neighbours.faults_met == 1)
                async with asyncio.timeout(5):
                    await neighbours.__aexit__(None, None, None)
                with pytest.raises(httpx.HTTPError):
                    await asking

    asyncio.run(scenario())
