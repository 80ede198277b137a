"""One holder per data directory, and secrets made once."""

import os
import re
import stat
import threading

import pytest

from server.embedded.data_dir import held, secret
from server.embedded.errors import DataDirInUse, DataDirUnusable


def test_a_secret_is_48_url_safe_characters_made_once(tmp_path):
    first = secret(tmp_path / "data", "jwt_secret")
    assert re.fullmatch(r"[A-Za-z0-9_-]{48}", first)
    assert secret(tmp_path / "data", "jwt_secret") == first
    assert secret(tmp_path / "data", "internal_service_key") != first


def test_a_secret_is_readable_by_its_user_alone(tmp_path):
    secret(tmp_path / "data", "jwt_secret")
    path = tmp_path / "data" / "secrets" / "jwt_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_all_who_ask_at_once_get_the_same_secret(tmp_path):
    """Nodes and commands may start together on one data directory."""
    barrier = threading.Barrier(8)
    got = []

    def ask():
        barrier.wait(10)
        got.append(secret(tmp_path, "jwt_secret"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(got) == 8
    assert len(set(got)) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["jwt_secret"]


@pytest.mark.parametrize("name", ["", "../lock", "a/b", "UPPER", ".hidden", "a b"])
def test_a_secret_has_a_plain_name(tmp_path, name):
    with pytest.raises(ValueError, match="not a name"):
        secret(tmp_path, name)


def test_an_emptied_secret_is_an_error_not_an_empty_key(tmp_path):
    secret(tmp_path, "jwt_secret")
    (tmp_path / "secrets" / "jwt_secret").write_text("")
    with pytest.raises(DataDirUnusable, match="empty"):
        secret(tmp_path, "jwt_secret")


def test_a_held_directory_is_refused_and_the_holder_named(tmp_path):
    with held(tmp_path / "data") as directory:
        assert directory == tmp_path / "data"
        with pytest.raises(DataDirInUse, match=str(os.getpid())) as refusal, held(directory):
            pass
        assert refusal.value.pid == os.getpid()
    with held(tmp_path / "data"):
        pass


def test_a_holder_who_has_not_written_its_pid_is_unknown_not_wrong(tmp_path):
    with held(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirInUse, match="another process") as refusal, held(tmp_path):
            pass
        assert refusal.value.pid is None


def test_a_directory_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(DataDirUnusable, match="cannot make"), held(tmp_path / "data"):
        pass
