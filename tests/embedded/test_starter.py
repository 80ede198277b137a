"""What becomes of the services when their starter is killed, interrupted, root, or nobody."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import asyncpg
import psutil
import pytest

from server.embedded.errors import DataDirInUse
from server.embedded.services import EmbeddedServices

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]
STARTER = Path(__file__).with_name("starter.py")
REFUSE_NAMESPACES = Path(__file__).with_name("refuse_namespaces.py")
NOBODY = 65534


class Starter:
    """The script `starter.py` in a process (and process group) of its own."""

    def __init__(
        self,
        data_dir: Path,
        *,
        python: str = sys.executable,
        wrapper: Sequence[str | Path] = (),
        uid: int | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*wrapper, python, STARTER, data_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            cwd="/",
            process_group=0,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        self.services: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self.facts = self.say()
        if not self.facts:
            self.process.communicate(timeout=20)
            pytest.fail("the starter ended without a word")
        self.services = [psutil.Process(self.facts[name]) for name in ("postgres", "valkey")]
        self.services += [child for process in self.services for child in process.children(recursive=True)]
        return self

    def say(self) -> dict[str, Any]:
        """The next line it says."""
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")
        return said

    def kill(self) -> None:
        """SIGKILL: it has no chance to stop what it started."""
        self.process.kill()
        self.process.wait(10)

    def __exit__(self, *_: object) -> None:
        try:
            self.process.communicate(timeout=20)  # closes its input, which stops it
        finally:
            self.kill()
            left_after(self.services)


def left_after(processes: list[psutil.Process], seconds: float = 10.0) -> list[psutil.Process]:
    """Those still at work after so many seconds; one that only waits to be reaped is not."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if at_work(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def statement(url: str, text: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(text)
    finally:
        await connection.close()


def test_a_killed_starter_leaves_no_process_and_the_next_start_has_the_data(tmp_path):
    """Services never outlive the process that started them, however it ended."""
    with Starter(tmp_path) as starter:
        asyncio.run(statement(starter.facts["database_admin_url"], "CREATE TABLE kept AS SELECT 7 AS n"))
        assert len(starter.services) > 2
        starter.kill()
        assert left_after(starter.services) == []
    with Starter(tmp_path) as starter:
        assert asyncio.run(statement(starter.facts["database_admin_url"], "SELECT n FROM kept")) == 7


def test_a_start_right_after_a_kill_waits_for_the_old_servers(tmp_path):
    with Starter(tmp_path) as starter:
        starter.kill()
        with Starter(tmp_path) as second:
            assert left_after(starter.services, 0.1) == []
            assert asyncio.run(statement(second.facts["database_url"], "SELECT 1")) == 1


def test_a_second_start_is_refused_and_told_who_holds_the_directory(tmp_path):
    with Starter(tmp_path) as starter:
        with pytest.raises(DataDirInUse, match=f"process {starter.process.pid}") as refusal:
            asyncio.run(EmbeddedServices(tmp_path).__aenter__())
        assert refusal.value.pid == starter.process.pid
        # of the children some, such as a worker that vacuums, end by themselves
        assert all(at_work(process) for process in starter.services[:2])


def test_ctrl_c_reaches_the_server_and_not_its_services(tmp_path):
    """The server drains with its services there; a terminal signals the whole foreground group."""
    with Starter(tmp_path) as starter:
        os.killpg(starter.process.pid, signal.SIGINT)
        assert starter.say() == {"answers": True}
        assert starter.say() == {"stopped": True}
        assert starter.process.wait(10) == 0
        assert left_after(starter.services, 0.1) == []


def as_nobody(python: str, code: str) -> bool:
    """Run code as nobody; whether that worked."""
    done = subprocess.run(
        [python, "-c", code],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        check=False,
        capture_output=True,
    )
    return done.returncode == 0


def python_for_nobody() -> str:
    """An interpreter that an ordinary user can run, with our libraries: root's own is often closed to others."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if as_nobody(python, "import asyncpg, server.embedded.services"):
                return python
        except OSError:
            continue
    pytest.skip("no interpreter that an ordinary user can run with these libraries")


@pytest.fixture
def open_directory():
    """A directory that every user may enter and write, unlike pytest's."""
    directory = Path(tempfile.mkdtemp(prefix="chat-open-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")


@needs_root
@pytest.mark.parametrize("uid", [NOBODY, 54321], ids=["nobody", "an id nobody knows"])
def test_services_start_as_an_ordinary_user(open_directory, uid):
    with Starter(
        open_directory / "data",
        python=python_for_nobody(),
        uid=uid,
    ) as starter:
        assert starter.facts["uid"] == uid
        # PostgreSQL's workers come and go
        assert {psutil.Process(starter.facts[name]).uids().real for name in ("postgres", "valkey")} == {uid}
        assert asyncio.run(statement(starter.facts["database_url"], "SELECT 1")) == 1


@needs_root
@needs_linux
def test_root_without_user_namespaces_runs_postgres_as_nobody_below_a_closed_directory(tmp_path):
    """Default containers refuse user namespaces, and root's directories are closed to others."""
    tmp_path.chmod(0o700)
    refused = (sys.executable, REFUSE_NAMESPACES)
    with Starter(tmp_path / "data", wrapper=refused) as starter:
        assert psutil.Process(starter.facts["postgres"]).uids().real == NOBODY
        asyncio.run(statement(starter.facts["database_admin_url"], "CREATE TABLE kept AS SELECT 7 AS n"))
        starter.kill()
        assert left_after(starter.services) == []
    # The same directory where namespaces are allowed, and back again: it changes hands as needed.
    for wrapper in ((), refused):
        with Starter(tmp_path / "data", wrapper=wrapper) as starter:
            assert asyncio.run(statement(starter.facts["database_admin_url"], "SELECT n FROM kept")) == 7


@needs_root
def test_a_directory_of_another_user_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o755)
    code = f"""
import asyncio, pathlib
from server.embedded.services import DataDirUnusable, EmbeddedServices
try:
    asyncio.run(EmbeddedServices(pathlib.Path({str(tmp_path)!r})).__aenter__())
except DataDirUnusable:
    raise SystemExit(0)
raise SystemExit(1)
"""
    assert as_nobody(python_for_nobody(), code)
