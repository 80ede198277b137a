"""A private RabbitMQ from Debian's package, for the tests of events and queues."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from server.embedded.ports import LOOPBACK, free_port
from server.embedded.process import Process
from tests.debian import NotInstalled, program
from tests.services import private_directory, unavailable

# The wrapper in /usr/sbin changes the user and the directory; this one does what it is told.
_BINARY = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_START_SECONDS = 90.0
_STOP_STEPS = ((signal.SIGTERM, 20.0),)
_CONFIGURATION = """\
loopback_users = none
log.file = false
log.console = true
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
"""
_ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[str]:
    """The address of a broker that lives while the block runs; skips or fails where there is none."""
    try:
        binary = program(_BINARY, package="rabbitmq-server")
    except NotInstalled as error:
        unavailable("RabbitMQ", error)
    with private_directory("rabbitmq") as directory:
        port, name_port = free_port(), free_port()
        process = Process(
            ["/usr/bin/env", *_environment(directory, port, name_port), str(binary)],
            log=directory / "broker.log",
            death_signal=signal.SIGTERM,
        )
        try:
            _wait(process, port)
            yield f"amqp://guest:guest@{LOOPBACK}:{port}/"
        finally:
            asyncio.run(process.end(_STOP_STEPS))
            _end_name_server(name_port)


def _environment(directory: Path, port: int, name_port: int) -> list[str]:
    (directory / "rabbitmq.conf").write_text(_CONFIGURATION, encoding="ascii")
    (directory / "enabled_plugins").write_text("[].", encoding="ascii")
    values = {
        "HOME": directory,
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
        "RABBITMQ_NODENAME": f"t{port}@localhost",
        "RABBITMQ_MNESIA_BASE": directory / "mnesia",
        "RABBITMQ_LOG_BASE": directory / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": directory / "pid",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": free_port(),
        "ERL_EPMD_PORT": name_port,
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_CRASH_DUMP": directory / "erl_crash.dump",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
    }
    return [f"--chdir={directory}", *(f"{name}={value}" for name, value in values.items())]


def _wait(process: Process, port: int) -> None:
    """Wait for the AMQP greeting: the port alone is open before the broker speaks."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if not process.running:
            break
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5) as probe:
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            if probe.recv(1) == b"\x01":  # the method frame connection.start
                return
        time.sleep(0.1)
    unavailable("RabbitMQ", process.output() or "it was silent")


def _end_name_server(port: int) -> None:
    """End the Erlang name server the broker left behind: it makes itself a daemon."""
    for candidate in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if candidate.info["name"] == "epmd" and candidate.environ().get("ERL_EPMD_PORT") == str(port):
                candidate.kill()
