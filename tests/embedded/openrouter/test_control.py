"""The control API: everything a test in another process can do, and what it is told when it is wrong."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from server.embedded.openrouter import control
from server.embedded.openrouter.account import FreeLimits, KeySettings
from server.embedded.openrouter.behaviour import (
    Behaviour,
    Failure,
    FailureHow,
    Framing,
    Insertion,
    InsertionWhat,
    Pause,
)
from server.embedded.openrouter.errors import ERRORS
from server.embedded.openrouter.process import running_simulator
from server.embedded.openrouter.script import Script
from server.embedded.openrouter.simulator import Simulator
from tests.embedded.openrouter.listening import KEY, MODEL, Heard, ask, exchange, get, with_simulator
from tests.scripted.waiting import eventually

ROOT = Path(__file__).parents[3]
README = ROOT / "server/embedded/openrouter/README.md"
QUOTED = set(re.findall(r"`([^`\n]+)`", README.read_text(encoding="utf-8")))
FREE = "meta-llama/llama-3.2-3b-instruct:free"


async def order(simulator: Simulator, name: str, value: Any = None, *, method: str = "POST") -> Heard:
    body = b"" if value is None else json.dumps(value).encode()
    return await exchange(f"{simulator.origin}/control/{name}", method=method, body=body, headers={})


async def calls(simulator: Simulator, query: str = "") -> list[dict[str, Any]]:
    heard = await order(simulator, f"calls{query}", method="GET")
    assert heard.status == 200
    return list(heard.json["calls"])


def test_a_script_is_played():
    async def act(simulator: Simulator) -> None:
        script = {"calls": [{"text": "One."}, {"error": "overloaded"}], "model": MODEL}
        assert (await order(simulator, "script", script)).json == {"queued": 2}
        assert (await ask(simulator)).text == "One."
        assert (await ask(simulator)).status == 529
        assert (await ask(simulator)).status == 200

    with_simulator(act)


def test_the_ledger_is_told_with_lone_surrogates():
    async def act(simulator: Simulator) -> None:
        await order(simulator, "script", {"calls": [{"name": "n", "tokens": ["a\ud83d", "b"]}]})
        await ask(simulator, session_id="c-1", user="\ud800")
        (call,) = await calls(simulator)
        assert (call["number"], call["name"], call["state"], call["status"]) == (1, "n", "complete", 200)
        assert (call["sent"], call["seen"], call["tokens_sent"]) == ("a\ud83db", "a\ufffdb", 2)
        assert (call["user"], call["session_id"]) == ("\ud800", "c-1")
        assert call["bill"] == {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "reasoning_tokens": 0,
            "cost": "0.000001350000",
            "upstream_cost": None,
        }
        assert call["received_at"] <= call["headers_at"] <= call["first_token_at"] <= call["ended_at"]

    with_simulator(act)


def test_calls_are_found_by_state_generation_and_session():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(error="internal"), Behaviour(text="Hi"), Behaviour(text="Ho"))
        for session in ("a", "b", "b"):
            await ask(simulator, session_id=session)
        numbers = [
            [call["number"] for call in await calls(simulator, query)]
            for query in (
                "",
                "?state=failed",
                "?session_id=b",
                f"?generation_id={simulator.calls()[2].generation_id}",
                "?state=complete&session_id=a",
            )
        ]
        assert numbers == [[1, 2, 3], [1], [2, 3], [3], []]

    with_simulator(act)


def test_a_gate_is_seen_and_released():
    async def act(simulator: Simulator) -> None:
        await order(simulator, "script", {"calls": [{"text": "One two.", "gate": "middle", "gate_at": 1}]})
        asking = asyncio.create_task(ask(simulator))

        async def waits() -> bool:
            return [call["waiting_at"] for call in await calls(simulator)] == ["middle"]

        await eventually(waits)
        assert (await calls(simulator, "?state=open"))[0]["bill"] is None
        assert (await order(simulator, "release", {"name": "middle"})).json == {"released": 1}
        assert (await asking).text == "One two."
        assert (await order(simulator, "release", {"name": "nobody"})).json == {"released": 0}

    with_simulator(act)


def test_connections_are_dropped():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(text="Hi", before_headers="hang"))
        asking = asyncio.create_task(ask(simulator))
        await eventually(simulator.calls)
        assert (await order(simulator, "drop")).json == {"dropped": 1}
        assert (await asking).end in {"reset", "closed"}
        assert (await calls(simulator))[0]["state"] == "aborted"
        assert (await order(simulator, "drop")).json == {"dropped": 0}

    with_simulator(act)


def test_keys_are_added_and_changed():
    async def act(simulator: Simulator) -> None:
        keys = {"k-2": {}, KEY: {"state": "forbidden", "credits": 1.5}}
        assert (await order(simulator, "keys", keys)).json == {"keys": 2}
        assert (await ask(simulator, key="k-2")).status == 200
        assert (await ask(simulator)).status == 403

    with_simulator(act)


def test_free_limits_are_set():
    async def act(simulator: Simulator) -> None:
        assert (await order(simulator, "limits", {"per_minute": 1})).json == {}
        assert [(await ask(simulator, model=FREE)).status for _ in range(2)] == [200, 429]
        await order(simulator, "limits", {})
        assert (await ask(simulator, model=FREE)).status == 200

    with_simulator(act)


def test_models_come_and_go():
    async def act(simulator: Simulator) -> None:
        change = {
            "add": [{"slug": "a/b", "name": "B", "provider": "Acme", "context_length": 9}],
            "remove": [MODEL, "no/such"],
        }
        models = (await order(simulator, "models", change)).json["models"]
        assert "a/b" in models
        assert MODEL not in models
        assert (await ask(simulator)).status == 400
        assert (await ask(simulator, model="a/b")).chunks[0]["provider"] == "Acme"

    with_simulator(act)


def test_a_reset_makes_it_new():
    async def act(simulator: Simulator) -> None:
        await order(simulator, "limits", {"per_minute": 0})
        await order(simulator, "keys", {KEY: {"state": "unknown"}})
        await order(simulator, "models", {"remove": [FREE]})
        await order(simulator, "script", {"calls": [{"error": "internal"}], "repeat": True})
        await ask(simulator)
        assert (await order(simulator, "reset")).json == {}
        assert await calls(simulator) == []
        assert (await ask(simulator, model=FREE)).status == 200
        assert [call["number"] for call in await calls(simulator)] == [1]

    with_simulator(act)


def test_a_reset_lets_who_waits_at_a_gate_go_on():
    async def act(simulator: Simulator) -> None:
        simulator.script(Behaviour(text="Hi", gate="g"))
        asking = asyncio.create_task(ask(simulator))
        await simulator.reached("g")
        await order(simulator, "reset")
        assert (await asking).text == "Hi"

    with_simulator(act)


def test_addresses_are_told():
    async def act(simulator: Simulator) -> None:
        told = (await order(simulator, "addresses", method="GET")).json
        assert (told["base_url"], told["key"]) == (simulator.base_url, KEY)
        assert told["unreachable_url"] == simulator.unreachable_url

    with_simulator(act)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("script", {"calls": []}, "at least one"),
        ("script", {"calls": [{"text": "a", "colour": 1}]}, "colour"),
        ("script", None, "calls"),
        ("release", {}, "name"),
        ("release", {"name": 7}, "name"),
        ("keys", {"k": {"state": "lost"}}, "lost"),
        ("keys", [], "object"),
        ("limits", {"per_minute": "many"}, "per_minute"),
        ("limits", {"per_hour": 1}, "per_hour"),
        ("models", {"add": [{"slug": "a/b"}]}, "name"),
        ("models", {"delete": []}, "delete"),
    ],
)
def test_a_wrong_request_changes_nothing_and_says_what_is_wrong(name: str, value: Any, says: str):
    async def act(simulator: Simulator) -> None:
        before = (dict(simulator.account.keys), simulator.account.limits, dict(simulator.models))
        heard = await order(simulator, name, value)
        assert heard.status == 400
        assert says in heard.json["error"]
        assert before == (simulator.account.keys, simulator.account.limits, simulator.models)
        assert (await ask(simulator)).status == 200

    with_simulator(act)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b'"\\ud800'])
def test_a_body_that_is_no_json_is_a_wrong_request(body: bytes):
    async def act(simulator: Simulator) -> Heard:
        return await exchange(f"{simulator.origin}/control/script", body=body)

    assert with_simulator(act).status == 400


@pytest.mark.parametrize(
    ("method", "name"), [("GET", "script"), ("POST", "calls"), ("POST", "nothing"), ("GET", "")]
)
def test_a_place_that_does_not_exist_tells_those_that_do(method: str, name: str):
    async def act(simulator: Simulator) -> Heard:
        return await order(simulator, name, method=method)

    heard = with_simulator(act)
    assert heard.status == 404
    assert "POST /control/script" in heard.json["known"]


# --- the README ---------------------------------------------------------------------------------------


def test_every_control_is_described():
    assert set(control._KNOWN) <= QUOTED


@pytest.mark.parametrize(
    "struct", [Script, Behaviour, Failure, Framing, Insertion, Pause, KeySettings, FreeLimits]
)
def test_every_field_is_described(struct: Any):
    described = QUOTED | set(re.findall(r'"(\w+)":', README.read_text(encoding="utf-8")))

    assert set(struct.__struct_fields__) <= described


def test_every_value_and_error_is_described():
    assert {*get_args(FailureHow), *get_args(InsertionWhat), *ERRORS} <= QUOTED


def test_every_field_of_the_ledger_is_described():
    async def act(simulator: Simulator) -> dict[str, Any]:
        await ask(simulator)
        return (await calls(simulator))[0]

    call = with_simulator(act)
    assert {*call, *call["bill"]} <= QUOTED


def test_the_script_of_the_readme_does_what_is_said_of_it():
    (quoted,) = re.findall(r"-d '(\{.*?\})'\n", README.read_text(encoding="utf-8"), re.DOTALL)

    async def act(simulator: Simulator) -> None:
        assert (await order(simulator, "script", json.loads(quoted))).json == {"queued": 2}
        cut = await ask(simulator)
        assert cut.end == "reset"
        assert (await calls(simulator))[0]["sent"] == "One two"
        messages = [
            {"role": "user", "content": "Count."},
            {"role": "assistant", "content": "One two"},
            {"role": "user", "content": "Continue."},
        ]
        assert (await ask(simulator, messages=messages)).text == " two three."

    with_simulator(act)


# --- in a process of its own ----------------------------------------------------------------------------

_COMMAND = [sys.executable, "-m", "server.embedded.openrouter", "--fast"]
# starts the simulator, and waits to be killed
_STARTER = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
_SECONDS = 30


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "ready\n")
    return dict(line.strip().split("=", 1) for line in lines if line)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_stops_when_asked_to(number: signal.Signals):
    with start(_COMMAND) as process:
        try:
            told = announced(process)
            heard = asyncio.run(exchange(f"{told['OPENROUTER_BASE_URL']}/models", method="GET"))
            assert told["OPENROUTER_API_KEY"] == KEY
            assert heard.status == 200
        finally:
            process.send_signal(number)
        assert process.wait(_SECONDS) == 0


def test_it_ends_when_the_one_who_started_it_is_killed():
    with start([sys.executable, "-c", _STARTER, *_COMMAND]) as starter:
        told = announced(starter)
        assert asyncio.run(exchange(f"{told['OPENROUTER_BASE_URL']}/models", method="GET")).status == 200
        starter.kill()
        # its end of the pipe closes with it: this returns when the last holder is gone
        assert starter.communicate(timeout=_SECONDS)[0] == ""


def test_a_server_may_run_it_while_it_needs_it():
    async def run() -> None:
        async with running_simulator(fast=True) as urls:
            heard = await exchange(
                f"{urls.base_url}/key", method="GET", headers={"Authorization": f"Bearer {urls.key}"}
            )
            assert heard.status == 200
        with pytest.raises(OSError, match=r"."):
            await exchange(f"{urls.base_url}/key", method="GET")

    asyncio.run(run())


def test_it_needs_a_key_and_its_port():
    with pytest.raises(ValueError, match="key"):
        Simulator(keys=())

    async def act(simulator: Simulator) -> None:
        with pytest.raises(OSError, match="in use"):
            async with Simulator(port=int(simulator.origin.rpartition(":")[2])):
                pass
        assert (await get(simulator, "/models")).status == 200

    with_simulator(act)
