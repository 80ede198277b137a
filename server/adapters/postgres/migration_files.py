"""Sans-I/O. Migration files in dbmate's format: `-- migrate:up`, `-- migrate:down`, `transaction:false`.

A file is named `<version>_<name>.sql`; the version is digits and orders the files. Both parts are plain SQL
that names no schema: the runner puts the schema first in `search_path`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(r"(?P<version>\d{4,14})_[a-z0-9_]+\.sql\Z", re.ASCII)
_MARK = re.compile(r"^--[ \t]*migrate:(?P<part>up|down)(?P<options>[^\n]*)$", re.MULTILINE)


class MigrationError(Exception):
    """The migrations cannot be carried out; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `transaction` and `down_transaction` are false where a part must run outside of one."""

    version: str
    name: str
    up: str
    down: str
    transaction: bool
    down_transaction: bool
    sha256: str


def parse(name: str, text: str) -> Migration:
    """Read one file.

    Raises:
        MigrationError: the name has another form, or the file has no two parts in order.
    """
    named = _NAME.match(name)
    if named is None:
        raise MigrationError(f"{name}: a migration is named like 0001_what_it_does.sql")
    marks = list(_MARK.finditer(text))
    if [mark["part"] for mark in marks] != ["up", "down"]:
        raise MigrationError(f"{name}: needs one '-- migrate:up' and after it one '-- migrate:down'")
    up, down = marks
    return Migration(
        version=named["version"],
        name=name,
        up=text[up.end() : down.start()].strip(),
        down=text[down.end() :].strip(),
        transaction=_in_transaction(name, up["options"]),
        down_transaction=_in_transaction(name, down["options"]),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def in_order(files: Iterable[tuple[str, str]]) -> list[Migration]:
    """All migrations, by version. `files` are names and texts.

    Raises:
        MigrationError: a file cannot be read, or two have one version.
    """
    found: dict[str, Migration] = {}
    for name, text in files:
        migration = parse(name, text)
        twin = found.setdefault(migration.version, migration)
        if twin is not migration:
            raise MigrationError(f"{twin.name} and {name} have the same version")
    return sorted(found.values(), key=lambda migration: (int(migration.version), migration.version))


def pending(migrations: Iterable[Migration], applied: dict[str, str | None]) -> list[Migration]:
    """Those that have not run. `applied` maps versions to checksums (`None`: another tool ran it).

    Versions that only the database knows are left alone: a newer release was here.

    Raises:
        MigrationError: a file has changed since it ran.
    """
    left = []
    for migration in migrations:
        if migration.version not in applied:
            left.append(migration)
        elif applied[migration.version] not in {None, migration.sha256}:
            raise MigrationError(
                f"{migration.name} has changed since it ran; what is wanted now needs a file of its own"
            )
    return left


def _in_transaction(name: str, options: str) -> bool:
    transaction = True
    for option in options.split():
        if option not in {"transaction:false", "transaction:true"}:
            raise MigrationError(f"{name}: unknown option {option!r}")
        transaction = option == "transaction:true"
    return transaction
