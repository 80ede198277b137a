"""The control API: tests in another process put things in, set faults, and read what was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from server.embedded.neighbours.faults import Fault
from server.embedded.neighbours.http import Request, Response, answer
from server.embedded.neighbours.samples import Sample

if TYPE_CHECKING:  # the neighbours own this; a run-time import would be a cycle
    from server.embedded.neighbours.neighbours import Neighbours


class _Result(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A sample to keep, or `raw`: the very object to answer with."""

    user: str
    id: str = ""
    status: str = "completed"
    sample: Sample = msgspec.field(default_factory=Sample)
    raw: dict[str, Any] | None = None


class _Job(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    user: str
    id: str = ""
    status: str = "completed"
    result: str | None = None


class _Profile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    user: str
    name: str = "Siti Rahmawati"


class _Abilities(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    tells_chatbot: bool


def control(neighbours: Neighbours, request: Request) -> Response:
    """Answer a request below `/control`."""
    handler = _HANDLERS.get((request.method, request.path.removeprefix("/control/")))
    if handler is None:
        known = [f"{method} /control/{name}" for method, name in _HANDLERS]
        return answer({"error": f"no such control: {request.method} {request.path}", "known": known}, 404)
    value = request.json() if request.body else {}
    try:
        return answer(handler(neighbours, request, value))
    except (msgspec.ValidationError, ValueError) as error:
        return answer({"error": str(error)}, 400)


def _fault(neighbours: Neighbours, _: Request, value: Any) -> Any:
    neighbours.fault(msgspec.convert(value, Fault))
    return {}


def _mend(neighbours: Neighbours, _: Request, __: Any) -> Any:
    neighbours.mend()
    return {}


def _result(neighbours: Neighbours, _: Request, value: Any) -> Any:
    given = msgspec.convert(value, _Result)
    identity = neighbours.add_result(
        given.user, result_id=given.id, status=given.status, sample=given.sample, raw=given.raw
    )
    return {"id": identity}


def _job(neighbours: Neighbours, _: Request, value: Any) -> Any:
    given = msgspec.convert(value, _Job)
    return {"id": neighbours.add_job(given.user, job_id=given.id, status=given.status, result=given.result)}


def _profile(neighbours: Neighbours, _: Request, value: Any) -> Any:
    given = msgspec.convert(value, _Profile)
    neighbours.add_profile(given.user, name=given.name)
    return {}


def _abilities(neighbours: Neighbours, _: Request, value: Any) -> Any:
    neighbours.world.tells_chatbot = msgspec.convert(value, _Abilities).tells_chatbot
    return {}


def _calls(neighbours: Neighbours, request: Request, _: Any) -> Any:
    service = request.query.get("service")
    calls = [call for call in neighbours.world.calls if service in {None, call.service}]
    return {"calls": [call.as_json() for call in calls]}


def _show_result(neighbours: Neighbours, request: Request, _: Any) -> Any:
    return {"result": neighbours.world.results.get(request.query.get("id", "").lower())}


def _reset(neighbours: Neighbours, _: Request, __: Any) -> Any:
    neighbours.reset()
    return {}


_HANDLERS: dict[tuple[str, str], Callable[[Neighbours, Request, Any], Any]] = {
    ("POST", "faults"): _fault,
    ("POST", "mend"): _mend,
    ("POST", "results"): _result,
    ("GET", "results"): _show_result,
    ("POST", "jobs"): _job,
    ("POST", "profiles"): _profile,
    ("POST", "abilities"): _abilities,
    ("GET", "calls"): _calls,
    ("POST", "reset"): _reset,
}
