"""Sans-I/O. Keys take turns, refused ones rest, and none is ever shown."""

from __future__ import annotations

import hashlib

import pytest

from server.adapters.openrouter.keys import KeyRing, fingerprint_of


def test_keys_take_turns():
    ring = KeyRing(["a", " b ", "", "a", "c"])

    assert [ring.take(0.0).secret for _ in range(4)] == ["a", "b", "c", "a"]


def test_a_refused_key_is_passed_over_until_its_rest_ends():
    ring = KeyRing(["a", "b", "c"], rest_seconds=60)
    ring.refused(fingerprint_of("b"), 100.0)

    assert [ring.take(101.0).secret for _ in range(4)] == ["a", "c", "a", "c"]
    assert {"a", "b", "c"} == {ring.take(160.0).secret for _ in range(3)}


def test_when_all_rest_the_one_whose_rest_ends_first_is_tried():
    ring = KeyRing(["a", "b"], rest_seconds=60)
    ring.refused(fingerprint_of("b"), 100.0)
    ring.refused(fingerprint_of("a"), 110.0)

    assert [ring.take(120.0).secret for _ in range(2)] == ["b", "b"]


def test_a_fingerprint_is_the_beginning_of_the_sha256_and_finds_its_key():
    ring = KeyRing(["sk-or-v1-secret"])
    fingerprint = hashlib.sha256(b"sk-or-v1-secret").hexdigest()[:12]

    assert fingerprint_of("sk-or-v1-secret") == fingerprint
    named = ring.named(fingerprint)
    assert named is not None
    assert named.secret == "sk-or-v1-secret"
    assert ring.named("000000000000") is None


def test_a_key_never_shows_in_a_repr():
    assert "secret" not in repr(KeyRing(["sk-or-v1-secret"]).take(0.0))


def test_no_key_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        KeyRing(["", " "])
