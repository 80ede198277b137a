"""The control API: tests that run in another process set scripts, open gates and read the ledger by it.

Every request, script, behaviour and field of the ledger is described in `README.md` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from server.embedded.openrouter import http
from server.embedded.openrouter.account import FreeLimits, KeySettings
from server.embedded.openrouter.catalogue import Model
from server.embedded.openrouter.http import Request
from server.embedded.openrouter.script import ScriptError, parse_script

if TYPE_CHECKING:  # the simulator owns this; a run-time import would be a cycle
    from server.embedded.openrouter.simulator import Simulator


class _Release(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Models(msgspec.Struct, forbid_unknown_fields=True):
    add: list[Model] = []
    remove: list[str] = []


def control(simulator: Simulator, request: Request) -> bytes:
    """The whole response to a control request."""
    handler = _HANDLERS.get((request.method, request.path.removeprefix("/control/")))
    if handler is None:
        return _json(404, {"error": f"no such control: {request.method} {request.path}", "known": _KNOWN})
    try:
        value = json.loads(request.body) if request.method == "POST" and request.body else {}
        return _json(200, handler(simulator, request, value))
    except (ScriptError, msgspec.ValidationError, ValueError, RecursionError) as error:
        return _json(400, {"error": str(error)})


def _json(status: int, value: Any) -> bytes:
    return http.response(status, json.dumps(value).encode())


def _script(simulator: Simulator, _: Request, value: Any) -> Any:
    script = parse_script(value)
    simulator.add_script(script)
    return {"queued": len(script.calls)}


def _calls(simulator: Simulator, request: Request, _: Any) -> Any:
    query = request.query
    calls = [
        call
        for call in simulator.calls()
        if query.get("state", call.state) == call.state
        and query.get("generation_id", call.generation_id) == call.generation_id
        and query.get("session_id", call.session_id) == call.session_id
    ]
    return {"calls": [call.as_json() for call in calls], "forgotten": simulator.forgotten}


def _reset(simulator: Simulator, _: Request, __: Any) -> Any:
    simulator.reset()
    return {}


def _drop(simulator: Simulator, _: Request, __: Any) -> Any:
    return {"dropped": simulator.drop_connections()}


def _release(simulator: Simulator, _: Request, value: Any) -> Any:
    return {"released": simulator.release(msgspec.convert(value, _Release).name)}


def _keys(simulator: Simulator, _: Request, value: Any) -> Any:
    for key, settings in msgspec.convert(value, dict[str, KeySettings]).items():
        simulator.account.keys[key] = settings
    return {"keys": len(simulator.account.keys)}


def _limits(simulator: Simulator, _: Request, value: Any) -> Any:
    simulator.account.limits = msgspec.convert(value, FreeLimits)
    return {}


def _models(simulator: Simulator, _: Request, value: Any) -> Any:
    change = msgspec.convert(value, _Models)
    for slug in change.remove:
        simulator.models.pop(slug, None)
    for model in change.add:
        simulator.models[model.slug] = model
    return {"models": sorted(simulator.models)}


def _addresses(simulator: Simulator, _: Request, __: Any) -> Any:
    return {
        "base_url": simulator.base_url,
        "key": simulator.key,
        "unreachable_url": simulator.unreachable_url,
    }


_HANDLERS: dict[tuple[str, str], Callable[[Simulator, Request, Any], Any]] = {
    ("POST", "script"): _script,
    ("GET", "calls"): _calls,
    ("POST", "reset"): _reset,
    ("POST", "release"): _release,
    ("POST", "drop"): _drop,
    ("POST", "keys"): _keys,
    ("POST", "limits"): _limits,
    ("POST", "models"): _models,
    ("GET", "addresses"): _addresses,
}
_KNOWN = [f"{method} /control/{name}" for method, name in _HANDLERS]
