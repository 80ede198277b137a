"""Which pages may open a socket."""

from __future__ import annotations

import pytest

from server.gateway.origins import is_allowed

ALLOWED = frozenset({"https://atma.example", "http://localhost:5173"})


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),  # no browser
        ("https://atma.example", True),
        ("HTTPS://Atma.Example", True),
        ("http://localhost:5173", True),
        ("https://chat.host:3006", True),  # its own
        ("http://chat.host:3006", True),
        ("null", False),
        ("", False),
        ("http://atma.example", False),
        ("https://atma.example:8443", False),
        ("https://atma.example.evil.example", False),
        ("https://evil.example/https://atma.example", False),
        ("https://atma.example/", False),
        ("http://localhost", False),
        ("https://chat.host", False),
        ("file://", False),
    ],
)
def test_an_origin_is_allowed_exactly_or_not_at_all(origin: str | None, allowed: bool):
    assert is_allowed(origin, "Chat.Host:3006", ALLOWED) is allowed


def test_without_a_host_there_is_no_own_origin():
    assert not is_allowed("http://chat.host", None, ALLOWED)
