"""Debian packages the tests need, installed where that is possible: once per machine, by one process."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_APT_SECONDS = 600
_LOCK = Path(tempfile.gettempdir()) / "chat-tests-apt.lock"


class NotInstalled(Exception):  # noqa: N818 - a state of the world, named as one
    """The program is not there and cannot be brought; the message says why."""


def program(path: str, *, package: str) -> Path:
    """The program at `path` from that Debian package, installed first if it is missing and we are root.

    Raises:
        NotInstalled: it is not there and cannot be brought.
    """
    if not Path(path).exists():
        _install(package, path)
    return Path(path)


def _install(package: str, path: str) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotInstalled(f"{path} is missing (as root: apt-get install {package})")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several runs and workers want it at once
        said = ""
        # Package lists may be missing or old, and updating them takes longer than installing.
        for arguments in (["install", package], ["update"], ["install", package]):
            if Path(path).exists():
                return
            said = _apt_get(arguments)
    if not Path(path).exists():
        raise NotInstalled(f"apt-get install {package} failed: {said[-600:]}")


def _apt_get(arguments: list[str]) -> str:
    done = subprocess.run(
        ["apt-get", "-qq", "-y", "--no-install-recommends", *arguments],
        # Runlevel 1 keeps packages from starting their daemons: the tests run their own, privately.
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_APT_SECONDS,
        check=False,
    )
    return done.stdout.strip()
