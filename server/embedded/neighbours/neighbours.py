"""The neighbours: four listening services that do what they are told and remember what they were asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never

from server.embedded.neighbours.archive import archive
from server.embedded.neighbours.assessment import assessment
from server.embedded.neighbours.auth import auth
from server.embedded.neighbours.control import control
from server.embedded.neighbours.demo import Demo
from server.embedded.neighbours.doors import Broker
from server.embedded.neighbours.faults import Fault, FaultBook, FaultKind, Service
from server.embedded.neighbours.http import MAX_HEAD_BYTES, Request, Response, refusal, serve
from server.embedded.neighbours.notification import notification
from server.embedded.neighbours.samples import Sample, sample_profile, sample_result
from server.embedded.neighbours.world import Call, World

_PROXY_PAGE = b"<html><head><title>200 OK</title></head><body><center>nginx</center></body></html>"


class Neighbours:
    """Archive, auth, assessment and notification service on one port, as an async context manager.

    Args:
        host: where to listen.
        port: 0 takes a free one.
        service_key: what services show to be let in.
        jwt_secret: by which users' tokens are checked; empty: any signature will do.
        populated: whether whoever has a token has an account.
        data: the file in which what they know is kept; without one it is forgotten at the end.
        broker: where the analysis worker publishes; without one the chat service is told by REST.
        pause_seconds: how long each step of an assessment takes that is finished on demand.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        service_key: str = "neighbours-service-key",
        jwt_secret: str = "",
        populated: bool = False,
        data: Path | None = None,
        broker: Broker | None = None,
        pause_seconds: float = 1.5,
    ) -> None:
        self._host, self._port = host, port
        self.world = World(service_key=service_key, jwt_secret=jwt_secret, populated=populated)
        self._data = data
        self._demo = Demo(self.world, broker, pause_seconds=pause_seconds, changed=self._keep)
        self._faults = FaultBook()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.faults_met = 0
        """How many requests met a fault so far, those still waiting with one included."""

    async def __aenter__(self) -> Self:
        """Remember, and listen.

        Raises:
            OSError: the address is taken, or the file of data cannot be read.
            ValueError: what is in that file is not ours; it says which file.
        """
        if self._data is not None and self._data.exists():
            try:
                self.world.restore(self._data.read_bytes())
            except ValueError as error:
                raise ValueError(f"{self._data}: {error}") from error
        self._server = await asyncio.start_server(
            self._connected, self._host, self._port, limit=MAX_HEAD_BYTES
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, drop all connections, keep what is known."""
        assert self._server is not None
        self._server.close()
        await self._demo.aclose()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._keep()

    @property
    def url(self) -> str:
        """The base URL of each of the four services; the control API is below it too."""
        return f"http://{self._host}:{self._port}"

    @property
    def service_key(self) -> str:
        """What INTERNAL_SERVICE_KEY is set to."""
        return self.world.service_key

    def add_result(
        self,
        user: str,
        *,
        result_id: str = "",
        status: str = "completed",
        sample: Sample | None = None,
        raw: dict[str, Any] | None = None,
    ) -> str:
        """Keep a result of the user's, a sample or the very object given; its id."""
        identity = (result_id or str(uuid.uuid4())).lower()
        what = sample or Sample()
        self.world.results[identity] = (
            sample_result(what, identity=identity, user=user, created_at=_now()) if raw is None else raw
        )
        self.world.listed[identity] = {"status": status, "assessment_name": what.name}
        return identity

    def add_job(
        self, user: str, *, job_id: str = "", status: str = "completed", result: str | None = None
    ) -> str:
        """Keep a job of the user's; its id."""
        identity = (job_id or str(uuid.uuid4())).lower()
        now = _now()
        self.world.jobs[identity] = {
            "jobId": identity,
            "status": status,
            "progress": 100 if status == "completed" else 25,
            "createdAt": now,
            "updatedAt": now,
            "estimatedTimeRemaining": "0 minutes" if status == "completed" else "1-3 minutes",
            "queuePosition": 0,
            "userId": user,
            "userEmail": "siti@example.com",
            "resultId": result,
            "assessmentName": "AI-Driven Talent Mapping",
        }
        return identity

    def add_profile(self, user: str, *, name: str = "Siti Rahmawati") -> None:
        """Keep the profile of a user."""
        self.world.profiles[user.lower()] = sample_profile(user, name=name, created_at=_now())

    def fault(self, fault: Fault) -> None:
        """Set a fault, from now on."""
        self._faults.set(fault, time.monotonic())

    def mend(self) -> None:
        """Take all faults away."""
        self._faults.clear()

    def calls(self, service: Service) -> list[Call]:
        """What a service was asked so far, oldest first; also what a fault stood in the way of."""
        return [call for call in self.world.calls if call.service == service]

    def reset(self) -> None:
        """As new: nothing known, nothing asked, no faults."""
        self.world.clear()
        self._faults.clear()

    def _keep(self) -> None:
        """Write down what is known, whole or not at all, for the owner's eyes."""
        if self._data is None:
            return
        new = self._data.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(self.world.dump())
        new.replace(self._data)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # the stream library would report its own tasks' cancellation as an error
            with contextlib.suppress(asyncio.CancelledError):
                await serve(reader, writer, self._respond)
        finally:
            self._connections.discard(task)

    async def _respond(self, request: Request) -> Response | None:
        name = request.path.split("/", 2)[1]
        if name == "control":
            return control(self, request)
        if name == "demo":
            return self._demo.respond(request)
        if name not in set(Service):
            return refusal(404, "NOT_FOUND", f"Route {request.method} {request.path} not found")
        service = Service(name)
        fault = self._faults.meet(service, request.path, time.monotonic())
        self.faults_met += fault is not None
        try:
            response = await self._fated(service, request, fault)
        except asyncio.CancelledError:
            self._note(service, request, None)
            raise
        self._note(service, request, response)
        if request.method == "PUT":
            self._keep()
        return response

    async def _fated(self, service: Service, request: Request, fault: Fault | None) -> Response | None:
        """What becomes of a request that meets a fault, or none."""
        match None if fault is None else fault.kind:
            case None:
                return self._answer(service, request)
            case FaultKind.NOT_FOUND:
                return refusal(404, "NOT_FOUND", "Analysis result not found")
            case FaultKind.ERROR:
                assert fault is not None
                headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return refusal(fault.status, "INTERNAL_ERROR", "An unexpected error occurred", headers)
            case FaultKind.DOWN:
                return None
            case FaultKind.SLOW:
                assert fault is not None
                await asyncio.sleep(fault.delay_seconds)
                return self._answer(service, request)
            case FaultKind.SILENT:
                await asyncio.Event().wait()
                return None
            case FaultKind.MALFORMED:
                return Response(200, _PROXY_PAGE, content_type="text/html")
            case FaultKind.TRUNCATED:
                whole = self._answer(service, request)
                return Response(whole.status, whole.body, whole.headers, cut=True)
            case kind:
                assert_never(kind)

    def _answer(self, service: Service, request: Request) -> Response:
        match service:
            case Service.ARCHIVE:
                return archive(self.world, request, _now())
            case Service.AUTH:
                return auth(self.world, request, _now())
            case Service.ASSESSMENT:
                return assessment(self.world, request)
            case Service.NOTIFICATION:
                return notification(self.world, request)
            case _:
                assert_never(service)

    def _note(self, service: Service, request: Request, response: Response | None) -> None:
        self.world.note(
            Call(
                service=service.value,
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                body=request.json() if request.body else None,
                status=0 if response is None else response.status,
            )
        )


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
