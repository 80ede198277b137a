"""Migrations are linted: nothing that holds up a table in use, or breaks the release before, goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.adapters.postgres.migrate import _LOCK_TIMEOUT, DEFAULT_DIRECTORY
from server.adapters.postgres.migration_files import parse

ROOT = DEFAULT_DIRECTORY.parent
SQUAWK = Path(sys.executable).with_name("squawk")


def found_in(name: str, text: str) -> list[str]:
    """What squawk says of a file's way up; the remarks above it belong to it."""
    migration = parse(name, text)
    way_up = text[: text.index("-- migrate:down")]
    # As the runner does before each file.
    statements = f"SET lock_timeout = '{_LOCK_TIMEOUT}';\n{way_up}"
    ran = subprocess.run(
        [
            *(SQUAWK, "--config", ROOT / ".squawk.toml", "--reporter", "json"),
            *(("--no-assume-in-transaction",) if not migration.transaction else ()),
            *("--stdin-filepath", name),
        ],
        input=statements,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    return sorted({each["rule_name"] for each in json.loads(ran.stdout or "[]")})


@pytest.mark.parametrize("name", sorted(path.name for path in DEFAULT_DIRECTORY.glob("*.sql")))
def test_a_migration_holds_nobody_up(name: str) -> None:
    assert found_in(name, (DEFAULT_DIRECTORY / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX slow ON messages (content);", "require-concurrent-index-creation"),
        ("ALTER TABLE messages ADD COLUMN more text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE messages ALTER COLUMN content TYPE varchar(9);", "changing-column-type"),
        ("ALTER TABLE messages DROP COLUMN content;", "ban-drop-column"),
        ("ALTER TABLE messages RENAME COLUMN content TO text;", "renaming-column"),
        ("DROP FUNCTION accept_message();", "ban-drop-function"),
        ("this is no SQL;", "syntax-error"),
    ],
)
def test_what_would_hold_somebody_up_is_found(statement: str, rule: str) -> None:
    """The rules that matter are on."""
    assert rule in found_in("0001_a.sql", f"-- migrate:up\n{statement}\n-- migrate:down\n")


def test_a_file_outside_a_transaction_is_looked_at_as_such() -> None:
    index = "CREATE INDEX CONCURRENTLY IF NOT EXISTS quick ON messages (content);"
    alone = f"-- migrate:up transaction:false\n{index}\n-- migrate:down\n"
    assert found_in("0001_a.sql", alone) == []
    assert found_in("0001_a.sql", alone.replace(" transaction:false", "")) != []
