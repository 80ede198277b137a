"""The image and the composition: sound by their own tools, and in step with the settings."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import Settings, load
from tests.cluster.balancer import deployed_configuration, haproxy, local_configuration
from tests.debian import NotInstalled
from tests.dockerfile import ROOT, ignored, image_environment, instructions, one
from tests.services import unavailable

_COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
_SERVER: dict[str, Any] = _COMPOSE["services"]["chat"]
_BALANCER: dict[str, Any] = _COMPOSE["services"]["balancer"]
_SETTINGS = {name.upper() for name in Settings.model_fields}
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
# passwords of two services, how many nodes, and their network
_OF_THE_COMPOSITION = {"REDIS_PASSWORD", "RABBITMQ_PASSWORD", "NODES", "SUBNET"}


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", duration)
    assert "".join(number + unit for number, unit in parts) == duration
    return sum(float(number) * units[unit] for number, unit in parts)


# --- the image -----------------------------------------------------------------------------------


def test_hadolint_has_nothing_to_say_of_the_dockerfile():
    hadolint = shutil.which(
        "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if hadolint is None:
        unavailable("hadolint", "uv sync --group containers installs it")
    said = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (said.returncode, said.stdout) == (0, "")


def test_the_image_runs_the_server_as_nobody_in_particular():
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", one("USER"))
    assert json.loads(one("CMD")) == ["python", "-m", "server", "run"]
    assert one("STOPSIGNAL") == "SIGTERM"
    environment = image_environment()
    assert (environment["HOST"], environment["APP_ENV"]) == ("0.0.0.0", "production")
    assert one("EXPOSE") == str(Settings.model_fields["port"].default)


def test_the_image_installs_what_is_locked_and_nothing_to_develop_with():
    (sync,) = [argument for name, argument in instructions() if name == "RUN" and "uv sync" in argument]
    assert {"--locked", "--no-default-groups"} <= set(sync.split())


def test_the_image_is_built_on_one_base():
    bases = {argument.split()[0] for name, argument in instructions() if name == "FROM"}
    assert len(bases) == 1
    assert re.match(r"python:3\.1[2-9]-slim", bases.pop())


def test_what_the_image_holds_is_enough_to_run(tmp_path: Path):
    copied = [
        argument.split() for name, argument in instructions() if name == "COPY" and "--from" not in argument
    ]
    for *sources, target in copied:
        for source in sources:
            assert not ignored(source), source
            _copy(source, tmp_path / target)
    said = subprocess.run(
        [sys.executable, "-m", "server", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert (tmp_path / "server" / "widget" / "index.html").exists()
    assert list((tmp_path / "migrations").glob("*.sql")) != []


def _copy(source: str, target: Path) -> None:
    path = ROOT / source
    if path.is_dir():
        shutil.copytree(
            path, target, ignore=lambda folder, names: [name for name in names if _left_out(folder, name)]
        )
    else:
        shutil.copy(path, target)


def _left_out(folder: str, name: str) -> bool:
    return ignored(str((Path(folder) / name).relative_to(ROOT)))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_image_is_healthy_while_the_node_takes_sessions(status: int | None, healthy: bool):
    *_, command = one("HEALTHCHECK").split("CMD", 1)
    program, *arguments = json.loads(command)
    assert program == "python"
    with _answering(status) as (port, asked):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"PORT": str(port)},
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode == 0) is healthy
    assert asked == ([] if status is None else ["/health/ready"])


@contextmanager
def _answering(status: int | None) -> Iterator[tuple[int, list[str]]]:
    """A server on a free port that answers everything with a status; `None`: nobody listens there."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 500)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        if status is None:
            server.server_close()
            yield server.server_port, asked
            return
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.local",
        ".data/secrets/jwt_secret",
        ".git/config",
        ".venv/bin/python",
        "tests/test_deploy.py",
        "loadtest/bench.py",
        "compose.yaml",
        "server/__pycache__/node.cpython-312.pyc",
        "server/adapters/__pycache__/x.pyc",
        "secrets.txt",
    ],
)
def test_what_is_not_the_service_stays_out_of_the_image(path: str):
    assert ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        "server/node.py",
        "server/widget/demo.js",
        "protocol/frames.py",
        "migrations/0001_ids_and_times.sql",
        "uv.lock",
    ],
)
def test_the_service_goes_into_the_image(path: str):
    assert (ROOT / path).exists()
    assert not ignored(path)


