"""The commands, as an operator runs them: processes, exit codes, what they print, what is left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.running import new_uuid, of_type
from tests.scripted.websocket_client import RecordingClient

_ROOT = Path(__file__).parent.parent
_SECONDS = 60.0
_READY = re.compile(r"ready: http://127\.0\.0\.1:(\d+)/")

pytestmark = [pytest.mark.node, pytest.mark.slow]


def environment(directory: Path, **settings: str) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return {
        **keep,
        "PYTHONPATH": str(_ROOT),
        "EMBEDDED_DATA_DIR": str(directory / "data"),
        "PORT": "0",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


def command(directory: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *words],
        cwd=directory,
        env=environment(directory, **settings),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


class Running:
    """A command that stays: what it printed until it was ready, and its end."""

    def __init__(self, directory: Path, *words: str, **settings: str) -> None:
        self.errors = directory / f"{words[0]}-{time.monotonic_ns()}.log"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server", *words],
                cwd=directory,
                env=environment(directory, **settings),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith("ready"):
                return
        raise AssertionError(f"ended with {self.process.wait()}:\n{self.errors.read_text()}")

    @property
    def port(self) -> int:
        match = _READY.match(self.said[-1])
        assert match is not None, self.said
        return int(match[1])

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(_SECONDS)


@contextlib.contextmanager
def running(directory: Path, *words: str, **settings: str) -> Iterator[Running]:
    server = Running(directory, *words, **settings)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(_SECONDS)
        assert server.process.stdout is not None
        server.process.stdout.close()


async def ask(port: int, token: str, user: str, question: str) -> str:
    client = RecordingClient(token, user=user)
    await client.connect(f"ws://127.0.0.1:{port}/api/chat/ws")
    try:
        ack = await client.send("message.send", content=question, client_message_id=new_uuid())
        finished = await client.wait_for(of_type("generation.finished"), 60)
        assert finished["status"] == "completed"
        assert client.text(ack["generation"])
        return str(ack["conversation"])
    finally:
        await client.cut()


def test_a_bare_machine_runs_a_conversation_that_outlives_a_kill(tmp_path: Path):
    user = new_uuid()
    token = command(tmp_path, "token", "--user", user).stdout.strip()

    with running(tmp_path, "run") as first:
        conversation = asyncio.run(ask(first.port, token, user, "What does RIASEC mean?"))
        children = first.children()
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == [], "embedded services outlived their starter"

    with running(tmp_path, "run") as second:
        history = httpx.get(
            f"http://127.0.0.1:{second.port}/api/chat/conversations/{conversation}/messages",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
            trust_env=False,
        ).json()["messages"]
        assert [message["sender_type"] for message in history] == ["user", "assistant"]
        assert history[0]["content"] == "What does RIASEC mean?"
        children = second.children()
        assert second.end(signal.SIGTERM) == 0
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []


def test_a_second_start_on_a_data_directory_says_who_holds_it(tmp_path: Path):
    with running(tmp_path, "services") as holder:
        refused = command(tmp_path, "run")

        assert refused.returncode == 2
        assert f"in use by process {holder.process.pid}" in refused.stderr


@pytest.mark.timeout(300)  # ten processes start one after the other, on a machine that may be busy
def test_services_are_what_nodes_can_share_and_check_reaches_them(tmp_path: Path):
    with running(tmp_path, "services") as services:
        shared = dict(line.split("=", 1) for line in services.said[:-1])
        assert list(shared) == [
            "DATABASE_URL",
            "DATABASE_ADMIN_URL",
            "REDIS_URL",
            "JWT_SECRET",
            "INTERNAL_SERVICE_KEY",
            "OPENROUTER_BASE_URL",
            "OPENROUTER_API_KEY",
            "AUTH_SERVICE_URL",
            "ASSESSMENT_SERVICE_URL",
            "ARCHIVE_SERVICE_URL",
            "NOTIFICATION_SERVICE_URL",
        ]

        nobody = {"REDIS_URL": "redis://127.0.0.1:1/0", "ARCHIVE_SERVICE_URL": "http://127.0.0.1:1"}
        good = command(tmp_path, "check", **shared)
        bad = command(tmp_path, "check", **shared | nobody)
        migrated = command(tmp_path, "migrate", **shared)

        assert (good.returncode, bad.returncode, migrated.returncode) == (0, 1, 0), good.stderr + bad.stderr
        assert re.search(r"Redis\s+fails", bad.stdout)
        assert re.search(r"archive\s+fails", bad.stdout)
        assert re.search(r"PostgreSQL\s+ok", bad.stdout)
        assert re.search(r"assessment\s+ok", bad.stdout)
        assert re.search(r"notification\s+ok", bad.stdout)
        with running(tmp_path, "run", **shared) as one, running(tmp_path, "run", **shared) as two:
            for node in (one, two):
                ready = httpx.get(f"http://127.0.0.1:{node.port}/health/ready", trust_env=False)
                assert ready.status_code == 200
        assert services.end(signal.SIGTERM) == 0


def test_every_mistake_in_the_settings_is_told_by_name_before_anything_starts(tmp_path: Path):
    refused = command(
        tmp_path, "run", PORT="much", TEMPERATURE="3", REDIS_URL="http://x", ALLOWED_ORIGINS="nowhere"
    )

    assert refused.returncode == 2
    for name in ("PORT", "TEMPERATURE", "REDIS_URL", "ALLOWED_ORIGINS"):
        assert re.search(rf"^{name}: ", refused.stderr, re.MULTILINE), refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_a_clear_refusal(tmp_path: Path):
    with running(tmp_path, "run") as holder:
        other = tmp_path / "other"
        other.mkdir()
        refused = command(other, "run", PORT=str(holder.port))

        assert refused.returncode == 2
        assert refused.stderr.startswith(f"HOST, PORT: cannot listen at 127.0.0.1:{holder.port}: ")
        assert "ddress already in use" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--user", "not-a-uuid"], {}),
        (["--user", "0198aaaa-0000-4000-8000-000000000001", "--ttl", "0"], {}),
        (
            ["--user", "0198aaaa-0000-4000-8000-000000000001"],
            {
                "APP_ENV": "production",
                "DATABASE_URL": "postgresql://a:b@127.0.0.1/c",
                "REDIS_URL": "redis://127.0.0.1",
                "OPENROUTER_API_KEY": "k",
                "JWT_SECRET": "s" * 32,
                "INTERNAL_SERVICE_KEY": "s" * 32,
            },
        ),
    ],
    ids=["no uuid", "no time", "production"],
)
def test_a_token_is_refused_with_a_reason(tmp_path: Path, words: list[str], settings: dict[str, str]):
    refused = command(tmp_path, "token", *words, **settings)

    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.strip()


def test_a_directory_that_cannot_be_made_is_a_mistake_in_its_setting(tmp_path: Path):
    user = "0198aaaa-0000-4000-8000-000000000001"
    refused = command(tmp_path, "token", "--user", user, EMBEDDED_DATA_DIR="/proc/x")

    assert refused.returncode == 2
    assert refused.stderr.startswith("EMBEDDED_DATA_DIR: ")


def test_production_embeds_nothing(tmp_path: Path):
    refused = command(tmp_path, "run", APP_ENV="production")

    assert refused.returncode == 2
    for name in ("DATABASE_URL", "REDIS_URL", "OPENROUTER_API_KEY", "JWT_SECRET", "INTERNAL_SERVICE_KEY"):
        assert f"{name}" in refused.stderr
