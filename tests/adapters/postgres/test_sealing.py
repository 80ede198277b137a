"""The cipher: what is sealed opens in its place, under any configured key, and nowhere else."""

from __future__ import annotations

import base64
import logging

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.adapters.postgres.sealing import ContentCipher
from server.conversations.cipher import Place, Sealed

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
HERE = Place("user", "messages", "content", "row")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens_to_the_same(text: str) -> None:
    cipher = ContentCipher([NEW])
    sealed = cipher.seal(text, HERE)
    assert sealed.key == cipher.newest
    assert cipher.open(sealed, HERE) == text


def test_the_same_text_is_sealed_differently_each_time() -> None:
    cipher = ContentCipher([NEW])
    assert cipher.seal("text", HERE).text != cipher.seal("text", HERE).text


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place("other", "messages", "content", "row"),
        Place("user", "conversations", "content", "row"),
        Place("user", "messages", "title", "row"),
        Place("user", "messages", "content", "other"),
    ],
)
def test_a_value_moved_to_another_place_does_not_open(elsewhere: Place) -> None:
    cipher = ContentCipher([NEW])
    assert cipher.open(cipher.seal("text", HERE), elsewhere) is None


@given(position=st.integers(0, 43), flip=st.integers(1, 255))
def test_an_altered_value_does_not_open(position: int, flip: int) -> None:
    cipher = ContentCipher([NEW])
    sealed = cipher.seal("sixteen letters.", HERE)
    raw = bytearray(base64.b64decode(sealed.text))
    raw[position] ^= flip
    assert cipher.open(Sealed(base64.b64encode(raw).decode(), sealed.key), HERE) is None


@pytest.mark.parametrize("text", ["", "short", "not base64!", base64.b64encode(bytes(13)).decode()])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    cipher = ContentCipher([NEW])
    assert cipher.open(Sealed(text, cipher.newest), HERE) is None


def test_the_newest_key_seals_and_every_key_opens() -> None:
    before, after = ContentCipher([OLD]), ContentCipher([NEW, OLD])
    old = before.seal("text", HERE)
    assert after.open(old, HERE) == "text"
    assert after.seal("text", HERE).key == after.newest == ContentCipher([NEW]).newest != old.key
    assert after.known == (after.newest, old.key)


def test_a_value_whose_key_is_gone_is_told_of_once_and_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sealed = ContentCipher([OLD]).seal("a secret", HERE)
    cipher = ContentCipher([NEW])
    with caplog.at_level(logging.ERROR):
        assert [cipher.open(sealed, HERE) for _ in range(3)] == [None] * 3
    (told,) = caplog.records
    assert (told.__dict__["key"], told.__dict__["row"]) == (sealed.key, "row")
    assert "a secret" not in str(told.__dict__)
    assert sealed.text not in str(told.__dict__)


def test_without_keys_everything_stays_plain() -> None:
    cipher = ContentCipher()
    assert cipher.newest is None
    assert cipher.seal("text", HERE) == Sealed("text", None)
    assert ContentCipher([NEW]).open(Sealed("text", None), HERE) == "text"


@pytest.mark.parametrize("configured", ["abc", "*" * 44, base64.b64encode(bytes(16)).decode()])
def test_a_key_of_another_form_is_refused_by_number_and_not_repeated(configured: str) -> None:
    good = base64.b64encode(NEW).decode()
    with pytest.raises(ValueError, match="key 2") as refused:
        ContentCipher.from_base64([good, configured])
    assert configured not in str(refused.value)
    assert good not in str(refused.value)


def test_keys_are_read_as_they_are_configured() -> None:
    configured = [base64.b64encode(key).decode() for key in (NEW, OLD)]
    assert ContentCipher.from_base64(configured).known == ContentCipher([NEW, OLD]).known