# --- the composition -----------------------------------------------------------------------------


def _variables(part: Any) -> list[tuple[str, str, str]]:
    """Name, operator and word of every variable that compose would fill in."""
    return _VARIABLE.findall(yaml.safe_dump(part, width=10_000))


def _filled_in(text: str, given: dict[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        value = given.get(name) or (word if operator == "-" else "")
        assert value or operator == "-", f"{name} is missing: {word}"
        return value

    return _VARIABLE.sub(fill, text).replace("$$", "$")


def test_the_composition_is_the_server_and_what_it_needs():
    images = {name: service["image"] for name, service in _COMPOSE["services"].items()}
    assert images["postgres"].split(":")[1] == "17"
    assert int(images["valkey"].split(":")[1]) >= 8
    assert images["rabbitmq"].split(":")[1] == "4"
    assert _SERVER["build"] == "."
    assert {
        name for name, need in _SERVER["depends_on"].items() if need["condition"] == "service_healthy"
    } == {*images} - {"chat", "balancer"}
    assert _BALANCER["depends_on"] == {"chat": {"condition": "service_healthy"}}


def test_whatever_is_waited_for_says_whether_it_is_well():
    for name in _SERVER["depends_on"]:
        check = _COMPOSE["services"][name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert _seconds(check["interval"]) * check["retries"] >= 30


def test_what_must_last_is_on_volumes_with_names():
    used = {
        mount.split(":")[0]
        for service in _COMPOSE["services"].values()
        for mount in service.get("volumes", [])
    }
    assert used == set(_COMPOSE["volumes"])
    assert len(used) == 3


def test_the_server_is_given_settings_and_nothing_else():
    assert set(_SERVER["environment"]) <= _SETTINGS
    assert {name for name in image_environment() if not name.startswith(("PYTHON", "PATH"))} <= _SETTINGS


def test_every_setting_reaches_the_nodes_but_where_they_listen_and_what_one_node_has_alone():
    of_one_node = {"HOST", "PORT", "NODE_ID", "LOG_FILE", "LOG_FORMAT", "EMBEDDED_DATA_DIR"}
    assert _SETTINGS - set(_SERVER["environment"]) == of_one_node | {"DATABASE_URL", "DB_PORT"}


def test_every_variable_of_the_composition_is_a_setting_or_written_at_its_head():
    named = {name for name, _, _ in _variables(_COMPOSE)}
    assert named - _SETTINGS == _OF_THE_COMPOSITION
    head = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("\nname:")[0]
    required = {name for name, operator, _ in _variables(_COMPOSE) if operator == "?"}
    assert {name for name in required | _OF_THE_COMPOSITION if name not in head} == set()


def test_no_secret_has_a_default():
    secret = re.compile(r"PASSWORD|SECRET|KEY")
    for name, operator, word in _variables(_COMPOSE):
        if secret.search(name):
            assert (operator == "?" and word) or (operator, word) == ("-", ""), name
    for service in _COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if value is not None and (secret.search(name) or "://" in str(value)):
                assert _variables(str(value)), name


def test_the_server_has_time_to_drain():
    drain = float(_SERVER["environment"]["DRAIN_SECONDS"])
    assert _seconds(_SERVER["stop_grace_period"]) > drain + 10


def test_the_composition_starts_with_sound_settings(monkeypatch: pytest.MonkeyPatch):
    given = {
        name: "0123456789abcdefghijklmnopqrstuv"
        for name, operator, _ in _variables(_COMPOSE)
        if operator == "?"
    }
    variables = {
        name: _filled_in(str(value), given)
        for name, value in _SERVER["environment"].items()
        if value is not None
    }
    for name, value in {**image_environment(), **variables}.items():
        if name in _SETTINGS:
            monkeypatch.setenv(name, value)
    settings = load(_env_file=None)
    assert settings.app_env == "production"
    assert settings.host == "0.0.0.0"
    assert (
        settings.database == "postgresql://atma_user:0123456789abcdefghijklmnopqrstuv@postgres:5432/atma_db"
    )
    hosts = [str(url.get_secret_value()) for url in (settings.redis_url, settings.rabbitmq_url) if url]
    assert [re.search(r"@([a-z]+):", host)[1] for host in hosts] == ["valkey", "rabbitmq"]  # type: ignore[index]


# --- several nodes behind a balancer -------------------------------------------------------------


def _timeout(name: str) -> float:
    """A timeout of the balancer, in seconds."""
    (found,) = re.findall(rf"^ +timeout {name} (\S+)$", deployed_configuration(), re.MULTILINE)
    return _seconds(found)


def test_there_may_be_any_number_of_nodes_and_clients_reach_them_by_the_balancer_alone():
    assert {"ports", "container_name", "hostname"} & {*_SERVER} == set()
    assert [name for name, service in _COMPOSE["services"].items() if "ports" in service] == ["balancer"]
    assert _filled_in(_BALANCER["ports"][0], {}) == "3006:3006"
    assert "    bind :3006\n" in deployed_configuration()
    port = Settings.model_fields["port"].default
    assert re.search(rf"^ +server-template node 1-\d+ chat:{port} ", deployed_configuration(), re.MULTILINE)


@pytest.mark.parametrize("nodes", [None, 1, 3])
def test_haproxy_has_nothing_to_say_of_the_balancers_configuration(nodes: int | None, tmp_path: Path):
    try:
        program = haproxy()
    except NotInstalled as error:
        unavailable("HAProxy", error)
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        deployed_configuration()
        if nodes is None
        else local_configuration("127.0.0.1", 20_000, range(20_001, 20_001 + nodes), "/here")
    )
    said = subprocess.run(
        [program, "-c", "-f", configuration], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stderr
    assert re.search(r"WARNING|ALERT", said.stdout + said.stderr) is None, said.stderr


def test_the_balancer_asks_the_nodes_whether_they_are_ready_and_ties_no_client_to_one():
    configuration = deployed_configuration()
    assert "    option httpchk GET /health/ready\n    http-check expect status 200\n" in configuration
    assert re.search(r"^ +default-server check ", configuration, re.MULTILINE)
    assert re.search(r"cookie|stick|balance source|balance uri|\bhash\b", configuration) is None
    # nor is the image's own check another one here
    assert "healthcheck" not in _SERVER


def test_the_balancer_waits_longer_than_the_server_is_ever_silent():
    settings = Settings.model_fields
    silent = max(1.2 * settings["heartbeat_seconds"].default, settings["rest_wait_seconds"].default)
    for name in ("client", "server", "tunnel"):
        assert _timeout(name) > 1.2 * silent, name


def test_the_balancer_ends_before_it_is_killed():
    (hard,) = re.findall(r"^ +hard-stop-after (\S+)$", deployed_configuration(), re.MULTILINE)
    assert _seconds(hard) < _seconds(_BALANCER["stop_grace_period"])


def test_the_nodes_believe_the_balancer_and_the_balancer_no_client():
    (network,) = _COMPOSE["networks"]["default"]["ipam"]["config"]
    assert _SERVER["environment"]["TRUSTED_PROXIES"] == network["subnet"]
    assert "    http-request set-header X-Forwarded-For %[src]\n" in deployed_configuration()
    assert not any("network" in key for service in _COMPOSE["services"].values() for key in service)
