"""Migration files: how they are named and divided, in which order they run, and which ones have changed."""

from __future__ import annotations

import pytest

from server.adapters.postgres.migrate import DEFAULT_DIRECTORY
from server.adapters.postgres.migration_files import MigrationError, in_order, parse, pending
from server.adapters.postgres.quoting import identifier, literal

UP_AND_DOWN = "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;\n"


def test_a_file_has_a_way_up_and_a_way_down() -> None:
    read = parse("0003_make_a.sql", f"-- what it is for\n\n{UP_AND_DOWN}")
    assert (read.version, read.name) == ("0003", "0003_make_a.sql")
    assert (read.up, read.down) == ("CREATE TABLE a ();", "DROP TABLE a;")
    assert (read.transaction, read.down_transaction) == (True, True)


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        ("", "", (True, True)),
        (" transaction:false", "", (False, True)),
        ("", "  transaction:false", (True, False)),
        ("\ttransaction:true", " transaction:false", (True, False)),
    ],
)
def test_each_part_says_whether_it_runs_in_a_transaction(
    up: str, down: str, expected: tuple[bool, bool]
) -> None:
    read = parse("0001_a.sql", f"--migrate:up{up}\nSELECT 1;\n--  migrate:down{down}\nSELECT 2;")
    assert (read.transaction, read.down_transaction) == expected
    assert (read.up, read.down) == ("SELECT 1;", "SELECT 2;")


@pytest.mark.parametrize(
    "name",
    [
        "a.sql",
        "1_a.sql",
        "0001.sql",
        "0001_A.sql",
        "0001_a b.sql",
        "0001_a.txt",
        "000a_a.sql",
        "\u0660\u0660\u0660\u0661_a.sql",
        "",
    ],
)
def test_a_file_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(MigrationError, match="named like"):
        parse(name, UP_AND_DOWN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CREATE TABLE a ();",
        "-- migrate:up\nCREATE TABLE a ();",
        "-- migrate:down\n-- migrate:up\n",
        UP_AND_DOWN + UP_AND_DOWN,
    ],
)
def test_a_file_without_its_two_parts_in_order_is_refused(text: str) -> None:
    with pytest.raises(MigrationError, match=r"0001_a\.sql: needs one"):
        parse("0001_a.sql", text)


def test_an_option_nobody_knows_is_refused() -> None:
    with pytest.raises(MigrationError, match="unknown option 'transactions:false'"):
        parse("0001_a.sql", "-- migrate:up transactions:false\n-- migrate:down\n")


def test_files_run_in_the_order_of_their_numbers_whatever_their_length() -> None:
    names = ["20260101120000_c.sql", "0010_b.sql", "0009_z.sql", "00011_a.sql"]
    read = in_order((name, UP_AND_DOWN) for name in names)
    assert [each.name for each in read] == [
        "0009_z.sql",
        "0010_b.sql",
        "00011_a.sql",
        "20260101120000_c.sql",
    ]


def test_two_files_of_one_version_are_refused() -> None:
    with pytest.raises(MigrationError, match=r"0001_a\.sql and 0001_b\.sql have the same version"):
        in_order([("0001_a.sql", UP_AND_DOWN), ("0001_b.sql", UP_AND_DOWN)])


def test_what_has_run_runs_no_more_unless_it_has_changed() -> None:
    one, two, three = in_order((f"000{n}_a.sql", f"{UP_AND_DOWN}-- {n}") for n in (1, 2, 3))
    assert pending([one, two, three], {}) == [one, two, three]
    # Another tool that ran it has noted no checksum; a newer release may have been here.
    assert pending([one, two, three], {"0001": one.sha256, "0002": None, "0009": "x"}) == [three]
    # One that was left out, as after a merge, still runs.
    assert pending([one, two, three], {"0001": one.sha256, "0003": three.sha256}) == [two]
    with pytest.raises(MigrationError, match=r"0002_a\.sql has changed since it ran"):
        pending([one, two, three], {"0001": one.sha256, "0002": one.sha256})


def test_every_migration_of_the_house_can_be_read_and_taken_back() -> None:
    files = [(path.name, path.read_text(encoding="utf-8")) for path in DEFAULT_DIRECTORY.glob("*.sql")]
    read = in_order(files)
    assert [int(each.version) for each in read] == list(range(1, len(read) + 1))
    assert all(each.up and each.down for each in read)
    # The schema is the runner's to choose.
    assert not [each.name for each in read if "chat." in (each.up + each.down).replace("'chat.", "")]


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32])
def test_what_postgresql_cannot_hold_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        identifier(name)


def test_names_and_texts_cannot_end_early() -> None:
    assert identifier('a"; DROP TABLE x; --') == '"a""; DROP TABLE x; --"'
    assert literal("it's \\' over") == "E'it''s \\\\'' over'"
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0")
