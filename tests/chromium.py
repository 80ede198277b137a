"""A Chromium for the tests of the widget."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.debian import NotInstalled, program
from tests.services import unavailable

ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""What to launch it with: it must run as root, and ask nothing of the network on its own."""


def chromium_path() -> Path:
    """The Chromium of this machine, or Debian's, installed if need be; skips or fails where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    try:
        return program("/usr/bin/chromium", package="chromium")
    except NotInstalled as error:
        unavailable("Chromium", error)
