"""`python -m server.embedded.neighbours`: says where it is, and never outlives who started it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx

_ROOT = Path(__file__).parents[3]
_COMMAND = [sys.executable, "-m", "server.embedded.neighbours"]
# starts the neighbours, and waits to be killed
_STARTER = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
_SECONDS = 30


def addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it says before it is ready."""
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "ready\n")
    return dict(line.strip().split("=", 1) for line in lines if line)


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env={"PYTHONPATH": str(_ROOT), **environment}
    )


def test_it_says_what_the_server_is_to_be_told_and_stops_when_asked_to():
    with start(_COMMAND, INTERNAL_SERVICE_KEY="the key of the house") as process:
        told = addresses(process)
        try:
            assert set(told) == {
                "AUTH_SERVICE_URL",
                "ASSESSMENT_SERVICE_URL",
                "ARCHIVE_SERVICE_URL",
                "NOTIFICATION_SERVICE_URL",
                "INTERNAL_SERVICE_KEY",
            }
            assert told["INTERNAL_SERVICE_KEY"] == "the key of the house"
            url = f"{told['ARCHIVE_SERVICE_URL']}/control/calls"
            assert httpx.get(url, trust_env=False, timeout=_SECONDS).json() == {"calls": []}
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(_SECONDS) == 0


def test_it_ends_when_the_one_who_started_it_is_killed():
    with start([sys.executable, "-c", _STARTER, *_COMMAND]) as starter:
        told = addresses(starter)
        url = f"{told['ARCHIVE_SERVICE_URL']}/control/calls"
        assert httpx.get(url, trust_env=False, timeout=_SECONDS).status_code == 200
        starter.kill()
        # its end of the pipe closes with it: this returns when the last holder is gone
        assert starter.communicate(timeout=_SECONDS)[0] == ""


def test_a_file_that_is_not_theirs_is_named_and_nothing_starts(tmp_path: Path):
    data = tmp_path / "neighbours.json"
    data.write_text("[]")
    ended = subprocess.run(
        [*_COMMAND, "--data", str(data)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert str(data) in ended.stderr
    assert "Traceback" not in ended.stderr
