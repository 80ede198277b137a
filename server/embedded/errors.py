"""What can go wrong with embedded services, as one tree.

EmbeddedError
├── DataDirInUse       another process runs services on this data directory
├── DataDirUnusable    the data directory cannot be made, read or locked
├── BinaryMissing      no server binary is installed for this platform
└── StartFailed        a server ended or was silent while it was started
"""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(Exception):
    """An embedded service cannot be had; the message says why and what to do."""


class DataDirInUse(EmbeddedError):  # noqa: N818 - a state of the world, named as one
    """Another process runs services on this data directory; `pid` is its id, `None` where it is unknown."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"{data_dir} is in use by {holder}: stop it, or set EMBEDDED_DATA_DIR to another directory",
        )
        self.data_dir = data_dir
        self.pid = pid


class DataDirUnusable(EmbeddedError):  # noqa: N818
    """The data directory cannot be made, read or locked."""


class BinaryMissing(EmbeddedError):  # noqa: N818
    """No server binary is installed for this platform."""


class StartFailed(EmbeddedError):  # noqa: N818
    """A server ended or was silent while it was started; the message carries the end of its log."""


class PortTaken(StartFailed):
    """The port belongs to somebody else by now."""
