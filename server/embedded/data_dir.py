"""The directory embedded services keep everything in: made private, held by one process, with its secrets.

The lock is `flock`, so it ends with its holder however that ended; the holder's pid stands in the file
only to be told to whoever is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from server.embedded.errors import DataDirInUse, DataDirUnusable

_SECRET_BYTES = 36  # 48 characters of base64, 288 bits
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def make_private(directory: Path) -> Path:
    """Make `directory` and its parents, for this user alone, and return its absolute path.

    Raises:
        DataDirUnusable: it cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirUnusable(f"cannot make {directory}: {error.strerror}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise DataDirUnusable(f"{directory} belongs to another user: cannot write there")
    return directory.resolve()


@contextlib.contextmanager
def held(data_dir: Path) -> Iterator[Path]:
    """Hold `data_dir` for this process while the block runs; yields its absolute path.

    Raises:
        DataDirInUse: another process, or another part of this one, holds it.
        DataDirUnusable: it cannot be made or locked.
    """
    directory = make_private(data_dir)
    path = directory / "lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirUnusable(f"cannot open {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirInUse(directory, _holder(lock)) from error
        except OSError as error:
            raise DataDirUnusable(f"cannot lock {path}: {error.strerror}") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        try:
            yield directory
        finally:
            # The file stays: removing a lock file lets two holders lock two files of one name.
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _holder(lock: int) -> int | None:
    """The pid in the lock file; None while the holder has not written it yet."""
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None


def secret(data_dir: Path, name: str) -> str:
    """The random secret of that name: 48 URL-safe characters, made once and kept.

    Only this user can read its file. Several processes asking at once get the same
    one. Needs no lock on the directory.

    Raises:
        DataDirUnusable: it cannot be read or written, or somebody emptied its file.
        ValueError: the name is not a plain lower-case file name.
    """
    if not _SECRET_NAME.fullmatch(name):
        raise ValueError(f"not a name for a secret: {name!r}")
    path = make_private(make_private(data_dir) / "secrets") / name
    try:
        if not path.exists():
            _keep_first(path, secrets.token_urlsafe(_SECRET_BYTES))
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirUnusable(f"cannot keep the secret {path}: {error}") from error
    if not kept:
        raise DataDirUnusable(f"the secret {path} is empty: restore it, or remove the data directory")
    return kept


def _keep_first(path: Path, value: str) -> None:
    """Write `value` to `path` unless somebody was quicker; never a half-written file."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Linking, unlike renaming, fails when the name is there.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
