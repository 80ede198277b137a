"""`make cluster`, as somebody at a terminal has it: one address, what dies comes back, Ctrl-C ends all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cluster.balancer import haproxy
from tests.cluster.nodes import ROOT
from tests.debian import NotInstalled
from tests.running import new_uuid, of_type
from tests.scripted.waiting import eventually
from tests.scripted.websocket_client import RecordingClient
from tests.services import unavailable

LIMIT = 12
_END_SECONDS = 60.0

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(400)]


class Terminal:
    """The command, and what it has said so far."""

    def __init__(self, directory: Path) -> None:
        keep = {
            name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}
        }
        self.output = directory / "said"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster", "--nodes", "2"],
                cwd=directory,
                env={
                    **keep,
                    "PYTHONPATH": str(ROOT),
                    "EMBEDDED_DATA_DIR": str(directory / "data"),
                    "PORT": "0",
                    "DRAIN_SECONDS": "0.3",
                    "API_RATE_LIMIT_PER_15_MINUTES": str(LIMIT),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self, pattern: str) -> list[str]:
        """What it said that looks so, in order."""
        text = self.output.read_text()
        assert self.process.poll() is None or "ready" in text, text
        return re.findall(pattern, text, re.MULTILINE)

    def pids(self, node: str) -> list[int]:
        """The processes that were this node, in order."""
        return [int(pid) for pid in self.said(rf"^{node}: .* pid (\d+)$")]


@contextlib.contextmanager
def at_a_terminal(directory: Path) -> Iterator[Terminal]:
    terminal = Terminal(directory)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait(_END_SECONDS)


async def ask(base: str) -> None:
    """One question of a new user, with a token of the demo page's; its answer begins."""
    async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False) as http:
        page = await http.get("/")
        given = (await http.post("/demo/token", json={})).json()
    assert "<html" in page.text
    client = RecordingClient(given["token"], user=given["user"])
    await client.connect(f"ws{base.removeprefix('http')}/api/chat/ws", headers={"Origin": base})
    try:
        ack = await client.send("message.send", content="What is RIASEC?", client_message_id=new_uuid())
        await client.wait_for(of_type("delta", generation=ack["generation"]), 60)
    finally:
        await client.cut()


async def statuses(base: str, address: str, count: int) -> list[int]:
    """What somebody who is nobody gets from that address, each time claiming to come from another one."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=base, transport=transport, timeout=30) as http:
        return [
            (await http.get("/conversations", headers={"X-Forwarded-For": f"198.51.100.{n}"})).status_code
            for n in range(count)
        ]


def test_a_cluster_has_one_address_brings_back_what_dies_and_ends_in_good_order(tmp_path: Path):
    try:
        haproxy()
    except NotInstalled as error:
        unavailable("HAProxy", error)

    async def go(terminal: Terminal) -> None:
        (base,) = await eventually(lambda: terminal.said(r"^ready: (.*)/$"), 90, what="it is ready")

        (first,) = terminal.pids("node1")
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len(terminal.pids("node1")) == 2, 60, what="node1 is there again")
        await ask(base)

        terminal.process.send_signal(signal.SIGUSR1)
        await eventually(lambda: terminal.said("^every node was restarted$"), 90, what="both are restarted")
        assert (len(terminal.pids("node1")), len(terminal.pids("node2"))) == (3, 2)
        await ask(base)

        # one address has one limit, whichever node is asked and whatever is claimed
        assert await statuses(base, "127.0.0.2", LIMIT + 4) == [401] * LIMIT + [429] * 4
        assert await statuses(base, "127.0.0.3", 1) == [401]

    with at_a_terminal(tmp_path) as terminal:
        asyncio.run(go(terminal))
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        assert len(children) >= 6  # services: PostgreSQL, Valkey and the simulator; two nodes; the balancer

        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(_END_SECONDS) == 0
        assert terminal.said(r"^node\d drains$") == [*["node1 drains", "node2 drains"] * 2]
        _, alive = psutil.wait_procs(children, timeout=_END_SECONDS)
        assert alive == []
